-- deadletters: reads a portion of a shard's dead letters.
--
-- KEYS[1]  the dead letters, a hash: field, payload
-- ARGV[1]  the cursor, 0 to begin
-- ARGV[2]  how many to read, about
--
-- Returns  the cursor to go on with, 0 at the end, and a list: field, payload, field, payload…
--
-- Invariant: nothing is written. A letter that is there all the time is read at least once.

return redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
