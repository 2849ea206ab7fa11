-- destroy: removes a session.
--
-- KEYS[1]  the session's record
-- KEYS[2]  the subject's index; the record's own key again where the session has none or it is not known
-- KEYS[3], KEYS[4]  the shard's deadlines and events, where the namespace has a schedule
-- ARGV[1]  empty, or the first 60 bytes of the record that is to be removed: its entity tag
--
-- Returns  1 removed, 0 another record is there, -1 nothing is there
--
-- Invariant: without an entity tag nothing is left under the key, whatever was there. An index that is not
-- named keeps a member without a record, which is listed for nobody, until that record's end.

-- luacheck: read_globals session
if #ARGV[1] > 0 then
  local head = redis.call('GETRANGE', KEYS[1], 0, 59)
  if #head > 0 and head ~= ARGV[1] then
    return 0
  end
end
local removed = redis.call('UNLINK', KEYS[1])
if KEYS[2] ~= KEYS[1] then
  session.leave(KEYS[2], KEYS[1])
end
session.withdraw(KEYS[1], KEYS[3], KEYS[4])
if removed == 0 then
  return -1
end
return 1
