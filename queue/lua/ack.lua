#!lua flags=allow-oom
-- Ends leases: counters, event and what becomes of the job in one step. Does nothing for a job that isn't in flight
-- any more, so it may be repeated.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix, too)
-- ARGV  epoch, events to keep, seconds to keep a submission's counters,
--       (id, submission, kind, unknown 0|1, due in ms, record, event) each; kind is the terminal counter's name,
--       "retry" or "release"; an empty record: as it was leased
-- Reply "STALE" or the number of jobs that were in flight
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 'STALE'
end
local prefix = string.sub(KEYS[1], 1, -2)
local ready, inflight, retry, events = prefix .. 'r:b', prefix .. 'i', prefix .. 't', prefix .. 'ev'
redis.call('ZCARD', ready) -- A wrong type must fail before anything is written.
redis.call('HLEN', inflight)
redis.call('ZCARD', retry)
redis.call('XLEN', events)
redis.call('HLEN', prefix .. 'n')
local ids = {}
for a = 4, #ARGV, 7 do
    ids[#ids + 1] = ARGV[a]
end
local held, all, each, ended, now = {}, {}, {}, 0, nil
for i, value in ipairs(redis.call('HMGET', inflight, unpack(ids))) do
    held[ids[i]] = value
end
redis.call('HDEL', inflight, unpack(ids))

local function count(sums, name)
    local fields = each[sums] or {}
    each[sums] = fields
    fields[name] = (fields[name] or 0) + 1
    all[name] = (all[name] or 0) + 1
end

local function back(kind, value, due, record)
    local dest, leased = string.match(value, '^%S+ %S+ %S+ ([^\t]*)\t(.*)$')
    record = record ~= '' and record or leased
    if kind == 'retry' then
        redis.call('ZADD', retry, due, dest .. '\t' .. record)
        return
    end
    if not now then
        local time = redis.call('TIME')
        now = time[1] * 1000 + math.floor(time[2] / 1000)
    end
    redis.call('LPUSH', prefix .. 'q:b:' .. dest, record)
    redis.call('ZADD', ready, 'NX', now, dest)
end

for i, id in ipairs(ids) do
    local value = held[id]
    if value then
        local a = 7 * i - 3
        local kind = ARGV[a + 2]
        held[id] = false -- The same job twice in one call ends once.
        ended = ended + 1
        if kind == 'retry' or kind == 'release' then
            back(kind, value, ARGV[a + 4], ARGV[a + 5])
        end
        if kind ~= 'release' then
            count(ARGV[a + 1], kind == 'retry' and 'deferred' or kind)
            if ARGV[a + 3] == '1' then
                count(ARGV[a + 1], 'unknown')
            end
            redis.call('XADD', events, '*', 'e', ARGV[a + 6])
        end
    end
end
redis.call('XTRIM', events, 'MAXLEN', '~', ARGV[2])
for name, n in pairs(all) do
    redis.call('HINCRBY', prefix .. 'n', name, n)
end
for sums, fields in pairs(each) do
    for name, n in pairs(fields) do
        redis.call('HINCRBY', prefix .. 'c:' .. sums, name, n)
    end
    redis.call('EXPIRE', prefix .. 'c:' .. sums, ARGV[3])
end
return ended
