-- Settles the conditions of one request in one step. What it means stands in tradeguard/core/conditions.py.
--
-- KEYS  1 store      2 once: hash of member -> "until:request id"    3 expiry: sorted set of member by until
--       4 held: hash of owner -> how many members are his            5 tops: hash of member -> accepted values, ascending
--       6 topped: hash of owner -> how many of them are his          7 numbers: hash of name -> value, "until:", record
--       8... one key per window of a quota, in the order they are asked for
-- ARGV  1 run   2 text for an epoch   3 request id   4, 5 epoch and version seen, or empty   6 denied: 0 or 1
--       7, 8 most members in all, and of one owner   9... the conditions:
--         o owner member until               a owner member value width        b value amount name...
--         q binding enforced cost amount and per window:  r amount period grain  |  p amount period burst
-- A member is "<length of owner>:<owner><item>". Values are 16 bytes, big-endian.
--
-- The answer is a line of time, epoch, version, since and one mark per condition, 1 where it holds; then, as numbers of
-- eight bytes: whether something found no room, when failed quotas have room, three per window; then whose a Once was.
--
-- It first finds out what holds, then lets it take effect: a condition never sees what another of its commit did.

local once, expiry, held, tops, topped, numbers = unpack(KEYS, 2, 7)
local request = ARGV[3]
local room, share = tonumber(ARGV[7]), tonumber(ARGV[8])
local WIDTH, PURGE = 16, 64 -- bytes of a value; expired members dropped per commit: faster than they come
local ZERO = '\128' .. string.rep('\0', WIDTH - 1) -- what a number counts that is absent or has expired
local CROWD = 2048 -- most entries of a window that only watches: more are counted together, as long as the latest
local SPARE = 60000 -- milliseconds that Redis keeps a window longer than it counts
local LONGEST = 2 ^ 52 -- milliseconds that Redis keeps anything

call('HSET', KEYS[1], 'time', stamp)
if ARGV[4] ~= '' and (ARGV[4] ~= epoch or tonumber(ARGV[5]) > version) then
  return head() .. ' behind'
end

-- what has expired

local function owner_of(member)
  local length = string.match(member, '^%d+')
  return string.sub(member, #length + 2, #length + 1 + length)
end

local expired = call('ZRANGEBYSCORE', expiry, '-inf', stamp, 'LIMIT', 0, PURGE)
if #expired > 0 then
  call('HDEL', once, unpack(expired))
  call('ZREM', expiry, unpack(expired))
  for _, member in ipairs(expired) do
    local owner = owner_of(member)
    if call('HINCRBY', held, owner, -1) <= 0 then call('HDEL', held, owner) end
  end
end

-- windows

local function keep(window, until_)
  call('PEXPIRE', window.key, math.min(math.ceil((until_ - now) / (1000 * MICRO)) + SPARE, LONGEST))
end

local function roll(window) -- drop what has run out, and count the rest
  local key, period = window.key, window.period
  local pair = call('LRANGE', key, 0, 1)
  if pair[2] and struct.unpack('>d', pair[2]) + period <= now then
    local living = search(key, 2, call('LLEN', key), function(edge) return edge + period > now end)
    call('LTRIM', key, living - 1, -1)
    pair = call('LRANGE', key, 0, 1)
  end
  window.high, window.low = 0, 0
  if pair[1] then
    local _, high, low = struct.unpack('>ddd', pair[1])
    window.total, window.odd = high, low
    if pair[2] then
      window.first = struct.unpack('>d', pair[2])
      window.last, window.total, window.odd = entry(key, -1)
    end
    window.high, window.low = minus(window.total - high, window.odd, low)
  end
  window.used = window.high * BASE + window.low
end

local function rolls_at(window, cost) -- when so many units fit
  if cost > window.most then return -1 end
  if window.used + cost <= window.most then return now end
  local key, length = window.key, call('LLEN', window.key)
  local place = search(key, 1, length, function(_, high, low)
    return (window.total - high) * BASE + window.odd - low + cost <= window.most
  end)
  return entry(key, place) + window.period
end

local function add(window, cost)
  local key, grain = window.key, window.grain
  local edge = math.max(now + (grain - now % grain) % grain, window.last or 0)
  if not window.total then
    call('RPUSH', key, pack(0, 0, 0))
    window.total, window.odd = 0, 0
  end
  window.total, window.odd = plus(window.total, window.odd, cost)
  local crowded = not window.enforced and window.last and call('LLEN', key) >= CROWD
  local counts = pack(edge, window.total, window.odd)
  if window.last == edge or crowded then call('LSET', key, -1, counts) else call('RPUSH', key, counts) end
  if window.last ~= edge then keep(window, edge + window.period) end
  window.first, window.last = window.first or edge, edge
  window.high, window.low = plus(window.high, window.low, cost)
end

-- A window that paces has a level of so many units and a rest below one, in units times period: nothing passes 2^53.
local function drain(window)
  local tick, period, amount = math.floor(now / MICRO), window.period, window.amount
  local packed = call('GET', window.key)
  window.tick, window.high, window.low, window.rest = tick, 0, 0, 0
  if packed then
    local at, high, low, rest = struct.unpack('>dddd', packed)
    local whole = math.floor((tick - at) / period)
    local part = (tick - at - whole * period) * amount
    local units = whole * amount + math.floor(part / period)
    rest = rest - part % period
    if rest < 0 then rest, units = rest + period, units + 1 end
    high, low = minus(high, low, units)
    if high >= 0 then window.high, window.low, window.rest = high, low, rest end
  end
  window.used = window.high * BASE + window.low + (window.rest > 0 and 1 or 0)
end

local function drained_at(window, units, rest) -- when so much has drained
  local period, amount = window.period, window.amount
  local whole = math.floor(units / amount)
  return (window.tick + whole * period + math.ceil(((units - whole * amount) * period + rest) / amount)) * MICRO
end

local function paces_at(window, cost)
  if cost > window.most then return -1 end
  local excess = window.high * BASE + window.low + cost - window.most
  if excess < 0 or (excess == 0 and window.rest == 0) then return now end
  return drained_at(window, excess, window.rest)
end

local function fill(window, cost)
  window.high, window.low = plus(window.high, window.low, cost)
  call('SET', window.key, struct.pack('>dddd', window.tick, window.high, window.low, window.rest))
  keep(window, drained_at(window, window.high * BASE + window.low, window.rest))
end

local uses = {} -- per window: units used, as a pair, and when there are fewer

local function tell(window)
  local high, low, fewer = window.high, window.low, 0
  if window.paces then
    if window.rest > 0 then high, low = plus(high, low, 1) end
    if high + low > 0 then fewer = drained_at(window, 0, window.rest > 0 and window.rest or window.period) end
  elseif high + low > 0 then
    fewer = window.first + window.period
  end
  local count = #uses
  uses[count + 1], uses[count + 2], uses[count + 3] = high, low, fewer
end

-- the four conditions: each is read, says whether it holds, and takes effect

local place, window_place = 8, 7

local function next_argument()
  place = place + 1
  return ARGV[place]
end

local function next_number()
  return tonumber(next_argument())
end

local function next_window(enforced)
  window_place = window_place + 1
  local paces = next_argument() == 'p'
  local window = { key = KEYS[window_place], enforced = enforced, paces = paces }
  window.amount, window.period = next_number(), next_number()
  if paces then
    window.most = next_number()
    drain(window)
  else
    window.most, window.grain = window.amount, next_number()
    roll(window)
  end
  return window
end

local read = {
  o = function() return { owner = next_argument(), member = next_argument(), until_ = next_number() } end,
  a = function()
    return { owner = next_argument(), member = next_argument(), value = next_argument(), width = next_number() }
  end,
  b = function()
    local asked = { value = next_argument(), names = {} }
    for number = 1, next_number() do asked.names[number] = next_argument() end
    return asked
  end,
  q = function()
    local asked = { binding = next_argument() == '1', enforced = next_argument() == '1', cost = next_number() }
    asked.windows = {}
    for number = 1, next_number() do asked.windows[number] = next_window(asked.enforced) end
    return asked
  end,
}

local function has_room(members, counts, owner)
  return call('HLEN', members) < room and (tonumber(call('HGET', counts, owner)) or 0) < share
end

local function above(one, other) -- `>` on texts goes by the server's locale
  for byte = 1, WIDTH do
    local left, right = string.byte(one, byte), string.byte(other, byte)
    if left ~= right then return left > right end
  end
  return false
end

local function values(packed)
  local list = {}
  for start = 1, #packed, WIDTH do list[#list + 1] = string.sub(packed, start, start + WIDTH - 1) end
  return list
end

local first, full, ready = '', 0, 0

local holds = {
  o = function(asked)
    local known = call('HGET', once, asked.member)
    if known then
      local living, user = string.match(known, '^(%d+):(.*)$')
      if tonumber(living) > now then
        if first == '' then first = user end
        return false
      end
    elseif asked.until_ > now and not has_room(once, held, asked.owner) then
      full = 1
      return false
    end
    return asked.until_ > now
  end,
  a = function(asked)
    local known = call('HGET', tops, asked.member)
    if not known then
      if has_room(tops, topped, asked.owner) then return true end
      full = 1
      return false
    end
    local top = values(known)
    for _, value in ipairs(top) do
      if value == asked.value then return false end
    end
    return #top < asked.width or above(asked.value, top[#top - asked.width + 1])
  end,
  b = function(asked)
    if #asked.names == 0 then return true end
    for _, stored in ipairs(call('HMGET', numbers, unpack(asked.names))) do
      local living = stored and string.match(stored, '^(%-?%d*):', WIDTH + 1)
      local counts = living and (living == '' or tonumber(living) > now)
      if not above(asked.value, counts and stored or ZERO) then return false end
    end
    return true
  end,
  q = function(asked)
    if asked.cost == 0 or not asked.enforced then return true end
    local latest = now
    for _, window in ipairs(asked.windows) do
      local at = (window.paces and paces_at or rolls_at)(window, asked.cost)
      if at < 0 or latest < 0 then latest = -1 else latest = math.max(latest, at) end
    end
    if latest == now then return true end
    if latest < 0 or ready < 0 then ready = -1 else ready = math.max(ready, latest) end
    return false
  end,
}

local take = {
  o = function(asked)
    if call('HSET', once, asked.member, text(asked.until_) .. ':' .. request) == 1 then
      call('HINCRBY', held, asked.owner, 1)
    end
    call('ZADD', expiry, asked.until_, asked.member)
  end,
  a = function(asked)
    local top = values(call('HGET', tops, asked.member) or '')
    local spot = #top
    while spot > 0 and above(top[spot], asked.value) do spot = spot - 1 end
    table.insert(top, spot + 1, asked.value)
    local packed = table.concat(top, '', math.max(1, #top - asked.width + 1))
    if call('HSET', tops, asked.member, packed) == 1 then call('HINCRBY', topped, asked.owner, 1) end
  end,
  b = function() end,
  q = function(asked)
    if asked.cost == 0 then return end
    for _, window in ipairs(asked.windows) do
      (window.paces and fill or add)(window, asked.cost)
    end
  end,
}

local conditions, marks = {}, {}
local spends = ARGV[6] == '0'
while place < #ARGV do
  local kind = next_argument()
  local asked = read[kind]()
  asked.kind, asked.holds = kind, holds[kind](asked)
  spends = spends and asked.holds
  conditions[#conditions + 1] = asked
  marks[#marks + 1] = asked.holds and '1' or '0'
end

for _, asked in ipairs(conditions) do
  if asked.holds and (asked.kind ~= 'q' or asked.binding or spends) then take[asked.kind](asked) end
  for _, window in ipairs(asked.windows or {}) do tell(window) end
end
local told = struct.pack('>dd' .. string.rep('d', #uses), full, ready, unpack(uses))
return head() .. ' -' .. table.concat(marks) .. '\n' .. told .. first
