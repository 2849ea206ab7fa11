-- releaselock: gives a lock back, if nobody else has had it since, and tells those who wait.
--
-- KEYS[1]  the lock, as acquirelock describes it, and the channel that its waiters listen on
-- ARGV[1]  the owner
--
-- Returns  1 the lock is free and its owner was the last to have it, 0 somebody else has had it or may have
--
-- Invariant: only the owner's lock is freed; its fence is remembered for 24 hours more. Asked again, the answer is the
-- same until somebody else takes the lock.

local owner = ARGV[1] or error('an owner is needed')
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 1, 22) ~= owner then
  return 0
end
redis.call('PEXPIRE', KEYS[1], '86400000')
if string.sub(held, 23, 23) == '+' then
  redis.call('PUBLISH', KEYS[1], '')
end
return 1
