-- resetlimit: forgets what was taken.
--
-- KEYS[1]  what a rate limit or a set of leases is kept under
--
-- Returns  1 forgotten, 0 there was nothing
--
-- Invariant: nothing is left of it, whatever it was.

return redis.call('UNLINK', KEYS[1])
