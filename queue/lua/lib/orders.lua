-- Operators' orders that are in force: id -> JSON. A suspension, pause, cancellation or purge holds what it matches;
-- a move names its pool of sources. They are filed by what they name, so that hundreds of them cost little; the order
-- "c:TENANT/CAMPAIGN" concerns that campaign only, and is not even read before one of its queues is looked at.
local orders, campaigns, any = {}, {}, false
local list = call('HGETALL', prefix .. 'a')
for i = 1, #list, 2 do
    any = true
    if string.sub(list[i], 1, 2) == 'c:' then
        campaigns[string.sub(list[i], 3)] = list[i + 1]
    else
        local o = cjson.decode(list[i + 1])
        if not o.done then
            local file = o.submission and 's' .. o.submission or o.campaign and 'c' .. o.campaign or
                o.tenant and 't' .. o.tenant or
                o.destination and string.sub(o.destination, 1, 1) ~= '*' and 'd' .. o.destination or ''
            orders[file] = orders[file] or {}
            table.insert(orders[file], o)
        end
    end
end

-- "*.example.org" is any name below example.org; names are words of `text`.
local function names(pattern, text)
    local needle = string.sub(pattern, 1, 1) == '*' and string.sub(pattern, 2) .. ' ' or ' ' .. pattern .. ' '
    return string.find(' ' .. text .. ' ', needle, 1, true) ~= nil
end

-- The hosts that serve a destination.
local sites = {}
local function site(dest)
    sites[dest] = sites[dest] or call('HGET', prefix .. 'l', dest) or ''
    return sites[dest]
end

local function matches(o, dest, g)
    return (not o.class or o.class == g.class) and (not o.tenant or o.tenant == g.tenant) and
        (not o.campaign or o.campaign == g.campaign) and (not o.submission or o.submission == g.sid) and
        (not o.before or g.accepted < o.before) and (not o.destination or names(o.destination, dest)) and
        (not o.site or names(o.site, site(dest)))
end

-- Whether an order holds a queue, and the pool that its jobs go to.
local function ordered(dest, g)
    local pool, latest = g.pool, -1
    if not any then
        return false, pool
    end
    if campaigns[g.flow] then
        local o = cjson.decode(campaigns[g.flow])
        orders['/' .. g.flow], campaigns[g.flow] = not o.done and { o } or nil, nil
    end
    for _, file in ipairs({ '', 's' .. g.sid, 'c' .. g.campaign, 't' .. g.tenant, 'd' .. dest, '/' .. g.flow }) do
        for _, o in ipairs(orders[file] or {}) do
            if matches(o, dest, g) then
                if o.action ~= 'move' then
                    return true, pool
                end
                if (o.at or 0) >= latest then
                    pool, latest = o.pool, o.at or 0
                end
            end
        end
    end
    return false, pool
end
