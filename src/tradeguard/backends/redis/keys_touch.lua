-- Keeps when keys were last used; an earlier time than the kept one changes nothing.
--
-- KEYS  1 store   2 uses: hash of id -> time, 20 digits: ns are more than a Lua number holds
-- ARGV  1 run   2 text for an epoch   3... id, time, id, time ...

local DIGITS = 20

local function later(one, other)
  for digit = 1, DIGITS do
    local left, right = string.byte(one, digit), string.byte(other, digit)
    if left ~= right then return left > right end
  end
  return false
end

for place = 3, #ARGV, 2 do
  local kept = call('HGET', KEYS[2], ARGV[place])
  if not kept or later(ARGV[place + 1], kept) then call('HSET', KEYS[2], ARGV[place], ARGV[place + 1]) end
end
return { head() }
