-- revoke: stores a denylist entry, unless one that lasts as long is there already.
--
-- KEYS[1]  the entry
-- ARGV[1]  its record
-- ARGV[2]  its TTL in milliseconds
--
-- Returns  1 stored, or there already; 0 an entry that ends no earlier is there
--
-- Invariant: an entry is never replaced by one that ends earlier, so a second, shorter revocation takes
-- nothing back. Asking twice stores once: the record's own header is found again.

local head = redis.call('GETRANGE', KEYS[1], 0, 59)
if head == string.sub(ARGV[1], 1, 60) then
  return 1
end
if string.sub(head, 1, 2) == 'SC' and #head == 60 and string.sub(head, 11, 16) >= string.sub(ARGV[1], 11, 16) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', math.floor(tonumber(ARGV[2]))))
return 1
