-- replacefield: swaps a sealed field of a hash for another, if it is still the one the caller read.
--
-- KEYS[1]  the hash
-- ARGV[1]  the field
-- ARGV[2]  the first 60 bytes of the record that was read: its entity tag
-- ARGV[3]  the new record
--
-- Returns  1 replaced, 2 the new record is there already, 0 another record is there, -1 nothing is there
--
-- Invariant: a new record is written over the very record that ARGV[2] names and over nothing else.
-- Nonce and salt stand in those bytes, so no two records share them and asking twice writes once.
-- The hash keeps its TTL. A TTL of the field alone, which the format does not know, would go.

local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then
  return -1
end
local head = string.sub(record, 1, 60)
if head == string.sub(ARGV[3], 1, 60) then
  return 2
end
if head ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
