-- renewlease: gives a lease more time, if it still runs.
--
-- KEYS[1]  the leases
-- ARGV[1]  whose it is
-- ARGV[2]  for how many milliseconds from now
--
-- Returns  1 renewed, 0 it has ended or was given back
--
-- Invariant: a lease that has ended does not come back, since another may have its place. The end of one that runs comes
-- no nearer.

local ttl = math.floor(tonumber(ARGV[2]))
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local mine = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if mine <= now then
  return 0
end
redis.call('ZADD', KEYS[1], string.format('%.0f', math.max(mine, now + ttl)), ARGV[1])
if redis.call('PTTL', KEYS[1]) < ttl then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl + 1))
end
return 1
