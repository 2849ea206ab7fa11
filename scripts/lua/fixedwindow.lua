-- fixedwindow: counts what is taken in a window of time, up to a limit.
--
-- KEYS[1]  the count, in decimal; it ends with the window, which begins when something is first taken
-- ARGV[1]  how much to take; 0 looks, and takes nothing
-- ARGV[2]  the limit
-- ARGV[3]  the window in milliseconds
--
-- Returns  {1 taken or 0 too much, the count, the milliseconds until the window ends}
--
-- Invariant: no window counts more than the limit. A refusal writes nothing, but gives a count that has no TTL, or more
-- of it than the window, a new window: it can never stay for good.

local cost, limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]), math.floor(tonumber(ARGV[3]))
local held = redis.call('GET', KEYS[1])
local count, left, odd = 0, window, false
if held then
  count = tonumber(held) or limit
  if not (count >= 0 and count <= limit) then
    count = limit
  end
  left = redis.call('PTTL', KEYS[1])
  if left < 0 or left > window then
    left, odd = window, true
  end
end
local ttl = string.format('%.0f', window)
if count + cost > limit then
  if odd then
    redis.call('PEXPIRE', KEYS[1], ttl)
  end
  return {0, count, left}
end
count = count + cost
if cost > 0 then
  if held and not odd then
    redis.call('SET', KEYS[1], string.format('%.0f', count), 'KEEPTTL')
  else
    redis.call('SET', KEYS[1], string.format('%.0f', count), 'PX', ttl)
  end
end
return {1, count, left}
