-- guardedset: stores a sealed record, unless a later holder of the lock has stored one.
--
-- KEYS[1]  the record
-- KEYS[2]  who wrote it: a fence and a number of that holder's writes, in decimal, a blank between them
-- ARGV[1]  the writer's fence
-- ARGV[2]  the number of this write among the holder's
-- ARGV[3]  the record
-- ARGV[4]  its TTL in milliseconds
--
-- Returns  1 the record is stored, 2 a later write of the same holder is there, 0 a later holder's is there
--
-- Invariant: what is stored comes from the greatest fence, and among its writes from the last. Asking again, also late,
-- puts nothing older over anything newer. The fence is remembered for 24 hours after the write, and as long as the
-- record.

local fence, number = tonumber(ARGV[1]), tonumber(ARGV[2])
local ttl = math.floor(tonumber(ARGV[4]))
local last = redis.call('GET', KEYS[2])
if last then
  local by, nth = string.match(last, '^(%d+) (%d+)$')
  if not by then
    return redis.error_reply('ERR the fence of the record is not one')
  end
  by, nth = tonumber(by), tonumber(nth)
  if by > fence then
    return 0
  end
  if by == fence and nth > number then
    return 2
  end
  if by == fence and nth == number then
    return 1
  end
end
local kept = string.format('%.0f', math.max(ttl, 86400000))
redis.call('SET', KEYS[2], string.format('%.0f %.0f', fence, number), 'PX', kept)
redis.call('SET', KEYS[1], ARGV[3], 'PX', string.format('%.0f', ttl))
return 1
