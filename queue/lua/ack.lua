#!lua flags=allow-oom
-- Ends leases: counters, event and what becomes of the job in one step. Does nothing for a job that isn't in flight
-- any more, so it may be repeated.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix, too)
-- ARGV  epoch, events to keep, seconds to keep a submission's counters,
--       (id, kind, unknown 0|1, due in ms, record, event) each; kind is the terminal counter's name, "retry" or "release"
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
local counts, ended, now = {}, 0, nil

local function count(key, field)
    counts[key] = counts[key] or {}
    counts[key][field] = (counts[key][field] or 0) + 1
end

for a = 4, #ARGV, 6 do
    local id, kind, unknown, due, record, event = unpack(ARGV, a, a + 5)
    local back = kind == 'retry' or kind == 'release'
    local dest, leased
    if back then
        dest, leased = string.match(redis.call('HGET', inflight, id) or '', '^%S+ %S+ %S+ ([^\t]*)\t(.*)$')
    end
    if redis.call('HDEL', inflight, id) == 1 then
        ended = ended + 1
        record = record ~= '' and record or leased
        if kind == 'retry' then
            redis.call('ZADD', retry, due, dest .. '\t' .. record)
        elseif kind == 'release' then
            if not now then
                local time = redis.call('TIME')
                now = time[1] * 1000 + math.floor(time[2] / 1000)
            end
            redis.call('LPUSH', prefix .. 'q:b:' .. dest, record)
            redis.call('ZADD', ready, 'NX', now, dest)
        end
        if kind ~= 'release' then
            local sums = prefix .. 'c:' .. string.match(id, '^(.*)%-')
            local name = kind == 'retry' and 'deferred' or kind
            count(prefix .. 'n', name)
            count(sums, name)
            if unknown == '1' then
                count(prefix .. 'n', 'unknown')
                count(sums, 'unknown')
            end
        end
        if event ~= '' then
            redis.call('XADD', events, 'MAXLEN', '~', ARGV[2], '*', 'e', event)
        end
    end
end
for key, fields in pairs(counts) do
    for field, n in pairs(fields) do
        redis.call('HINCRBY', key, field, n)
    end
    if key ~= prefix .. 'n' then
        redis.call('EXPIRE', key, ARGV[3])
    end
end
return ended
