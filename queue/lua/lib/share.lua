-- Taking jobs of one destination and class: weighted fair shares between its flows (tenant/campaign), by virtual time:
-- the flow that has had least goes next. A tenant's campaigns share the tenant's weight.
local QUANTUM = 8 -- Jobs of one flow at a time, at least: fairness is a matter of many visits.
local FLOWS = 16 -- Served in one visit; what is beyond comes with a later one.

local weights = {}
local function weight_of(tenant)
    weights[tenant] = weights[tenant] or math.max(tonumber(call('HGET', prefix .. 'v', tenant) or 1), 0.01)
    return weights[tenant]
end

-- Writes who was served how far, and who has nothing more. Returns at least how many jobs are left.
local function write_flows(key, list)
    local over, scores, left = {}, {}, 0
    for _, flow in ipairs(list) do
        left = left + flow.left
        if flow.left == 0 then
            over[#over + 1] = flow.name
        elseif flow.served then
            scores[#scores + 1] = flow.vtime
            scores[#scores + 1] = flow.name
        end
    end
    if #over > 0 then
        call('ZREM', key, unpack(over))
    end
    if #scores > 0 then
        call('ZADD', key, 'XX', unpack(scores))
    end
    return left == 0 and #list == FLOWS and call('ZCARD', key) or left
end

-- Returns how many were taken, in how many groups, and at least how many are left.
local function take(class, dest, jobs)
    local key, list, rivals, parts, taken, groups = prefix .. 'd:' .. class .. ':' .. dest, {}, {}, {}, 0, 0
    local members = call('ZRANGE', key, 0, FLOWS - 1, 'WITHSCORES')
    for i = 1, #members, 2 do
        local flow = flow_of(members[i])
        flow.vtime, flow.left, flow.served = tonumber(members[i + 1]), 1, false
        parts[flow.tenant] = (parts[flow.tenant] or 0) + flow.part
        list[#list + 1] = flow
        rivals[#rivals + 1] = flow
    end
    local quantum = #list > 1 and math.max(QUANTUM, math.floor(jobs / #list / 2)) or jobs
    while taken < jobs and #rivals > 0 do
        local best = 1
        for i = 2, #rivals do
            if rivals[i].vtime < rivals[best].vtime then
                best = i
            end
        end
        local flow, want = rivals[best], math.min(quantum, jobs - taken)
        local n, more, left = serve(class, dest, flow, want)
        taken, groups, flow.left, flow.served = taken + n, groups + more, left, true
        flow.vtime = flow.vtime + n * parts[flow.tenant] / (weight_of(flow.tenant) * flow.part)
        if n < want or left == 0 then
            table.remove(rivals, best)
        end
    end
    return taken, groups, write_flows(key, list)
end
