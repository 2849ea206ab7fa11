-- commit: stores a session's record, unless the session was deleted not long ago.
--
-- KEYS[1]  the session's record
-- KEYS[2]  its tombstone
-- KEYS[3], KEYS[4]  the shard's deadlines and events, where the namespace has a schedule
-- ARGV[1]  the record
-- ARGV[2]  its TTL in milliseconds
-- ARGV[3], ARGV[4]  the payload of its event, and the channel of the shard's sleepers, with KEYS[3]
--
-- Returns  1 stored, 0 there is a tombstone
--
-- Invariant: a session that bury has deleted is not brought back while its tombstone stands. For who has no
-- version to compare; update is for who has.

-- luacheck: read_globals session
local ttl = math.floor(tonumber(ARGV[2]))
if redis.call('GET', KEYS[2]) then
  return 0
end
session.check(nil, KEYS[3], KEYS[4])
redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', ttl))
session.schedule(KEYS[1], KEYS[3], KEYS[4], ttl, ARGV[3], ARGV[4])
return 1
