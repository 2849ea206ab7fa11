-- touchscheduled: renews the TTL of a sealed record, at most up to the record's own end, with its deadline and
-- the event that will announce it.
--
-- KEYS[1]  the record
-- KEYS[2]  the shard's deadlines, a sorted set: id, scored by its deadline in Unix milliseconds
-- KEYS[3]  the shard's events, a hash: id, its sealed payload
-- ARGV[1]  the TTL wanted, in milliseconds
-- ARGV[2]  1 where the TTL may also be shortened, 0 where it may only grow
-- ARGV[3]  the id
-- ARGV[4]  the payload of the event, sealed for the TTL wanted, or for the record's own end
-- ARGV[5]  that end as the caller knows it, 0 where it was not asked for
-- ARGV[6]  empty, or the first 60 bytes of the payload from which this one was made: its entity tag
-- ARGV[7]  the channel on which the shard's sleepers listen
--
-- Returns  two numbers. The first is the TTL that runs from now on, in milliseconds; -1 it has none and no end
--          of its own either, -2 nothing is there, -3 what is there is no record, -4 the payload was sealed for
--          another end than the record's, -5 the payload has changed. The second is the record's own end, 0
--          where it has none.
--
-- Invariant: the TTL, the deadline and its event change together, and never pass the record's expires-at,
-- which stands in bytes 11 to 16. Asking twice gives the same TTL and writes the same event.

local id, payload, etag = ARGV[3], ARGV[4], ARGV[6]
local ttl = math.floor(tonumber(ARGV[1]))
local head = redis.call('GETRANGE', KEYS[1], 0, 15)
if #head == 0 then
  return {-2, 0}
end
if #head < 16 or string.sub(head, 1, 2) ~= 'SC' then
  return {-3, 0}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local expires, bound = 0, false
for i = 11, 16 do
  expires = expires * 256 + string.byte(head, i)
end
if expires > 0 then
  if expires <= now then
    return {-2, expires}
  end
  if ttl > expires - now then
    ttl, bound = expires - now, true
  end
end
local runs = redis.call('PTTL', KEYS[1])
if ARGV[2] ~= '1' and (runs >= ttl or runs == -1 and expires == 0) then
  return {runs, expires}
end
if bound and tonumber(ARGV[5]) ~= expires then
  return {-4, expires}
end
if etag ~= '' then
  local there = redis.call('HGET', KEYS[3], id)
  there = there and string.sub(there, 1, 60)
  if there ~= etag and there ~= string.sub(payload, 1, 60) then
    return {-5, expires}
  end
end
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
local at = string.format('%.0f', now + ttl)
redis.call('HSET', KEYS[3], id, payload)
redis.call('ZADD', KEYS[2], at, id)
redis.call('PEXPIREAT', KEYS[1], at)
if not first or now + ttl < tonumber(first) then
  redis.call('PUBLISH', ARGV[7], string.format('%.0f', ttl))
end
return {ttl, expires}
