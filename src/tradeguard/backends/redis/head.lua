-- How every script of a state begins: the time, the epoch and the version. It is put in front of the others.
--
-- KEYS[1]  the store: a hash of run, epoch, since, version and time; it never expires
-- ARGV[1]  run: which run of which server the caller is connected to
-- ARGV[2]  random text of the caller, for a new epoch
--
-- All numbers are whole and below 2^53, which is what a Lua number holds exactly. Times are microseconds.

local call = redis.call
local MICRO = 1 -- ticks of this clock in a microsecond
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]

local run, epoch, since, version, time = unpack(call('HMGET', KEYS[1], 'run', 'epoch', 'since', 'version', 'time'))
version = tonumber(version) or 0
now = math.max(now, tonumber(time) or 0) -- a clock that steps back revives nothing

local function text(number) -- tostring would write 1.7320508e+15
  return string.format('%.0f', number)
end

local stamp = text(now)

-- An empty store, or one that another server has kept before (a restart, a replica that took over, a restored copy):
-- what was not yet written or passed on is lost, and nobody knows how much. It begins anew, and who saw it before knows.
if not epoch or run ~= ARGV[1] then
  epoch, since = ARGV[2] .. stamp, stamp
  call('HSET', KEYS[1], 'run', ARGV[1], 'epoch', epoch, 'since', since, 'version', version)
end

local function head()
  return stamp .. ' ' .. epoch .. ' ' .. text(version) .. ' ' .. since
end
