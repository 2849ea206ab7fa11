-- ack: removes events that were claimed and have been dealt with.
--
-- KEYS[1]  the shard's deadlines, a sorted set
-- KEYS[2]  the shard's events, a hash
-- KEYS[3]  how often each was claimed, a hash
-- KEYS[4]  the dead letters, a hash
-- ARGV     the fields that claim gave
--
-- Returns  how many were still scheduled
--
-- Invariant: a claimed event's field is its own, so nothing that was scheduled since is removed. What became a
-- dead letter while it was being dealt with is none any more. Asking twice removes nothing more.

redis.call('HDEL', KEYS[4], unpack(ARGV))
redis.call('HDEL', KEYS[3], unpack(ARGV))
redis.call('HDEL', KEYS[2], unpack(ARGV))
return redis.call('ZREM', KEYS[1], unpack(ARGV))
