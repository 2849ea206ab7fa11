-- replace: swaps a sealed record for another, if it is still the one the caller read.
--
-- KEYS[1]  the record
-- ARGV[1]  the first 60 bytes of the record that was read: its entity tag
-- ARGV[2]  the new record
-- ARGV[3]  its TTL in milliseconds, 0 to keep the one that runs
--
-- Returns  1 replaced, 2 the new record is there already, 0 another record is there, -1 nothing is there
--
-- Invariant: a new record is written over the very record that ARGV[1] names and over nothing else.
-- Nonce and salt stand in those bytes, so no two records share them and asking twice writes once.

local head = redis.call('GETRANGE', KEYS[1], 0, 59)
if #head == 0 then
  return -1
end
if head ~= ARGV[1] then
  return head == string.sub(ARGV[2], 1, 60) and 2 or 0
end
local ttl = tonumber(ARGV[3])
if ttl > 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', math.floor(ttl)))
else
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
end
return 1
