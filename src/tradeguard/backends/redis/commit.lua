-- Settles the conditions of one request in one step. What it means stands in tradeguard/core/conditions.py.
--
-- KEYS  1 store      2 once: hash of member -> "until:request id"    3 expiry: sorted set of member by until
--       4 held: hash of owner -> how many members are his            5 tops: hash of member -> accepted values, ascending
--       6 topped: hash of owner -> how many of them are his          7 numbers: hash of name -> value, "until:", record
--       8... one key per window of a quota, in the order they are asked for
-- ARGV  1 run   2 text for an epoch   3 request id   4, 5 epoch and version seen, or empty   6 denied: 0 or 1
--       7, 8 most members in all, and of one owner   9... the conditions:
--         o owner member until               a owner member value width        b value amount name...
--         q binding enforced cost windows: 32 bytes each: amount, period, grain, burst (0: it rolls)
-- A member is "<length of owner>:<owner><item>". Values are 16 bytes, big-endian.
--
-- The answer is a line of time, epoch, version, since and one mark per condition, 1 where it holds; then, as numbers of
-- eight bytes: whether something found no room, when failed quotas have room, three per window; then whose a Once was.
--
-- It first finds out what holds, then lets it take effect: a condition never sees what another of its commit did.
-- Everybody waits while it runs: so it reads its arguments where they are, makes a table per window and none besides,
-- with all its fields from the start (growing one costs more than a command), and compares four bytes at a time.

local KEYS, ARGV, tonumber = KEYS, ARGV, tonumber
local once, expiry, held, tops, topped, numbers = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local WIDTH, PURGE = 16, 64 -- bytes of a value; expired members dropped per commit: faster than they come
local ZERO = '\128\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' -- what a number counts that is absent or has expired
local CROWD = 2048 -- most entries of a window that only watches: more are counted together, as long as the latest
local SPARE = 60000 -- milliseconds that Redis keeps a window longer than it counts
local LONGEST = 2 ^ 52 -- milliseconds that Redis keeps anything

call('HSET', KEYS[1], 'time', stamp)
if ARGV[4] ~= '' and (ARGV[4] ~= epoch or tonumber(ARGV[5]) > version) then
  return head() .. ' behind'
end

local expired = call('ZRANGEBYSCORE', expiry, '-inf', stamp, 'LIMIT', 0, PURGE)
if #expired > 0 then
  call('HDEL', once, unpack(expired))
  call('ZREM', expiry, unpack(expired))
  for _, member in ipairs(expired) do
    local length = string.match(member, '^%d+')
    local owner = string.sub(member, #length + 2, #length + 1 + length)
    if call('HINCRBY', held, owner, -1) <= 0 then call('HDEL', held, owner) end
  end
end

local function lacks_room(members, counts, owner)
  return call('HLEN', members) >= tonumber(ARGV[7])
    or (tonumber(call('HGET', counts, owner)) or 0) >= tonumber(ARGV[8])
end

local function above(one, other) -- `>` on texts goes by the server's locale
  for start = 1, WIDTH, 4 do
    local left, right = struct.unpack('>I4', one, start), struct.unpack('>I4', other, start)
    if left ~= right then return left > right end
  end
  return false
end

local function keep(key, until_)
  call('PEXPIRE', key, math.min(math.ceil((until_ - now) / (1000 * MICRO)) + SPARE, LONGEST))
end

local function drained_at(window, units, rest) -- when so much has drained
  local period, amount = window.period, window.amount
  local whole = math.floor(units / amount)
  return (window.tick + whole * period + math.ceil(((units - whole * amount) * period + rest) / amount)) * MICRO
end

-- What rolls: drop what has run out, and count the rest.
local function roll(window)
  local key, period = window.key, window.period
  local pair = call('LRANGE', key, 0, 1)
  if pair[2] and struct.unpack('>d', pair[2]) + period <= now then
    local living = search(key, 2, call('LLEN', key), function(edge) return edge + period > now end)
    call('LTRIM', key, living - 1, -1)
    pair = call('LRANGE', key, 0, 1)
  end
  if not pair[1] then return 0, 0 end
  local _, high, low = struct.unpack('>ddd', pair[1])
  window.total, window.odd = high, low
  if not pair[2] then return 0, 0 end
  window.first = struct.unpack('>d', pair[2])
  window.last, window.total, window.odd = entry(key, -1)
  return minus(window.total - high, window.odd, low)
end

-- What paces has a level of so many units and a rest below one, in units times period: nothing passes 2^53.
local function drain(window)
  local tick, period, amount = math.floor(now / MICRO), window.period, window.amount
  window.tick, window.rest = tick, 0
  local packed = call('GET', window.key)
  if not packed then return 0, 0 end
  local at, high, low, rest = struct.unpack('>dddd', packed)
  local whole = math.floor((tick - at) / period)
  local part = (tick - at - whole * period) * amount
  local units = whole * amount + math.floor(part / period)
  rest = rest - part % period
  if rest < 0 then rest, units = rest + period, units + 1 end
  high, low = minus(high, low, units)
  if high < 0 then return 0, 0 end
  window.rest = rest
  return high, low
end

local function ready_at(window, cost) -- when so many units fit
  local most, excess = window.most, window.high * BASE + window.low + cost - window.most
  if cost > most then return -1 end
  if excess < 0 or (excess == 0 and not (window.tick and window.rest > 0)) then return now end
  if window.tick then return drained_at(window, excess, window.rest) end
  local key = window.key
  local place = search(key, 1, call('LLEN', key), function(_, high, low)
    return (window.total - high) * BASE + window.odd - low + cost <= most
  end)
  return entry(key, place) + window.period
end

local function add(window, cost)
  local key, grain, last = window.key, window.grain, window.last
  local edge = now + (grain - now % grain) % grain
  if last and last > edge then edge = last end
  if not window.total then
    call('RPUSH', key, pack(0, 0, 0))
    window.total, window.odd = 0, 0
  end
  local crowded = last and not window.enforced and call('LLEN', key) >= CROWD
  local counts = pack(edge, plus(window.total, window.odd, cost))
  if last == edge or crowded then call('LSET', key, -1, counts) else call('RPUSH', key, counts) end
  if last ~= edge then keep(key, edge + window.period) end
  window.first = window.first or edge
end

local first, full, ready = '', 0, 0
local spends = ARGV[6] == '0'
local holding, windows, marks = {}, {}, {}
local place, ending = 9, #ARGV
while place <= ending do
  local kind, holds = ARGV[place], true
  if kind == 'o' then
    local owner, member, until_ = ARGV[place + 1], ARGV[place + 2], tonumber(ARGV[place + 3])
    local known = call('HGET', once, member)
    if known then
      local living, user = string.match(known, '^(%d+):(.*)$')
      if tonumber(living) > now then
        if first == '' then first = user end
        holds = false
      end
    elseif until_ > now and lacks_room(once, held, owner) then
      full, holds = 1, false
    end
    holds = holds and until_ > now
    if holds then holding[#holding + 1] = place end
    place = place + 4
  elseif kind == 'b' then
    local value, names = ARGV[place + 1], tonumber(ARGV[place + 2])
    if names > 0 then
      local absent = false
      for _, stored in ipairs(call('HMGET', numbers, unpack(ARGV, place + 3, place + 2 + names))) do
        local living = stored and string.match(stored, '^(%-?%d*):', WIDTH + 1)
        if not (living and (living == '' or tonumber(living) > now)) then
          absent = true
        elseif not above(value, stored) then
          holds = false
        end
      end
      if absent and not above(value, ZERO) then holds = false end
    end
    place = place + 3 + names
  elseif kind == 'q' then
    local enforced, cost, packed = ARGV[place + 2] == '1', tonumber(ARGV[place + 3]), ARGV[place + 4]
    local latest = now
    for start = 1, #packed, 32 do
      local amount, period, grain, burst = struct.unpack('>dddd', packed, start)
      local window = {
        key = KEYS[#windows + 8], enforced = enforced, amount = amount, period = period, grain = grain,
        most = burst > 0 and burst or amount, cost = cost, binding = ARGV[place + 1] == '1',
        high = 0, low = 0, total = false, odd = 0, first = false, last = false, -- room for what comes, at once
      }
      if burst > 0 then window.high, window.low = drain(window) else window.high, window.low = roll(window) end
      windows[#windows + 1] = window
      if enforced and cost > 0 then
        local at = ready_at(window, cost)
        if at < 0 or latest < 0 then latest = -1 elseif at > latest then latest = at end
      end
    end
    if latest ~= now then
      holds = false
      for number = #windows - #packed / 32 + 1, #windows do windows[number].cost = 0 end
      if latest < 0 or ready < 0 then ready = -1 elseif latest > ready then ready = latest end
    end
    place = place + 5
  else
    local known, value, width = call('HGET', tops, ARGV[place + 2]), ARGV[place + 3], tonumber(ARGV[place + 4])
    if known then
      local length = #known
      for start = 1, length, WIDTH do
        if string.sub(known, start, start + WIDTH - 1) == value then holds = false end
      end
      local floor = length - width * WIDTH
      holds = holds and (floor < 0 or above(value, string.sub(known, floor + 1, floor + WIDTH)))
    elseif lacks_room(tops, topped, ARGV[place + 1]) then
      full, holds = 1, false
    end
    if holds then holding[#holding + 1] = place end
    place = place + 5
  end
  spends = spends and holds
  marks[#marks + 1] = holds and '1' or '0'
end

for _, place in ipairs(holding) do
  local owner, member = ARGV[place + 1], ARGV[place + 2]
  if ARGV[place] == 'o' then
    local until_ = ARGV[place + 3]
    if call('HSET', once, member, until_ .. ':' .. ARGV[3]) == 1 then call('HINCRBY', held, owner, 1) end
    call('ZADD', expiry, until_, member)
  else
    local value, known = ARGV[place + 3], call('HGET', tops, member) or ''
    local spot = #known
    while spot > 0 and above(string.sub(known, spot - WIDTH + 1, spot), value) do spot = spot - WIDTH end
    known = string.sub(known, 1, spot) .. value .. string.sub(known, spot + 1)
    local packed = string.sub(known, math.max(1, #known - ARGV[place + 4] * WIDTH + 1))
    if call('HSET', tops, member, packed) == 1 then call('HINCRBY', topped, owner, 1) end
  end
end

local uses = {} -- per window: units used, as a pair, and when there are fewer
for _, window in ipairs(windows) do
  local cost, high, low, fewer = window.cost, window.high, window.low, 0
  if cost > 0 and (window.binding or spends) then
    high, low = plus(high, low, cost)
    if window.tick then
      call('SET', window.key, struct.pack('>dddd', window.tick, high, low, window.rest))
      keep(window.key, drained_at(window, high * BASE + low, window.rest))
    else
      add(window, cost)
    end
  end
  if window.tick then
    if window.rest > 0 then high, low = plus(high, low, 1) end
    if high + low > 0 then fewer = drained_at(window, 0, window.rest > 0 and window.rest or window.period) end
  elseif high + low > 0 then
    fewer = window.first + window.period
  end
  uses[#uses + 1] = struct.pack('>ddd', high, low, fewer)
end
return head() .. ' -' .. table.concat(marks) .. '\n' .. struct.pack('>dd', full, ready) .. table.concat(uses) .. first
