#!lua flags=allow-oom
-- Drops a submission's content when the last of its jobs has ended. Before it's sealed ("*": no more recipients will
-- come) nothing happens: whoever seals asks anew.
-- KEYS  ns:o:{SID} partitions with open jobs, ns:s:{SID} object
-- ARGV  partitions that have none any more; may be none
-- Reply 1 if it was dropped
if redis.call('SISMEMBER', KEYS[1], '*') == 0 then
    return 0
end
if #ARGV > 0 then
    redis.call('SREM', KEYS[1], unpack(ARGV))
end
if redis.call('SCARD', KEYS[1]) > 1 then
    return 0
end
return redis.call('DEL', KEYS[1], KEYS[2]) > 0 and 1 or 0
