-- acquirelock: takes a lock that is free, or tells how long somebody else's may last.
--
-- KEYS[1]  the lock: its last owner's 22 characters; '+' where its release is to be announced, '-' where not; his fence
--          in decimal. It is held for as long as its TTL is more than 24 hours; what remains remembers the fence.
-- ARGV[1]  the owner, 22 characters that were never given before
-- ARGV[2]  the TTL in milliseconds, for which the lock is to be held
-- ARGV[3]  1 where the caller, or somebody behind him, waits for a release, listening on the channel of the lock's name;
--          0 where nobody does
--
-- Returns  the fence, a text of decimal digits, where the lock is the owner's from now on; otherwise a number, the
--          milliseconds after which the other's ends unless it is extended
--
-- Invariant: a fence is greater than every one given before that the key remembers, and not less than the server's clock
-- in microseconds, so that it rises also where the key is lost. Asked again by its owner, a lock keeps its fence, and its
-- TTL never shrinks: a request that arrives late harms nothing.

local day = 86400000
local mark = ARGV[3] == '1' and '+' or '-'
local kept = math.floor(ARGV[2]) + day
local held = redis.call('GET', KEYS[1])
local last = ''
if held then
  local left = redis.call('PTTL', KEYS[1])
  if left > day then
    if string.sub(held, 1, 22) == ARGV[1] then
      if left < kept then
        redis.call('PEXPIRE', KEYS[1], kept)
      end
      return string.sub(held, 24)
    end
    if mark == '+' and string.sub(held, 23, 23) ~= mark then
      redis.call('SET', KEYS[1], string.sub(held, 1, 22) .. mark .. string.sub(held, 24), 'KEEPTTL')
    end
    return left - day
  end
  last = string.sub(held, 24)
end
local time = redis.call('TIME')
local fence = time[1] .. string.sub('00000' .. time[2], -6)
if #last > #fence or last >= fence then -- as numbers go too, where both have as many digits
  local n = tonumber(last)
  if n and n >= tonumber(fence) then
    fence = string.format('%.0f', n + 1)
  end
end
redis.call('SET', KEYS[1], ARGV[1] .. mark .. fence, 'PX', kept)
return fence
