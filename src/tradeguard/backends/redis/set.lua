-- Stores a number for `Below` and counts the version up.
--
-- KEYS  1 store   2 numbers: hash of name -> value, "until:", record   3 names: sorted set, all of one score
--       4 endings: sorted set of name by until
-- ARGV  1 run   2 text for an epoch   3 name   4 value: 16 bytes   5 until, or empty for good   6 record
--       7 lift: 1 keeps a higher number that still holds

local numbers, names, endings = unpack(KEYS, 2, 4)
local name, value, until_, record = unpack(ARGV, 3, 6)
local WIDTH, PURGE = 16, 64

local function above(one, other)
  for byte = 1, WIDTH do
    local left, right = string.byte(one, byte), string.byte(other, byte)
    if left ~= right then return left > right end
  end
  return false
end

local stored = ARGV[7] == '1' and call('HGET', numbers, name)
if stored and above(stored, value) then
  local living = string.match(stored, '^(%-?%d*):', WIDTH + 1)
  if living == '' or tonumber(living) > now then value = string.sub(stored, 1, WIDTH) end
end

local expired = call('ZRANGEBYSCORE', endings, '-inf', stamp, 'LIMIT', 0, PURGE)
if #expired > 0 then
  call('HDEL', numbers, unpack(expired))
  call('ZREM', names, unpack(expired))
  call('ZREM', endings, unpack(expired))
end

version = version + 1
call('HSET', KEYS[1], 'time', stamp, 'version', version)
call('HSET', numbers, name, value .. until_ .. ':' .. record)
call('ZADD', names, 0, name)
if until_ == '' then call('ZREM', endings, name) else call('ZADD', endings, until_, name) end
return head()
