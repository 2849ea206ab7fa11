-- issue: stores a record where nothing is.
--
-- KEYS[1]  the record
-- KEYS[2]  what consume leaves of it
-- ARGV[1]  the record
-- ARGV[2]  its TTL in milliseconds
--
-- Returns  1 stored, or this very record is there already; 0 something else is there, or was and has been consumed
--
-- Invariant: what is there stays. Asking twice stores once: the record's own header is found again.

local head = redis.call('GETRANGE', KEYS[1], 0, 59)
if head == string.sub(ARGV[1], 1, 60) then
  return 1
end
if #head > 0 or redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', math.floor(tonumber(ARGV[2]))))
return 1
