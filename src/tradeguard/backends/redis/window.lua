-- How units are counted. It is put in front of the scripts that count.
--
-- Totals may pass 2^53 (quotas in the shadow never refuse), so a total is a pair: high * 2^32 + low.
-- A rolling window is a list of (edge, total so far), oldest first. Its first entry is the last that has run out, so
-- what counts is the last total less the first one: a commit looks at three entries, however many there are.

local BASE = 4294967296

local function plus(high, low, units)
  low = low + units % BASE
  high = high + math.floor(units / BASE)
  if low >= BASE then return high + 1, low - BASE end
  return high, low
end

local function minus(high, low, units)
  low = low - units % BASE
  high = high - math.floor(units / BASE)
  if low < 0 then return high - 1, low + BASE end
  return high, low
end

local function entry(key, place) -- edge, high, low; nothing where there is none
  local packed = call('LINDEX', key, place)
  if packed then return struct.unpack('>ddd', packed) end
end

local function pack(edge, high, low)
  return struct.pack('>ddd', edge, high, low)
end

local function search(key, low, high, holds) -- the first place from low to before high where it holds, or high
  while low < high do
    local middle = math.floor((low + high) / 2)
    if holds(entry(key, middle)) then high = middle else low = middle + 1 end
  end
  return low
end
