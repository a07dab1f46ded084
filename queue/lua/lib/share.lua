-- Taking jobs of one destination and class: weighted fair shares between its flows (tenant/campaign), by virtual time:
-- the flow that has had least goes next. A tenant's campaigns share the tenant's weight.
local FLOWS = 16 -- Served in one visit; what is beyond comes with a later one.

local flows_read, tenants_read = {}, {}
local function flow_read(name)
    if not flows_read[name] then
        local v = call('HMGET', prefix .. 'c:' .. name, 'weight', 'metered', 'budget')
        local tenant = string.match(name, '^[^/]*')
        flows_read[name] = { name = name, tenant = tenant, part = math.max(tonumber(v[1] or 1), 0.01),
            budget = v[2] == '1' and tonumber(v[3] or 0) or nil }
        tenants_read[tenant] = tenants_read[tenant] or math.max(tonumber(call('HGET', prefix .. 'v', tenant) or 1), 0.01)
    end
    return flows_read[name]
end

local function take(class, dest, flows, jobs)
    local list, parts, taken, groups = {}, {}, 0, 0
    local members = call('ZRANGE', flows, 0, FLOWS - 1, 'WITHSCORES')
    for i = 1, #members, 2 do
        local flow = flow_read(members[i])
        flow.vtime = tonumber(members[i + 1])
        parts[flow.tenant] = (parts[flow.tenant] or 0) + flow.part
        list[#list + 1] = flow
    end
    local quantum = #list > 1 and math.max(1, math.floor(jobs / #list / 2)) or jobs
    while taken < jobs and #list > 0 do
        local best = 1
        for i = 2, #list do
            if list[i].vtime < list[best].vtime then
                best = i
            end
        end
        local flow, want = list[best], math.min(quantum, jobs - taken)
        local n, more = serve(class, dest, flow, want)
        taken, groups = taken + n, groups + more
        flow.vtime = flow.vtime + n * parts[flow.tenant] / (tenants_read[flow.tenant] * flow.part)
        call('ZADD', flows, 'XX', flow.vtime, flow.name)
        if n < want then
            table.remove(list, best)
        end
    end
    return taken, groups
end

-- At least how many are left for a next visit.
local function waiting(class, dest, flows)
    local flow = call('ZRANGE', flows, 0, 0)[1]
    local of = prefix .. 'f:' .. class .. ':' .. dest .. ' ' .. flow
    local sid = call('ZRANGE', of, 0, 0)[1]
    return call('LLEN', prefix .. 'q:' .. dest .. ' ' .. sid) + call('ZCARD', of) + call('ZCARD', flows) - 2
end
