-- create: stores a new session and enters it into its subject's index.
--
-- KEYS[1]  the session's record
-- KEYS[2]  the subject's index; the record's own key again where the session has no subject
-- KEYS[3], KEYS[4]  the shard's deadlines and events, where the namespace has a schedule
-- ARGV[1]  the record
-- ARGV[2]  its TTL in milliseconds
-- ARGV[3], ARGV[4]  the payload of its event, and the channel of the shard's sleepers, with KEYS[3]
--
-- Returns  1 stored, 0 something is there already
--
-- Invariant: a session is stored, listed and scheduled, or nothing of it. It must not be repeated: a copy of the
-- command that arrives late would bring back a session that was destroyed meanwhile.

-- luacheck: read_globals session
local index = KEYS[2] ~= KEYS[1] and KEYS[2]
session.check(index, KEYS[3], KEYS[4])
local ttl = math.floor(tonumber(ARGV[2]))
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', string.format('%.0f', ttl)) then
  return 0
end
if index then
  session.enter(index, KEYS[1], ARGV[1])
end
session.schedule(KEYS[1], KEYS[3], KEYS[4], ttl, ARGV[3], ARGV[4])
return 1
