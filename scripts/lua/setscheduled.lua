-- setscheduled: stores a sealed record, with its deadline and the event that will announce it.
--
-- KEYS[1]  the record
-- KEYS[2]  the shard's deadlines, a sorted set: id, scored by its deadline in Unix milliseconds
-- KEYS[3]  the shard's events, a hash: id, its sealed payload
-- ARGV[1]  the record
-- ARGV[2]  its TTL in milliseconds, 0 for none
-- ARGV[3]  its id
-- ARGV[4]  the payload of its event; not looked at where there is no TTL
-- ARGV[5]  the channel on which the shard's sleepers listen
-- ARGV[6]  empty, or the first 60 bytes of the record that is to be replaced: its entity tag
--
-- Returns  1 stored, 2 the record is there already; and with an entity tag 0 where another record is there,
--          -1 where nothing is there
--
-- Invariant: the record, its deadline and its event are written together or not at all. A deadline that is
-- still ahead gives way; one that has passed is owed, and waits for its delivery under a name of its own,
-- which follows from its payload. So asking twice owes nothing twice. A replacement without a TTL keeps the
-- one that runs, and the event as it is.

local id, payload, etag = ARGV[3], ARGV[4], ARGV[6]
local ttl = math.floor(tonumber(ARGV[2]))
if etag ~= '' then
  local head = redis.call('GETRANGE', KEYS[1], 0, 59)
  if #head == 0 then
    return -1
  end
  if head == string.sub(ARGV[1], 1, 60) then
    return 2
  end
  if head ~= etag then
    return 0
  end
  if ttl == 0 then
    redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
    return 1
  end
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local was = redis.call('ZSCORE', KEYS[2], id)
if was and tonumber(was) < now then
  local owed = redis.call('HGET', KEYS[3], id)
  if owed then
    local nonce = string.gsub(string.sub(owed, 49, 60), '.', function(c)
      return string.format('%02x', string.byte(c))
    end)
    redis.call('HSET', KEYS[3], id .. ':' .. nonce, owed)
    redis.call('ZADD', KEYS[2], was, id .. ':' .. nonce)
  end
end
if ttl == 0 then
  redis.call('HDEL', KEYS[3], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('SET', KEYS[1], ARGV[1])
  return 1
end
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
-- One and the same time for both: whoever finds the record gone has the deadline behind them.
local at = string.format('%.0f', now + ttl)
redis.call('HSET', KEYS[3], id, payload)
redis.call('ZADD', KEYS[2], at, id)
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', at)
if not first or now + ttl < tonumber(first) then
  redis.call('PUBLISH', ARGV[5], string.format('%.0f', ttl))
end
return 1
