-- unclaim: gives events back that were claimed and not begun, as if they had not been claimed.
--
-- KEYS[1]  the shard's deadlines, a sorted set
-- KEYS[2]  how often each was claimed, a hash
-- ARGV[1]  the channel on which the shard's sleepers listen
-- ARGV[2]… for each event its field, and which claim of it is given back
--
-- Returns  how many are due again
--
-- Invariant: only the latest claim of an event can be given back, and once.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local channel, back = ARGV[1], 0
if #ARGV < 2 then
  return redis.error_reply('ERR wrong number of arguments')
end
for i = 2, #ARGV, 2 do
  local field, try = ARGV[i], tonumber(ARGV[i + 1])
  if tonumber(redis.call('HGET', KEYS[2], field)) == try and redis.call('ZSCORE', KEYS[1], field) then
    if try > 1 then
      redis.call('HSET', KEYS[2], field, try - 1)
    else
      redis.call('HDEL', KEYS[2], field)
    end
    redis.call('ZADD', KEYS[1], string.format('%.0f', now - 1), field)
    back = back + 1
  end
end
if back > 0 then
  redis.call('PUBLISH', channel, '0')
end
return back
