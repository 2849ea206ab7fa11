-- sessions: reads all sessions of a subject at one moment.
--
-- KEYS[1]  the subject's index
-- KEYS[2]  and on: the records of the members that the caller knows
--
-- Returns  a list: 1 and the records, nil for each that is gone, in the order of KEYS; or 0 and the members of
--          the index, where it has one that KEYS does not name
--
-- Invariant: it writes nothing, so it runs on a replica and where memory has run out. A session that changes
-- its key meanwhile is found under one of the two.

local known, members = {}, redis.call('ZRANGE', KEYS[1], 0, -1)
for i = 2, #KEYS do
  known[string.sub(KEYS[i], -22)] = true
end
for i = 1, #members do
  if not known[members[i]] then
    return {0, members}
  end
end
local records = {}
for i = 2, #KEYS do
  records[i - 1] = redis.call('GET', KEYS[i])
end
return {1, records}
