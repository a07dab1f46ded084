#!lua flags=allow-oom
-- Takes entries that are wholly queued out of the submit stream.
-- KEYS  ns:submit
-- ARGV  group, entry ids
-- Reply the number of entries
redis.call('XACK', KEYS[1], unpack(ARGV))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
