-- What each script begins with: the partition's prefix, the time, and what must fail before anything is written:
-- a wrong type, or a slot on its way to another server (where a key that isn't here is asked for elsewhere).
local call = redis.call
local prefix = string.sub(KEYS[1], 1, -2)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
call('EXISTS', prefix .. 'none')
call('ZCARD', prefix .. 'x')
call('ZCARD', prefix .. 't')
call('HLEN', prefix .. 'i')
call('HLEN', prefix .. 'n')
call('XLEN', prefix .. 'ev')
