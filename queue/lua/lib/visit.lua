-- Visits of destinations: what a lease takes there, and when they may be offered next.
-- When, per class (false: nothing is left there); written together.
local due = { t = {}, d = {}, b = {} }
local function write_due()
    for class, times in pairs(due) do
        local over, scores = {}, {}
        for dest, at in pairs(times) do
            if at then
                scores[#scores + 1] = at
                scores[#scores + 1] = dest
            else
                over[#over + 1] = dest
            end
        end
        if #over > 0 then
            call('ZREM', prefix .. 'r:' .. class, unpack(over))
            call('HDEL', prefix .. 's:' .. class, unpack(over))
        end
        if #scores > 0 then
            call('ZADD', prefix .. 'r:' .. class, unpack(scores))
        end
        due[class] = {}
    end
end

-- The only queue of a destination: nothing is shared.
local function take_sole(dest, g, jobs)
    local taken, groups, over, left = 0, 0, false, 0
    while taken < jobs and looks > 0 and not over do
        local n
        n, over, left = pop(dest, g, flow_of(g.flow), jobs - taken)
        taken, groups, looks = taken + n, groups + (n > 0 and 1 or 0), looks - 1
    end
    return taken, groups, over and 0 or math.max(left, 1)
end

-- `sole`: what s has of the destination.
local function visit(class, dest, jobs, again, sole)
    local head, taken, groups, left = size, 0, 0, 1
    size, sole = head + 4, due[class][dest] ~= false and sole -- Nothing was left a moment ago: s isn't written yet.
    if looks > 0 and sole == '*' then
        taken, groups, left = take(class, dest, jobs)
    elseif looks > 0 then
        taken, groups, left = 0, 0, 0
        if sole then
            taken, groups, left = take_sole(dest, submission(sole), jobs)
        end
    end
    looks = looks - 1
    out[head + 1], out[head + 2], out[head + 3], out[head + 4] = class, dest, left, groups
    due[class][dest] = left > 0 and math.max(parked(dest), looks > 0 and now + again or now)
    return taken
end
