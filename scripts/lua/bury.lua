-- bury: deletes a session and leaves a tombstone, which keeps commit from bringing it back.
--
-- KEYS[1]  the session's record
-- KEYS[2]  its tombstone
-- KEYS[3], KEYS[4]  the shard's deadlines and events, where the namespace has a schedule
-- ARGV[1]  how long the tombstone stands, in milliseconds
--
-- Returns  1 deleted, 0 nothing was there
--
-- Invariant: nothing is left under the first key, whatever was there. Asking twice deletes nothing more. The
-- deletion comes first: it is never refused for want of memory, nor is what a script writes after it.

-- luacheck: read_globals session
local ttl = string.format('%.0f', math.floor(tonumber(ARGV[1])))
local deleted = redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[2], '1', 'PX', ttl)
session.withdraw(KEYS[1], KEYS[3], KEYS[4])
return deleted
