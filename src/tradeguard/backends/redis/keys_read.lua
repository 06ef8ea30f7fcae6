-- Returns fields of one hash: the head, then each value, or false.
--
-- KEYS  1 store   2 the hash
-- ARGV  1 run   2 text for an epoch   3... fields

local CHUNK = 1000
local found = { head() }
for start = 3, #ARGV, CHUNK do
  for _, value in ipairs(call('HMGET', KEYS[2], unpack(ARGV, start, math.min(#ARGV, start + CHUNK - 1)))) do
    found[#found + 1] = value
  end
end
return found
