#!lua
-- Stores a submission's object, and notes the partitions that are about to get jobs of it. Not allowed at maxmemory.
-- KEYS  ns:o:{SID} partitions with open jobs, ns:s:{SID} object
-- ARGV  object, or "" when its producer stored it; when both expire (s since 1970); partitions …
-- Reply "OK", or {the object that was there before}: then nothing is changed
redis.call('SCARD', KEYS[1])
if ARGV[1] ~= '' and not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EXAT', ARGV[2]) then
    return { redis.call('GET', KEYS[2]) }
end
if #ARGV > 2 then
    redis.call('SADD', KEYS[1], unpack(ARGV, 3))
    redis.call('EXPIREAT', KEYS[1], ARGV[2])
end
return 'OK'
