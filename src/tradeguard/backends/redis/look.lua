-- Returns the numbers for `Below` whose name begins with a prefix and that still hold: the head, then name, what is
-- stored, name, what is stored ...
--
-- KEYS  1 store   2 numbers   3 names
-- ARGV  1 run   2 text for an epoch   3 from, 4 to: of names, as ZRANGEBYLEX has them

local numbers, names = KEYS[2], KEYS[3]
local WIDTH, CHUNK = 16, 1000
local found = { head() }
local list = call('ZRANGEBYLEX', names, ARGV[3], ARGV[4])
for start = 1, #list, CHUNK do
  local part = { unpack(list, start, math.min(#list, start + CHUNK - 1)) }
  for number, stored in ipairs(call('HMGET', numbers, unpack(part))) do
    local living = stored and string.match(stored, '^(%-?%d*):', WIDTH + 1)
    if living and (living == '' or tonumber(living) > now) then
      found[#found + 1] = part[number]
      found[#found + 1] = stored
    end
  end
end
return found
