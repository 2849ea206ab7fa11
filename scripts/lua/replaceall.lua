-- replaceall: swaps many sealed records for others, each if it is still the one the caller read.
--
-- KEYS     the records, one at least
-- ARGV     for each of KEYS, in their order: the first 60 bytes of the record that was read, its entity tag, and
--          the new record
--
-- Returns  a list with one answer for each of KEYS: 1 replaced, 2 the new record is there already, 0 another
--          record is there, -1 nothing is there
--
-- Invariant: a new record is written over the very record that its entity tag names and over nothing else, and
-- the TTL that runs goes on. Nonce and salt stand in those bytes, so no two records share them and asking twice
-- writes once. A key of another type ends the script with an error: what stands before it is replaced by then,
-- what stands behind it is not, and asking again settles the rest.
--
-- The server does nothing else meanwhile: the caller bounds the records and the bytes of a call.

local call, keys, args = redis.call, KEYS, ARGV
if #keys == 0 or #args ~= 2 * #keys then
  return redis.error_reply('ERR wrong number of arguments')
end
local answers = {}
for i = 1, #keys do
  local key, etag, record = keys[i], args[2 * i - 1], args[2 * i]
  -- As text: the server would print numbers anew for each key.
  local head = call('GETRANGE', key, '0', '59')
  if #head == 0 then
    answers[i] = -1
  elseif head == etag then
    call('SET', key, record, 'KEEPTTL')
    answers[i] = 1
  elseif head == string.sub(record, 1, 60) then
    answers[i] = 2
  else
    answers[i] = 0
  end
end
return answers
