-- releaselease: gives a lease back.
--
-- KEYS[1]  the leases
-- ARGV[1]  whose it is
--
-- Returns  1 given back while it ran, 0 it had ended or was given back before
--
-- Invariant: nobody else's lease is touched.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local mine = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
redis.call('ZREM', KEYS[1], ARGV[1])
return mine > now and 1 or 0
