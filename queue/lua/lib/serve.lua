-- Taking jobs of one flow at a destination, queue by queue.
local looks = 500 -- Queues and suppressed jobs that one call looks at: bounds its time.

local function group(dest, g, pool, records)
    local blocked, fields, head = suppressed(g, records, 1, #records), {}, size
    local n, at = 0, size + 6
    for i, record in ipairs(records) do
        if blocked and blocked[i] then
            event('suppressed', record_parse(record), g, blocked[i])
            count_end(g, 'suppressed', 1)
            looks = looks - 1
        else
            n = n + 1
            out[at + n] = record
            fields[2 * n - 1] = string.match(record, '^[^\t]*')
            fields[2 * n] = prefixed .. dest .. '\t' .. record
        end
    end
    if n > 0 then
        out[head + 1], out[head + 2], out[head + 3], out[head + 4] = g.sid, g.flow, g.stream, pool
        out[head + 5], out[head + 6] = string.format('%.0f', g.accepted), n
        size = at + n
        call('HSET', prefix .. 'i', unpack(fields))
    end
    return n
end

-- Jobs of one queue: how many, whether there are no more to be had of it.
local function pop(dest, g, flow, jobs)
    local held, pool = ordered(dest, g)
    if held or g.expires <= now then
        return 0, true
    elseif opens(g) > now then
        link(dest, g)
        return 0, true
    elseif flow.budget and flow.budget < 1 then
        call('ZADD', prefix .. 'b:' .. flow.name, 'NX', g.order, dest .. ' ' .. g.sid)
        return 0, true
    end
    local queue, most = prefix .. 'q:' .. dest .. ' ' .. g.sid, math.min(jobs, flow.budget or jobs)
    local records = call('LPOP', queue, most) or {}
    local n = group(dest, g, pool, records)
    if flow.budget then
        flow.budget = flow.budget - n
        count_flow(flow.name, 'budget', -n)
        count_flow(flow.name, 'leased', n)
    end
    if #records == most and call('EXISTS', queue) == 1 then
        return n, false
    end
    call('ZREM', prefix .. 'x', dest .. ' ' .. g.sid)
    return n, true
end

-- Up to `jobs` jobs of a flow. A metered one only has what it was granted; its queues wait in b:FLOW for more.
local function serve(class, dest, flow, jobs)
    local of = prefix .. 'f:' .. class .. ':' .. dest .. ' ' .. flow.name
    local taken, groups = 0, 0
    while taken < jobs and looks > 0 do
        local gone = {}
        for _, sid in ipairs(call('ZRANGE', of, 0, math.min(jobs - taken, looks, 32) - 1)) do
            local n, over = pop(dest, submission(sid), flow, jobs - taken)
            taken, looks, groups = taken + n, looks - 1, groups + (n > 0 and 1 or 0)
            gone[#gone + 1] = over and sid or nil
            if taken == jobs or looks <= 0 then
                break
            end
        end
        if #gone > 0 then
            call('ZREM', of, unpack(gone))
        end
        if call('EXISTS', of) == 0 then
            call('ZREM', prefix .. 'd:' .. class .. ':' .. dest, flow.name)
            break
        end
    end
    return taken, groups
end
