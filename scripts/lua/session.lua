-- session: what the scripts for sessions share. It is no script by itself: those that write begin with it.
--
-- A session's record is named in its subject's index by the last 22 bytes of its Redis key, its blind, scored
-- by the record's own end. The index lives as long as the last of its members.
--
-- In a namespace with an expiry schedule, its deadline and its event are written with the record, by the rules
-- of setscheduled and deletescheduled. due and events are the shard's keys there, nil elsewhere.

local session = {} -- luacheck: ignore session

-- What a member and its index outlive the record by: how far the server's clock may be ahead of a client's.
session.allowance = 300000

function session.now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- ends returns a record's expires-at, which stands in bytes 11 to 16.
function session.ends(record)
  local ends = 0
  for i = 11, 16 do
    ends = ends * 256 + string.byte(record, i)
  end
  return ends
end

-- check fails where one of the keys beside a record is of another type, before anything is written. It reads
-- only: behind a script's first write the server no longer asks whether it has the memory for the next.
function session.check(index, due, events)
  if index then
    redis.call('ZSCORE', index, '')
  end
  if due then
    redis.call('ZSCORE', due, '')
    redis.call('HGET', events, '')
  end
end

-- enter notes that the record stands under key, and forgets members whose record has ended.
function session.enter(index, key, record)
  local now = session.now()
  redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('(%.0f', now - session.allowance))
  redis.call('ZADD', index, string.format('%.0f', session.ends(record)), string.sub(key, -22))
  local last = tonumber(redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2])
  redis.call('PEXPIRE', index, string.format('%.0f', math.max(last - now + session.allowance, 1)))
end

-- leave takes what stood under key out of the index.
function session.leave(index, key)
  redis.call('ZREM', index, string.sub(key, -22))
end

-- id is what a key is called in the schedule: what stands behind <prefix>:<namespace>:<kind>: in it.
local function id(key)
  return string.match(key, '^[^:]*:[^:]*:[^:]*:(.+)$')
end

-- schedule sets the deadline of what stands under key, and the payload of the event that will announce it. A
-- deadline that has passed is owed, and waits under a name of its own.
function session.schedule(key, due, events, ttl, payload, wake)
  if not due then
    return
  end
  local now, name = session.now(), id(key)
  local was = redis.call('ZSCORE', due, name)
  local owed = was and tonumber(was) < now and redis.call('HGET', events, name)
  if owed then
    local nonce = string.gsub(string.sub(owed, 49, 60), '.', function(c)
      return string.format('%02x', string.byte(c))
    end)
    redis.call('HSET', events, name .. ':' .. nonce, owed)
    redis.call('ZADD', due, was, name .. ':' .. nonce)
  end
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
  redis.call('HSET', events, name, payload)
  redis.call('ZADD', due, string.format('%.0f', now + ttl), name)
  if not first or now + ttl < tonumber(first) then
    redis.call('PUBLISH', wake, string.format('%.0f', ttl))
  end
end

-- withdraw takes back the event of what stood under key, unless its deadline has passed.
function session.withdraw(key, due, events)
  if not due then
    return
  end
  local name = id(key)
  local was = redis.call('ZSCORE', due, name)
  if was and tonumber(was) >= session.now() then
    redis.call('HDEL', events, name)
    redis.call('ZREM', due, name)
  end
end
