-- Taking jobs of one flow at a destination, queue by queue. What goes into the in-flight hash and out of the registry is
-- written once per call: what a command costs, in the append-only file above all, is more than what it does here.
local looks = 500 -- Queues and suppressed jobs that one call looks at: bounds its time.
local flights, emptied, popped = {}, {}, nil

local function flight(i, dest, record)
    flights[i], flights[i + 1] = string.match(record, '^[^\t]*'), prefixed .. dest .. '\t' .. record
end

local function write_flights()
    for _, record in ipairs(popped and popped[2] or {}) do -- Something failed: they must not get lost.
        flight(#flights + 1, popped[1], record)
    end
    for i = 1, #flights, 4000 do
        call('HSET', prefix .. 'i', unpack(flights, i, math.min(i + 3999, #flights)))
    end
    if #emptied > 0 then
        call('ZREM', prefix .. 'x', unpack(emptied))
    end
end

local function group(dest, g, pool, records)
    local blocked, head = suppressed(g, records, 1, #records), size
    local n, at, f = 0, size + 6, #flights - 1
    for i, record in ipairs(records) do
        if blocked and blocked[i] then
            event('suppressed', record_parse(record), g, blocked[i])
            count_end(g, 'suppressed', 1)
            looks = looks - 1
        else
            n = n + 1
            out[at + n] = record
            flight(f + 2 * n, dest, record)
        end
    end
    if n > 0 then
        out[head + 1], out[head + 2], out[head + 3], out[head + 4] = g.sid, g.flow, g.stream, pool
        out[head + 5], out[head + 6] = string.format('%.0f', g.accepted), n
        size = at + n
    end
    return n
end

-- Jobs of one queue: how many; whether there are no more to be had of it; how many are left otherwise.
local function pop(dest, g, flow, jobs)
    local held, pool = ordered(dest, g)
    if held or g.expires <= now then
        return 0, true, 0
    elseif opens(g) > now then
        link(dest, g)
        return 0, true, 0
    elseif flow.budget and flow.budget < 1 then
        call('ZADD', prefix .. 'b:' .. flow.name, 'NX', g.order, dest .. ' ' .. g.sid)
        return 0, true, 0
    end
    local queue, most = prefix .. 'q:' .. dest .. ' ' .. g.sid, math.min(jobs, flow.budget or jobs)
    local records = call('LPOP', queue, most) or {}
    popped = { dest, records }
    local n = group(dest, g, pool, records)
    popped = nil
    if flow.budget then
        flow.budget = flow.budget - n
        count_flow(flow.name, 'budget', -n)
        count_flow(flow.name, 'leased', n)
    end
    local left = #records == most and call('LLEN', queue) or 0
    if left == 0 then
        emptied[#emptied + 1] = dest .. ' ' .. g.sid
    end
    return n, left == 0, left
end

-- Up to `jobs` jobs of a flow. A metered one only has what it was granted; its queues wait in b:FLOW for more. Returns
-- their number, that of groups, and at least how many are left: 0 when the flow has nothing more here.
local function serve(class, dest, flow, jobs)
    local of = prefix .. 'f:' .. class .. ':' .. dest .. ' ' .. flow.name
    local taken, groups, left = 0, 0, 0
    while taken < jobs and looks > 0 do
        local most, gone = math.min(jobs - taken, looks, 32), {}
        local sids = call('ZRANGE', of, 0, most - 1)
        for _, sid in ipairs(sids) do
            local n, over, rest = pop(dest, submission(sid), flow, jobs - taken)
            taken, looks, groups, left = taken + n, looks - 1, groups + (n > 0 and 1 or 0), rest
            gone[#gone + 1] = over and sid or nil
            if taken == jobs or looks <= 0 then
                break
            end
        end
        if #gone > 0 then
            call('ZREM', of, unpack(gone))
        end
        if #gone == #sids and (#sids < most or call('EXISTS', of) == 0) then
            return taken, groups, 0
        end
    end
    return taken, groups, math.max(left, 1)
end
