-- Stores rows of keys: all of them, or none where one is in conflict.
--
-- KEYS  1 store: its version is the number of the latest change   2 ids: sorted set, all of one score
--       3 prints: hash of fingerprint -> id   4 changed: sorted set of id by the number of its change
--       5... the hash of each row
-- ARGV  1 run   2 text for an epoch   3... per row: id, version, fingerprint, fields, sealed, mac
--
-- Answers the head alone, or the head, what is in conflict, the id, and what is stored instead.

local ids, prints, changed = unpack(KEYS, 2, 4)
local versions, holders, marks = {}, {}, {} -- of this put: a row may follow one before it
local FIELDS = 6

local function conflict(row, id, version, print)
  if versions[id] == nil then
    local stored = call('HMGET', row, 'version', 'fingerprint')
    versions[id], marks[id] = tonumber(stored[1]) or false, stored[2]
  end
  if version == 1 then
    if versions[id] then return 'exists', '' end
    local holder = holders[print] or call('HGET', prints, print)
    if holder then return 'secret', holder end
    holders[print], marks[id] = id, print
  else
    if not versions[id] then return 'unknown', '' end
    if versions[id] ~= version - 1 then return 'changed', text(versions[id]) end
    if marks[id] ~= print then return 'keeps', '' end
  end
  versions[id] = version
end

for place = 3, #ARGV, FIELDS do
  local id, print = ARGV[place], ARGV[place + 2]
  local row = KEYS[4 + (place + FIELDS - 3) / FIELDS]
  local kind, stored = conflict(row, id, tonumber(ARGV[place + 1]), print)
  if kind then return { head(), kind, id, stored } end
end

for place = 3, #ARGV, FIELDS do
  local id, number, print, fields, sealed, mac = unpack(ARGV, place, place + FIELDS - 1)
  local row = KEYS[4 + (place + FIELDS - 3) / FIELDS]
  version = version + 1
  call('HSET', row, 'version', number, 'fingerprint', print, 'fields', fields, 'sealed', sealed, 'mac', mac)
  call('HSET', prints, print, id)
  call('ZADD', ids, 0, id)
  call('ZADD', changed, version, id)
end
call('HSET', KEYS[1], 'version', version)
return { head() }
