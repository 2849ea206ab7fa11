-- gcra: takes from a bucket that fills at an even rate, if there is enough in it.
--
-- KEYS[1]  when the bucket will be full again, by the server's clock: Unix microseconds in decimal, absent when it is
-- ARGV[1]  how many microseconds of filling to take; 0 looks, and takes nothing
-- ARGV[2]  how many microseconds it takes to fill the empty bucket
--
-- Returns  the microseconds after which the bucket will be full; where there was not enough, the same as a negative
--          number, and nothing was taken
--
-- Invariant: what was taken in any stretch of time is no more than the full bucket and what ran in meanwhile. A refusal
-- writes nothing, but mends a time further ahead than an empty bucket needs, as when the clock was set back, which then
-- counts as an empty bucket. One that lost its TTL is full in time all the same, and given one by what is taken then.

local call = redis.call
local cost, most = ARGV[1] + 0, ARGV[2] + 0
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local full = call('GET', KEYS[1])
local ahead, odd = 0, false
if full then
  ahead = (tonumber(full) or math.huge) - now
  if ahead < 0 then
    ahead = 0
  elseif not (ahead <= most) then
    ahead, odd = most, true
  end
end
local enough = ahead + cost <= most
if enough then
  ahead = ahead + cost
end
if cost > 0 and (enough or odd) then
  -- Two milliseconds more than whole ones: for the part that is cut off, and since the TTL counts from the
  -- millisecond that has begun. As an argument a number keeps all its digits, which tostring would round.
  call('SET', KEYS[1], now + ahead, 'PX', (ahead - ahead % 1000) / 1000 + 2)
end
if enough then
  return ahead
end
return -math.max(ahead, 1)
