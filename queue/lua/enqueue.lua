#!lua
-- Takes one part of a stream entry's jobs into a partition, once, however often it is called. Not allowed at maxmemory.
-- KEYS  ns:{p}:m:ENTRY marker (the number of parts taken in), ns:{p}:n counters (gives the partition's prefix, too)
-- ARGV  part (0, 1, …), seconds to keep the marker, submission, seconds to keep a submission's counters, rejected,
--       (destination, n, n records) each
-- Reply "OK", "SEEN", or "GAP" when an earlier part is missing
local taken = tonumber(redis.call('GET', KEYS[1]) or 0)
local part = tonumber(ARGV[1])
if part ~= taken then
    return part < taken and 'SEEN' or 'GAP'
end
local prefix = string.sub(KEYS[2], 1, -2)
local ready, sums = prefix .. 'r:b', prefix .. 'c:' .. ARGV[3]
redis.call('ZCARD', ready) -- A wrong type must fail before anything is written.
redis.call('HLEN', KEYS[2])
redis.call('HLEN', sums)
local a = 6
while a < #ARGV do
    redis.call('LLEN', prefix .. 'q:b:' .. ARGV[a])
    a = a + 2 + ARGV[a + 1]
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local accepted = 0
a = 6
while a < #ARGV do
    local dest, n = ARGV[a], tonumber(ARGV[a + 1])
    if redis.call('RPUSH', prefix .. 'q:b:' .. dest, unpack(ARGV, a + 2, a + 1 + n)) == n then
        redis.call('ZADD', ready, 'NX', now, dest)
    end
    accepted = accepted + n
    a = a + 2 + n
end
for _, key in ipairs({ KEYS[2], sums }) do
    redis.call('HINCRBY', key, 'accepted', accepted)
    if ARGV[5] ~= '0' then
        redis.call('HINCRBY', key, 'rejected', ARGV[5])
    end
end
redis.call('EXPIRE', sums, ARGV[4])
redis.call('SET', KEYS[1], part + 1, 'EX', ARGV[2])
return 'OK'
