-- Tells which ids have changed since a mark: the head, then "ids" and the ids, or "any".
--
-- KEYS  1 store   2 changed
-- ARGV  1 run   2 text for an epoch   3, 4 epoch and number of the mark, or empty   5 how many ids are told at most

local number, most = tonumber(ARGV[4]) or 0, tonumber(ARGV[5])
if ARGV[3] ~= epoch or number > version then return { head(), 'any' } end
local found = call('ZRANGEBYSCORE', KEYS[2], '(' .. text(number), '+inf', 'LIMIT', 0, most + 1)
if #found > most then return { head(), 'any' } end
table.insert(found, 1, 'ids')
table.insert(found, 1, head())
return found
