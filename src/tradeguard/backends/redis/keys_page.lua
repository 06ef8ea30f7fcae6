-- Returns rows of keys by id: the head, then per row id, version, fingerprint, fields, sealed and mac.
--
-- KEYS  1 store   2 ids
-- ARGV  1 run   2 text for an epoch   3 from, 4 to: of ids, as ZRANGEBYLEX has them   5 how many at most
--       6 what the key of a row begins with: all of them lie in the slot of the others

local found = { head() }
for _, id in ipairs(call('ZRANGEBYLEX', KEYS[2], ARGV[3], ARGV[4], 'LIMIT', 0, ARGV[5])) do
  found[#found + 1] = id
  for _, field in ipairs(call('HMGET', ARGV[6] .. id, 'version', 'fingerprint', 'fields', 'sealed', 'mac')) do
    found[#found + 1] = field
  end
end
return found
