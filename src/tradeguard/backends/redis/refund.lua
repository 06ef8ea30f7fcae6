-- Gives units of one charge back: once per item, in all never more than it cost, only where they still count.
--
-- KEYS  1 store   2 given: hash of "i" .. item -> units, "all" -> their sum   3... the rolling windows of the charge
-- ARGV  1 run   2 text for an epoch   3 item   4 units   5 cost   6 when the charge has run out
--       7... per window: the edge at which the units were counted
-- Totals are kept, so those of all later entries go down too: as many as came after the charge.

local given, item = KEYS[2], 'i' .. ARGV[3]
local units, cost, until_ = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local SPARE = 60000

local function give(key, edge)
  local length = call('LLEN', key)
  local place = search(key, 1, length, function(at) return at >= edge end)
  local at, high, low = entry(key, place)
  if at ~= edge then return end
  local _, high_before, low_before = entry(key, place - 1)
  local count = (high - high_before) * BASE + low - low_before
  local back = math.min(count, units)
  for later = place, length - 1 do
    at, high, low = entry(key, later)
    call('LSET', key, later, pack(at, minus(high, low, back)))
  end
  if back == count then
    call('LSET', key, place, '')
    call('LREM', key, 1, '')
  end
end

call('HSET', KEYS[1], 'time', stamp)
local sum = tonumber(call('HGET', given, 'all')) or 0
if call('HEXISTS', given, item) == 1 or sum + units > cost or until_ <= now then return head() .. ' 0' end
call('HSET', given, item, units, 'all', sum + units)
call('PEXPIRE', given, math.ceil((until_ - now) / (1000 * MICRO)) + SPARE)
for number = 3, #KEYS do give(KEYS[number], tonumber(ARGV[number + 4])) end
return head() .. ' 1'
