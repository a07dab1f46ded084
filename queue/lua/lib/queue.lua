-- Queues: one list per destination and submission, registered in x with its expiry. The index of what can be leased
-- can always be built anew from x: r has the destinations of a class; s has the submission of a destination that has
-- only one there, else "*", and then d has its flows and f the submissions of each of them.
call('ZCARD', prefix .. 'w')
for _, class in ipairs({ 't', 'd', 'b' }) do
    call('ZCARD', prefix .. 'r:' .. class)
    call('HLEN', prefix .. 's:' .. class)
end
local parks = call('HLEN', prefix .. 'k')
-- Until when a destination is parked. A park that is over is forgotten.
local function parked(dest)
    local till = parks > 0 and tonumber(call('HGET', prefix .. 'k', dest) or nil)
    if till and till <= now then
        call('HDEL', prefix .. 'k', dest)
    end
    return till or 0
end

-- When a submission's mail may leave: now, or later.
local function opens(g)
    local at = math.max(now, g.start)
    if g.windows ~= '' and not g.opens then
        g.opens = g.expires
        for from, to in string.gmatch(g.windows, '(%d+)%-(%d+)') do
            if tonumber(to) > at then
                g.opens = math.max(at, tonumber(from))
                break
            end
        end
    end
    return g.opens or at
end

-- Enters a submission among those of a destination that has several.
local function enter(dest, g)
    local flows = prefix .. 'd:' .. g.class .. ':' .. dest
    call('ZADD', prefix .. 'f:' .. g.class .. ':' .. dest .. ' ' .. g.flow, 'NX', g.order, g.sid)
    if not call('ZSCORE', flows, g.flow) then
        call('ZADD', flows, call('ZRANGE', flows, 0, 0, 'WITHSCORES')[2] or 0, g.flow)
    end
end

-- Enters a queue into the index. Harmless when it's there; w holds those that may not leave yet, and what has expired
-- only waits for its end.
local function link(dest, g)
    local at, sole, ready = opens(g), prefix .. 's:' .. g.class, prefix .. 'r:' .. g.class
    if at > now then
        call('ZADD', prefix .. 'w', at, dest .. ' ' .. g.sid)
    elseif g.expires > now then
        local other = call('HSETNX', sole, dest, g.sid) == 0 and call('HGET', sole, dest) or g.sid
        if other ~= '*' and other ~= g.sid then
            call('HSET', sole, dest, '*')
            enter(dest, submission(other))
        end
        if other ~= g.sid then
            enter(dest, g)
        end
        if call('ZADD', ready, 'NX', now, dest) == 1 and parked(dest) > now then
            call('ZADD', ready, parked(dest), dest)
        end
    end
end

-- Takes a queue out of the index.
local function unlink(dest, g)
    local sole, flows = prefix .. 's:' .. g.class, prefix .. 'd:' .. g.class .. ':' .. dest
    local of, other = prefix .. 'f:' .. g.class .. ':' .. dest .. ' ' .. g.flow, call('HGET', sole, dest)
    if other == g.sid then
        call('HDEL', sole, dest)
    elseif other == '*' and call('ZREM', of, g.sid) == 1 and call('EXISTS', of) == 0 then
        call('ZREM', flows, g.flow)
        if call('EXISTS', flows) == 0 then
            call('HDEL', sole, dest)
        end
    end
end

-- Fails when put() would.
local function check(dest, g)
    local other = call('HGET', prefix .. 's:' .. g.class, dest)
    call('LLEN', prefix .. 'q:' .. dest .. ' ' .. g.sid)
    for _, it in ipairs(other and other ~= g.sid and { g, other ~= '*' and submission(other) or nil } or {}) do
        call('ZCARD', prefix .. 'd:' .. g.class .. ':' .. dest)
        call('ZCARD', prefix .. 'f:' .. g.class .. ':' .. dest .. ' ' .. it.flow)
    end
end

-- Puts records into a queue (how: LPUSH or RPUSH).
local function put(how, dest, g, records, from, to)
    if call(how, prefix .. 'q:' .. dest .. ' ' .. g.sid, unpack(records, from, to)) == to - from + 1 then
        call('ZADD', prefix .. 'x', g.expires, dest .. ' ' .. g.sid)
        link(dest, g)
    end
end

-- An empty queue is forgotten.
local function drained(dest, g)
    call('ZREM', prefix .. 'x', dest .. ' ' .. g.sid)
    unlink(dest, g)
end
