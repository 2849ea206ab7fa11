-- claim: takes the events of a shard whose deadlines have passed, for a while.
--
-- KEYS[1]  the shard's deadlines, a sorted set: field, scored by its deadline in Unix milliseconds
-- KEYS[2]  the shard's events, a hash: field, its sealed payload
-- KEYS[3]  how often each was claimed, a hash: field, count
-- KEYS[4]  the dead letters, a hash: field, payload
-- ARGV[1]  how long the claimant has, in milliseconds
-- ARGV[2]  how often an event may be claimed
-- ARGV[3]  how many events to take at most
--
-- Returns  five numbers: milliseconds until there is more to claim, 0 where there is already, -1 where nothing is
--          scheduled; how many are due and were not taken; how late the first is, in milliseconds; how many had
--          lost their payload and were forgotten; how many had been claimed too often and became dead letters.
--          Then for each event taken its field, its payload and which claim this is, from 1.
--
-- Invariant: an event leaves the schedule by being acknowledged, or for the dead letters. It moves to a field of
-- its own, the id and its payload's nonce, when it is first claimed, so that the id stands for what is ahead.
-- Value keys are never looked at: one that is missing may be migrating, and expired looks like deleted.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local passed = '(' .. string.format('%.0f', now)
local again = string.format('%.0f', now + math.floor(tonumber(ARGV[1])))
local most, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local reply = {-1, 0, 0, 0, 0}

local function left(payload)
  local ends = 0
  for i = 11, 16 do
    ends = ends * 256 + (string.byte(payload, i) or 0)
  end
  return ends - now
end

-- Nobody can open a payload after its end. The letters go with the last of them, and each that comes takes
-- some along that have ended: so they cannot pile up where nobody looks at them.
local function bury(field, payload)
  redis.call('HSET', KEYS[4], field, payload)
  redis.call('HDEL', KEYS[3], field)
  redis.call('HDEL', KEYS[2], field)
  local some = redis.call('HRANDFIELD', KEYS[4], 2, 'WITHVALUES')
  for i = 1, #some, 2 do
    if some[i] ~= field and left(some[i + 1]) <= 0 then
      redis.call('HDEL', KEYS[4], some[i])
    end
  end
  -- What is no record may say anything: a hundred years are enough.
  local stays = math.min(left(payload), 3153600000000)
  if stays > redis.call('PTTL', KEYS[4]) then
    redis.call('PEXPIRE', KEYS[4], string.format('%.0f', stays))
  end
end

local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', passed, 'WITHSCORES', 'LIMIT', 0, limit)
if #due > 0 then
  reply[3] = now - tonumber(due[2])
end
for i = 1, #due, 2 do
  local field = due[i]
  local payload = redis.call('HGET', KEYS[2], field)
  -- A server that is out of memory lets a script write on whose first write takes none.
  redis.call('ZREM', KEYS[1], field)
  if not payload then
    redis.call('HDEL', KEYS[3], field)
    reply[4] = reply[4] + 1
  else
    if not string.find(field, ':', 1, true) then
      local nonce = string.gsub(string.sub(payload, 49, 60), '.', function(c)
        return string.format('%02x', string.byte(c))
      end)
      redis.call('HDEL', KEYS[2], field)
      field = field .. ':' .. nonce
      redis.call('HSET', KEYS[2], field, payload)
    end
    local try = redis.call('HINCRBY', KEYS[3], field, 1)
    if try > most then
      bury(field, payload)
      reply[5] = reply[5] + 1
    else
      redis.call('ZADD', KEYS[1], again, field)
      reply[#reply + 1] = field
      reply[#reply + 1] = payload
      reply[#reply + 1] = try
    end
  end
end
reply[2] = redis.call('ZCOUNT', KEYS[1], '-inf', passed)
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if first then
  reply[1] = math.max(0, tonumber(first) - now + 1)
end
if reply[2] > 0 then
  reply[1] = 0
end
return reply
