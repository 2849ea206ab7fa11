-- requeue: makes dead letters due again, as events that nobody has claimed yet.
--
-- KEYS[1]  the shard's deadlines, a sorted set
-- KEYS[2]  the shard's events, a hash
-- KEYS[3]  the dead letters, a hash
-- ARGV[1]  the channel on which the shard's sleepers listen
-- ARGV[2]… the letters' fields
--
-- Returns  how many are due again
--
-- Invariant: a letter is in one place. Asking twice moves nothing more.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local channel, back = ARGV[1], 0
if #ARGV < 2 then
  return redis.error_reply('ERR wrong number of arguments')
end
for i = 2, #ARGV do
  local payload = redis.call('HGET', KEYS[3], ARGV[i])
  if payload then
    redis.call('HSET', KEYS[2], ARGV[i], payload)
    redis.call('ZADD', KEYS[1], string.format('%.0f', now - 1), ARGV[i])
    redis.call('HDEL', KEYS[3], ARGV[i])
    back = back + 1
  end
end
if back > 0 then
  redis.call('PUBLISH', channel, '0')
end
return back
