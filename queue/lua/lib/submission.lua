-- What this partition knows of a submission, read once per call. One that was forgotten (only possible long after its
-- expiry, or when keys were deleted by hand) is already expired, so that what is left of it ends.
local FIELDS = { 'class', 'flow', 'at', 'expires', 'start', 'windows', 'pool', 'stream', 'kept' }
local known, flows_known = {}, {}

-- A tenant's campaign: its weight among the tenant's, and what a metered one may lease.
local function flow_of(name)
    if not flows_known[name] then
        local v = call('HMGET', prefix .. 'c:' .. name, 'weight', 'metered', 'budget', 'leased')
        flows_known[name] = { name = name, tenant = string.match(name, '^[^/]*'),
            part = math.max(tonumber(v[1] or 1), 0.01), metered = v[2] == '1',
            budget = v[2] == '1' and tonumber(v[3] or 0) or nil, leased = tonumber(v[4] or 0) }
    end
    return flows_known[name]
end

-- `given`: its fields if it's a new one.
local function submission(sid, given)
    local g = known[sid]
    if g then
        return g
    end
    local f, v = given or {}, call('HMGET', prefix .. 'g:' .. sid, unpack(FIELDS))
    for i = 1, v[1] and #FIELDS or 0 do
        f[FIELDS[i]] = v[i] or nil
    end
    g = { sid = sid, new = not v[1], forgotten = not f.class, class = f.class or 'b', flow = f.flow or '/',
        accepted = tonumber(f.at or 0), expires = tonumber(f.expires or 0), start = tonumber(f.start or 0),
        windows = f.windows or '', pool = f.pool or '', stream = f.stream or '', kept = tonumber(f.kept or 0) }
    g.tenant, g.campaign = string.match(g.flow, '^([^/]*)/(.*)$')
    g.order = g.class == 'd' and g.expires or g.accepted -- Earliest deadline first.
    flow_of(g.flow) -- A wrong type must fail here.
    known[sid] = g
    return g
end

-- The submission of a job's id.
local function sid_of(id)
    return string.match(id, '^(.*)%-')
end
