#!lua flags=allow-oom
-- Prolongs the ownership of a partition. Harmless to take it again after it ran out: an unchanged epoch
-- says that nobody else acquired it.
-- KEYS  ns:{p}:e epoch, ns:{p}:o owner
-- ARGV  epoch, holder, lease in ms (0: give the partition up)
-- Reply "OK" or "STALE"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 'STALE'
end
if ARGV[3] == '0' then
    redis.call('DEL', KEYS[2])
elseif redis.call('PEXPIRE', KEYS[2], ARGV[3]) == 0 then
    redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
return 'OK'
