#!lua flags=allow-oom
-- Leases jobs: moves them from their queues to the in-flight hash, class by class, tenants and campaigns in fair shares.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix, too)
-- ARGV  epoch, node, job lease in ms, seconds to keep a submission's counters,
--       parks: n, (destination, until ms or 0) each,
--       requests: n, (class, destination, jobs, visit in ms) each,
--       discoveries: n, (class, jobs, jobs per destination, visit in ms) each
-- Reply "STALE" or {now in ms, (class, destination, waiting, groups,
--       (submission, flow, stream, pool, accepted ms, n, n records) each) each}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 'STALE'
end
--include base
--include submission
--include record
--include count
--include queue
--include event
--include orders
--include suppressed
local out, size = { string.format('%.0f', now) }, 1
local prefixed = string.format('%s %s %.0f ', ARGV[1], ARGV[2], now + ARGV[3])
--include serve
--include share

local function visit(class, dest, jobs, again)
    local ready, flows = prefix .. 'r:' .. class, prefix .. 'd:' .. class .. ':' .. dest
    local head = size
    size = head + 4
    local taken, groups = 0, 0
    if looks > 0 then
        taken, groups = take(class, dest, flows, jobs)
    end
    out[head + 1], out[head + 2], out[head + 3], out[head + 4] = class, dest, 0, groups
    looks = looks - 1
    if call('EXISTS', flows) == 0 then
        call('ZREM', ready, dest)
    else
        call('ZADD', ready, math.max(parked(dest), looks > 0 and now + again or now), dest)
        out[head + 3] = waiting(class, dest, flows)
    end
    return taken
end

local a = 6
for _ = 1, ARGV[5] do
    local till = tonumber(ARGV[a + 1])
    if till > now then
        call('HSET', prefix .. 'k', ARGV[a], ARGV[a + 1])
        parks = parks + 1
    else
        call('HDEL', prefix .. 'k', ARGV[a])
    end
    for _, class in ipairs({ 't', 'd', 'b' }) do
        call('ZADD', prefix .. 'r:' .. class, 'XX', math.max(till, now), ARGV[a])
    end
    a = a + 2
end
local requests = tonumber(ARGV[a])
a = a + 1
for _ = 1, requests do
    if ARGV[a + 2] == '0' then
        call('ZADD', prefix .. 'r:' .. ARGV[a], 'XX', 'GT', now + ARGV[a + 3], ARGV[a + 1])
    else
        visit(ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3])
    end
    a = a + 4
end
local discoveries = tonumber(ARGV[a])
a = a + 1
for _ = 1, discoveries do
    local room = tonumber(ARGV[a + 1])
    local due = call('ZRANGEBYSCORE', prefix .. 'r:' .. ARGV[a], '-inf', now, 'LIMIT', 0, math.min(room, 100))
    for _, dest in ipairs(due) do
        if room > 0 and looks > 0 then
            room = room - visit(ARGV[a], dest, math.min(room, ARGV[a + 2]), ARGV[a + 3])
        end
    end
    a = a + 4
end
local finished = counted(ARGV[4])
if #finished > 0 then
    call('SADD', prefix .. 'fin', unpack(finished)) -- The next tick tells.
end
return out
