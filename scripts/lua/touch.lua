-- touch: renews the TTL of a sealed record, at most up to the record's own end.
--
-- KEYS[1]  the record
-- ARGV[1]  the TTL wanted, in milliseconds
-- ARGV[2]  1 where the TTL may also be shortened, 0 where it may only grow
--
-- Returns  the TTL that runs from now on, in milliseconds; -1 it has none and no end of its own either,
--          -2 nothing is there, -3 what is there is no record
--
-- Invariant: the server's TTL never passes the record's expires-at, which stands in bytes 11 to 16.
-- Asking twice gives the same TTL, so a lost reply may be asked for again.

local head = redis.call('GETRANGE', KEYS[1], 0, 15)
if #head == 0 then
  return -2
end
if #head < 16 or string.sub(head, 1, 2) ~= 'SC' then
  return -3
end
local ttl = math.floor(tonumber(ARGV[1]))
local expires = 0
for i = 11, 16 do
  expires = expires * 256 + string.byte(head, i)
end
if expires > 0 then
  local time = redis.call('TIME')
  local left = expires - (tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
  if left <= 0 then
    return -2
  end
  if ttl > left then
    ttl = left
  end
end
local runs = redis.call('PTTL', KEYS[1])
if ARGV[2] ~= '1' and (runs >= ttl or runs == -1 and expires == 0) then
  return runs
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl))
return ttl
