-- slidingwindow: counts what is taken in a window that moves along, up to a limit. What was taken in the window before
-- is taken to have been spread over it evenly, and counts by the share of it that is not yet past.
--
-- KEYS[1]  a hash: start, when the present window began, in Unix milliseconds by the server's clock; current, what was
--          taken since; previous, what was taken in the window before
-- ARGV[1]  how much to take; 0 looks, and takes nothing
-- ARGV[2]  the limit; limit times window is less than 2^53
-- ARGV[3]  the window in milliseconds
--
-- Returns  {1 taken or 0 too much, previous, current, the milliseconds until the present window ends}
--
-- Invariant: current + previous * left / window, rounded up, is never more than the limit. A refusal writes nothing,
-- but mends what no taking leaves behind: a missing TTL, and a start ahead of the clock, which begins the window anew.

local cost, limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]), math.floor(tonumber(ARGV[3]))
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local began = redis.call('HGET', KEYS[1], 'start')
local start, previous, current, odd = now, 0, 0, false

local function counted(field)
  local n = tonumber(redis.call('HGET', KEYS[1], field)) or limit
  if n >= 0 and n <= limit then
    return math.floor(n)
  end
  return limit
end

if began then
  start, previous, current = tonumber(began) or math.huge, counted('previous'), counted('current')
  if not (start <= now) then
    start, odd = now, true
  end
  local past = math.floor((now - start) / window)
  if past == 1 then
    start, previous, current = start + window, current, 0
  elseif past > 1 then
    start, previous, current = now, 0, 0
  end
end
local left = window - (now - start)
local enough = current + math.ceil(previous * left / window) + cost <= limit
if enough then
  current = current + cost
end
if cost > 0 and (enough or odd) then
  redis.call('HSET', KEYS[1], 'start', string.format('%.0f', start),
    'previous', string.format('%.0f', previous), 'current', string.format('%.0f', current))
end
if cost > 0 and (enough or odd or redis.call('PTTL', KEYS[1]) == -1) then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left + window))
end
return {enough and 1 or 0, previous, current, left}
