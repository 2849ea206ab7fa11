-- regenerate: moves a session to another key, if its record is still the one the caller read.
--
-- KEYS[1]  the session's record as it stands
-- KEYS[2]  the subject's index; the record's own key again where the session has no subject
-- KEYS[3]  where the session is to stand
-- KEYS[4], KEYS[5]  the shard's deadlines and events, where the namespace has a schedule
-- ARGV[1]  the first 60 bytes of the record that was read: its entity tag
-- ARGV[2]  the record for the new key
-- ARGV[3]  its TTL in milliseconds
-- ARGV[4], ARGV[5]  the payload of its event, and the channel of the shard's sleepers, with KEYS[4]
--
-- Returns  1 moved, 2 it stands there already, 0 another record is there, -1 nothing is there
--
-- Invariant: the session stands under one of the two keys, never under both, and its index names that one.
-- What ARGV[1] names is moved and nothing else; asking twice moves once.

-- luacheck: read_globals session
local ttl = math.floor(tonumber(ARGV[3]))
if redis.call('GETRANGE', KEYS[3], 0, 59) == string.sub(ARGV[2], 1, 60) then
  return 2
end
local head = redis.call('GETRANGE', KEYS[1], 0, 59)
if #head == 0 then
  return -1
end
if head ~= ARGV[1] then
  return 0
end
local index = KEYS[2] ~= KEYS[1] and KEYS[2]
session.check(index, KEYS[4], KEYS[5])
redis.call('SET', KEYS[3], ARGV[2], 'PX', string.format('%.0f', ttl))
redis.call('UNLINK', KEYS[1])
if index then
  session.leave(index, KEYS[1])
  session.enter(index, KEYS[3], ARGV[2])
end
session.withdraw(KEYS[1], KEYS[4], KEYS[5])
session.schedule(KEYS[3], KEYS[4], KEYS[5], ttl, ARGV[4], ARGV[5])
return 1
