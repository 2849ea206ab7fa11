-- dropletters: removes dead letters for good.
--
-- KEYS[1]  the dead letters, a hash
-- ARGV     the letters' fields
--
-- Returns  how many were there
--
-- Invariant: asking twice removes nothing more.

return redis.call('HDEL', KEYS[1], unpack(ARGV))
