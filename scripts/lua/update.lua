-- update: swaps a session's record for another, if it is still the one the caller read.
--
-- KEYS[1]  the session's record
-- KEYS[2]  the subject's index; the record's own key again where the session has no subject
-- KEYS[3], KEYS[4]  the shard's deadlines and events, where the namespace has a schedule
-- ARGV[1]  the first 60 bytes of the record that was read: its entity tag
-- ARGV[2]  the new record
-- ARGV[3]  its TTL in milliseconds
-- ARGV[4], ARGV[5]  the payload of its event, and the channel of the shard's sleepers, with KEYS[3]
--
-- Returns  1 replaced, 2 the new record is there already, 0 another record is there, -1 nothing is there
--
-- Invariant: a new record is written over the very record that ARGV[1] names and over nothing else, so a
-- session that was destroyed stays so. Salt and nonce stand in those bytes: asking twice writes once.

-- luacheck: read_globals session
local ttl = math.floor(tonumber(ARGV[3]))
local head = redis.call('GETRANGE', KEYS[1], 0, 59)
if #head == 0 then
  return -1
end
if head == string.sub(ARGV[2], 1, 60) then
  return 2
end
if head ~= ARGV[1] then
  return 0
end
local index = KEYS[2] ~= KEYS[1] and KEYS[2]
session.check(index, KEYS[3], KEYS[4])
redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', ttl))
if index then
  session.enter(index, KEYS[1], ARGV[2])
end
session.schedule(KEYS[1], KEYS[3], KEYS[4], ttl, ARGV[4], ARGV[5])
return 1
