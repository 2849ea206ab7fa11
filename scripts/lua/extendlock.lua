-- extendlock: gives a lock more time, if it is still its owner's.
--
-- KEYS[1]  the lock, as acquirelock describes it
-- ARGV[1]  the owner
-- ARGV[2]  the TTL in milliseconds for which the lock is to be held from now on at least
--
-- Returns  1 extended, 0 the lock is another's or nobody's
--
-- Invariant: only the owner's lock lives on, and its TTL never shrinks, so that a request which was overtaken by a later
-- one harms nothing.

local day = 86400000
local kept = math.floor(ARGV[2]) + day
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 1, 22) ~= ARGV[1] then
  return 0
end
local left = redis.call('PTTL', KEYS[1])
if left <= day then
  return 0
end
if left < kept then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', kept))
end
return 1
