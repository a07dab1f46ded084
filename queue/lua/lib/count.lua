-- Counters: of the partition, of the tenant's campaign, of the submission. Written once per call.
local changed, flow_sums = {}, {}

local function count_flow(flow, name, n)
    local sums = flow_sums[flow] or {}
    flow_sums[flow] = sums
    sums[name] = (sums[name] or 0) + n
end

local function count_job(g, name, n)
    local sums = g.sums
    if not sums then
        sums = {}
        g.sums, g.opened = sums, 0
        changed[#changed + 1] = g
    end
    sums[name] = (sums[name] or 0) + n
end

-- A terminal state.
local function count_end(g, name, n)
    count_job(g, name, n)
    g.opened = g.opened - n
end

-- Jobs that could be restored.
local function count_kept(g, n)
    if not g.forgotten then
        g.kept = g.kept + n
        call('HINCRBY', prefix .. 'g:' .. g.sid, 'kept', n)
    end
end

-- A submission's counters outlive its last job by keep_s.
local function keep(g, keep_s)
    call('EXPIREAT', prefix .. 'g:' .. g.sid, string.format('%.0f', math.max(now, g.expires) / 1000 + keep_s))
end

local function add(key, sums)
    for name, n in pairs(sums) do
        if n ~= 0 then
            call('HINCRBY', prefix .. key, name, n)
        end
    end
end

-- Writes them. Returns the submissions that have no open job here any more, and none that could be restored.
local function counted(keep_s)
    local finished, totals = {}, {}
    for _, g in ipairs(changed) do
        for name, n in pairs(g.sums) do
            totals[name] = (totals[name] or 0) + n
            if not g.forgotten then
                count_flow(g.flow, name, n)
            end
        end
        if not g.forgotten then
            add('g:' .. g.sid, g.sums)
            if call('HINCRBY', prefix .. 'g:' .. g.sid, 'open', g.opened) == 0 then
                call('EXPIRE', prefix .. 'g:' .. g.sid, keep_s)
                finished[#finished + 1] = g.kept == 0 and g.sid or nil
            end
        end
    end
    add('n', totals)
    for flow, sums in pairs(flow_sums) do
        add('c:' .. flow, sums)
    end
    return finished
end
