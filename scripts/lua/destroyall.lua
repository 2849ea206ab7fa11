-- destroyall: removes many sessions of a subject, or all.
--
-- KEYS[1]  the subject's index
-- KEYS[2], KEYS[3]  the shard's deadlines and events, where ARGV[2] is 1
-- KEYS[4]  and on, KEYS[2] and on where it is 0: the records that are known, first those to be removed, then
--          those that stay
-- ARGV[1]  how many are to be removed
-- ARGV[2]  1 where the namespace has a schedule, 0 where it has none
--
-- Returns  a list: 1 and how many were there and were removed; or 0 and the members of the index, where it has
--          one that KEYS does not name, and then nothing was done
--
-- Invariant: what was decided on is the whole of the index. A session that is created meanwhile stops the
-- script, and is decided on the next time. Asking twice removes nothing more.

-- luacheck: read_globals session
local due, events, first = nil, nil, 2
if #ARGV[2] > 0 and ARGV[2] ~= '0' then
  due, events, first = KEYS[2], KEYS[3], 4
end
local known, members = {}, redis.call('ZRANGE', KEYS[1], 0, -1)
for i = first, #KEYS do
  known[string.sub(KEYS[i], -22)] = true
end
for i = 1, #members do
  if not known[members[i]] then
    return {0, members}
  end
end
local removed = 0
for i = first, first + tonumber(ARGV[1]) - 1 do
  removed = removed + redis.call('UNLINK', KEYS[i])
  session.leave(KEYS[1], KEYS[i])
  session.withdraw(KEYS[i], due, events)
end
return {1, removed}
