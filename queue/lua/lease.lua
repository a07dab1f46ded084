#!lua flags=allow-oom
-- Leases jobs: moves them from their destinations' queues to the in-flight hash. Brings due retries back first.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix, too)
-- ARGV  epoch, node, job lease in ms, retries to bring back at most,
--       discover: jobs, jobs per destination, visit in ms,
--       number of requests, (destination, jobs, visit in ms) each, then parks: (destination, due in ms) each
-- Reply "STALE" or {now in ms, (destination, still waiting, n, n records) each}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 'STALE'
end
local prefix = string.sub(KEYS[1], 1, -2)
local ready, inflight, retry = prefix .. 'r:b', prefix .. 'i', prefix .. 't'
redis.call('ZCARD', ready) -- A wrong type must fail before anything is written.
redis.call('HLEN', inflight)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = string.format('%s %s %.0f ', ARGV[1], ARGV[2], now + ARGV[3])
local out = { string.format('%.0f', now) }

local function take(dest, jobs, visit)
    local key = prefix .. 'q:b:' .. dest
    local records = redis.call('LPOP', key, jobs) or {}
    local fields = {}
    local waiting = redis.call('LLEN', key)
    out[#out + 1] = dest
    out[#out + 1] = waiting
    out[#out + 1] = #records
    local prefixed = lease .. dest .. '\t'
    for i, record in ipairs(records) do
        fields[2 * i - 1] = string.match(record, '^[^\t]*')
        fields[2 * i] = prefixed .. record
        out[#out + 1] = record
    end
    if #records > 0 then
        redis.call('HSET', inflight, unpack(fields))
    end
    if waiting == 0 then
        redis.call('ZREM', ready, dest)
    else
        redis.call('ZADD', ready, now + visit, dest)
    end
    return #records
end

local due = redis.call('ZRANGEBYSCORE', retry, '-inf', now, 'LIMIT', 0, ARGV[4])
for i = #due, 1, -1 do
    local dest, record = string.match(due[i], '^([^\t]*)\t(.*)$')
    redis.call('LPUSH', prefix .. 'q:b:' .. dest, record)
    redis.call('ZADD', ready, 'NX', now, dest)
end
if #due > 0 then
    redis.call('ZREM', retry, unpack(due))
end

local parks = 9 + 3 * ARGV[8]
for a = parks, #ARGV, 2 do
    redis.call('ZADD', ready, ARGV[a + 1], ARGV[a])
end
for a = 9, parks - 1, 3 do
    if ARGV[a + 1] == '0' then
        redis.call('ZADD', ready, now + ARGV[a + 2], ARGV[a])
    else
        take(ARGV[a], ARGV[a + 1], ARGV[a + 2])
    end
end
local room = tonumber(ARGV[5])
if room > 0 then
    for _, dest in ipairs(redis.call('ZRANGEBYSCORE', ready, '-inf', now, 'LIMIT', 0, math.min(room, 100))) do
        if room > 0 then
            room = room - take(dest, math.min(room, ARGV[6]), ARGV[7])
        end
    end
end
return out
