-- Keeps a value under a name where there is none, and returns what is kept.
--
-- KEYS  1 store   2 kept: hash of name -> value
-- ARGV  1 run   2 text for an epoch   3 name   4 value

call('HSETNX', KEYS[2], ARGV[3], ARGV[4])
return { head(), call('HGET', KEYS[2], ARGV[3]) }
