#!lua flags=allow-oom
-- Takes an order that is over out of a partition, unless it was changed or taken back meanwhile.
-- KEYS  ns:{p}:a orders in force
-- ARGV  order's id, its text as the caller knows it
-- Reply 1 if it was there
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
    return 0
end
return redis.call('HDEL', KEYS[1], ARGV[1])
