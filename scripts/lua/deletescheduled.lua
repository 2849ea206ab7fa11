-- deletescheduled: removes a sealed record, with its deadline and the event that would have announced it.
--
-- KEYS[1]  the record
-- KEYS[2]  the shard's deadlines, a sorted set: id, scored by its deadline in Unix milliseconds
-- KEYS[3]  the shard's events, a hash: id, its sealed payload
-- ARGV[1]  the id
--
-- Returns  how many records were removed, 0 or 1
--
-- Invariant: what is deleted before its deadline is never announced. A deadline that has passed is owed, and
-- stays. Asking twice removes nothing more.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local id = ARGV[1]
local was = redis.call('ZSCORE', KEYS[2], id)
if was and tonumber(was) >= now then
  redis.call('HDEL', KEYS[3], id)
  redis.call('ZREM', KEYS[2], id)
end
return redis.call('UNLINK', KEYS[1])
