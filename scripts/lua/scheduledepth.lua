-- scheduledepth: counts what a shard of the schedule holds.
--
-- KEYS[1]  the shard's deadlines, a sorted set
-- KEYS[2]  how often each was claimed, a hash
-- KEYS[3]  the dead letters, a hash
--
-- Returns  five numbers: all that is scheduled, claimed events included; how many are due; how many are claimed
--          or wait to be claimed again; the dead letters; how late the first is that is due, in milliseconds
--
-- Invariant: nothing is written.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
return {
  redis.call('ZCARD', KEYS[1]),
  redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. string.format('%.0f', now)),
  redis.call('HLEN', KEYS[2]),
  redis.call('HLEN', KEYS[3]),
  first and math.max(0, now - tonumber(first)) or 0
}
