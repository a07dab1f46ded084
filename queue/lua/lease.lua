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
--include visit

local function park(dest, till)
    till = tonumber(till)
    if till > now then
        call('HSET', prefix .. 'k', dest, till)
        parks = parks + 1
    else
        call('HDEL', prefix .. 'k', dest)
    end
    for _, class in ipairs({ 't', 'd', 'b' }) do
        call('ZADD', prefix .. 'r:' .. class, 'XX', math.max(till, now), dest)
    end
end

local function request(class, dest, jobs, again)
    local at = due[class][dest]
    if jobs ~= '0' then
        visit(class, dest, tonumber(jobs), again, call('HGET', prefix .. 's:' .. class, dest))
    elseif at then
        due[class][dest] = math.max(at, now + again)
    elseif at == nil then
        call('ZADD', prefix .. 'r:' .. class, 'XX', 'GT', now + again, dest)
    end
end

local function discover(class, jobs, most, again)
    local room = tonumber(jobs)
    local found = call('ZRANGEBYSCORE', prefix .. 'r:' .. class, '-inf', now, 'LIMIT', 0, math.min(room, 100))
    local soles = #found > 0 and call('HMGET', prefix .. 's:' .. class, unpack(found))
    for i, dest in ipairs(found) do
        if room > 0 and looks > 0 then
            room = room - visit(class, dest, math.min(room, most), again, soles[i])
        end
    end
end

local a = 5
local function each(width, f)
    local first, last = a + 1, a + ARGV[a] * width
    for at = first, last, width do
        f(unpack(ARGV, at, at + width - 1))
    end
    a = last + 1
end

local ok, failure = pcall(function()
    each(2, park)
    each(4, request)
    write_due()
    each(4, discover)
end)
write_due() -- Whatever failed: what was taken out of a queue is in flight.
write_flights()
local finished = counted(ARGV[4])
if #finished > 0 then
    call('SADD', prefix .. 'fin', unpack(finished)) -- The next tick tells.
end
return ok and out or type(failure) == 'table' and failure or redis.error_reply(failure)
