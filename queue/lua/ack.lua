#!lua flags=allow-oom
-- Ends leases: counters, event and what becomes of the job in one step. Does nothing for a job that isn't in flight
-- any more, so it may be repeated.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix, too)
-- ARGV  epoch, events to keep, seconds to keep a submission's counters,
--       (id, submission, kind, unknown 0|1, due in ms, record, event) each; kind is the terminal counter's name,
--       "retry" or "release"; an empty record: as it was leased
-- Reply "STALE" or {number of jobs that were in flight, submissions without an open job here …}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 'STALE'
end
--include base
--include submission
--include count
--include queue
local inflight, retry, events = prefix .. 'i', prefix .. 't', prefix .. 'ev'
local ids, seen, ended = {}, {}, 0
for a = 4, #ARGV, 7 do
    ids[#ids + 1] = ARGV[a]
end
local values = call('HMGET', inflight, unpack(ids))

local function destination(value)
    return string.match(value, '^%S+ %S+ %S+ ([^\t]*)\t(.*)$')
end

-- What could fail comes before the first write.
for i, id in ipairs(ids) do
    if values[i] and not seen[id] then
        local g = submission(ARGV[7 * i - 2])
        if ARGV[7 * i - 1] == 'release' then
            check(destination(values[i]), g)
        end
        seen[id] = true
    else
        values[i] = false -- The same job twice in one call ends once.
    end
end
call('HDEL', inflight, unpack(ids))

-- A metered campaign may lease again what comes back.
local function refund(flow)
    if flow.metered and flow.leased > 0 then
        flow.leased = flow.leased - 1
        count_flow(flow.name, 'budget', 1)
        count_flow(flow.name, 'leased', -1)
    end
end

for i, value in ipairs(values) do
    if value then
        local a = 7 * i - 3
        local kind, g = ARGV[a + 2], submission(ARGV[a + 1])
        ended = ended + 1
        if kind == 'retry' or kind == 'release' then
            local dest, as_leased = destination(value)
            local record = ARGV[a + 5] ~= '' and ARGV[a + 5] or as_leased
            if kind == 'retry' then
                call('ZADD', retry, math.min(ARGV[a + 4], g.expires), dest .. '\t' .. record)
                count_job(g, 'deferred', 1)
            else
                put('LPUSH', dest, g, { record }, 1, 1)
                refund(flow_of(g.flow))
            end
        else
            count_end(g, kind, 1)
        end
        if kind ~= 'release' then
            if flow_of(g.flow).metered then
                count_flow(g.flow, 'answered', 1)
            end
            if ARGV[a + 3] == '1' then
                count_job(g, 'unknown', 1)
            end
            call('XADD', events, '*', 'e', ARGV[a + 6])
        end
    end
end
call('XTRIM', events, 'MAXLEN', '~', ARGV[2])
local finished = counted(ARGV[3])
table.insert(finished, 1, ended)
return finished
