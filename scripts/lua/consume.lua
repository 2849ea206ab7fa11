-- consume: takes a record away, once, and remembers for whom.
--
-- KEYS[1]  the record
-- KEYS[2]  what is left of it: the operation that took it, 16 bytes, and the record
-- ARGV[1]  the operation's id, 16 random bytes
--
-- Returns  the record, to the operation that takes it or took it; nil where it is not there or went to another
--
-- Invariant: no two operations are given the same record. Asking again with the same id gives the same
-- answer for as long as the record would have lived.

if #KEYS ~= 2 or #ARGV ~= 1 or #ARGV[1] ~= 16 then
  return redis.error_reply('ERR consume takes two keys and an operation id of 16 bytes')
end
local left = redis.call('GET', KEYS[2])
if left then
  if string.sub(left, 1, 16) == ARGV[1] then
    return string.sub(left, 17)
  end
  return false
end
local record = redis.call('GET', KEYS[1])
if not record then
  return false
end
local ttl = redis.call('PTTL', KEYS[1])
if ttl == 0 then
  ttl = 1
end
redis.call('DEL', KEYS[1])
if ttl > 0 then
  redis.call('SET', KEYS[2], ARGV[1] .. record, 'PX', string.format('%.0f', ttl))
else
  redis.call('SET', KEYS[2], ARGV[1] .. record)
end
return record
