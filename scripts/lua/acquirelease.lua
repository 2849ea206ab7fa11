-- acquirelease: takes one of a limited number of leases, which ends by itself.
--
-- KEYS[1]  a sorted set of the leases: who has them, scored by when they end, in Unix milliseconds by the server's clock
-- ARGV[1]  who asks, a text that was never given before
-- ARGV[2]  how many leases there are
-- ARGV[3]  for how many milliseconds; 0 looks, and takes nothing
--
-- Returns  {1 there is room or 0 there is none, the leases that run, the milliseconds until there is room}
--
-- Invariant: no lease is given while as many run as there are. Whoever asks again keeps his lease, and its end comes no
-- nearer. A refusal writes nothing, but gives a set without TTL one.

local limit, ttl = tonumber(ARGV[2]), math.floor(tonumber(ARGV[3]))
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local after = string.format('(%.0f', now)
local mine = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
local running = redis.call('ZCOUNT', KEYS[1], after, '+inf')
local stays = redis.call('PTTL', KEYS[1])

if mine <= now and running >= limit then
  if stays == -1 then
    local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', last[2] - now + 1))
  end
  local first = redis.call('ZRANGEBYSCORE', KEYS[1], after, '+inf', 'WITHSCORES', 'LIMIT', running - limit, 1)
  return {0, running, first[2] - now}
end
if ttl <= 0 then
  return {1, running, 0}
end
if mine <= now then
  running = running + 1
end
-- First what a server that is out of memory refuses: it lets a script go on that has written something.
redis.call('ZADD', KEYS[1], string.format('%.0f', math.max(mine, now + ttl)), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if stays < ttl then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl + 1))
end
return {1, running, 0}
