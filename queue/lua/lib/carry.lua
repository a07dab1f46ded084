-- What a walk does with what it meets: it counts, ends, brings back or enters into the index again.
local function finish(dest, g, records)
    for i, record in ipairs(records) do
        if action == 'cancel' then
            event('cancelled', record_parse(record), g, reason)
        end
        records[i] = dest .. '\t' .. record
    end
    if #records > 0 then
        call('RPUSH', trash, unpack(records))
        call('EXPIRE', trash, ARGV[7])
        count_end(g, 'cancelled', #records)
        count_kept(g, #records)
    end
    jobs, room = jobs + #records, room - #records
end

local function on_queue(member)
    local dest, sid = string.match(member, '^(%S+) (%S+)$')
    local g, queue = submission(sid), prefix .. 'q:' .. member
    if not matches(order, dest, g) then
        return
    end
    if ends then
        check(dest, g)
        finish(dest, g, room > 0 and call('LPOP', queue, room) or {})
        if call('EXISTS', queue) == 1 then
            again = true
            return
        end
        drained(dest, g)
    else
        jobs = jobs + call('LLEN', queue)
        if action == 'retry' then
            call('HDEL', prefix .. 'k', dest)
        end
        if action ~= 'count' and not ordered(dest, g) then
            check(dest, g)
            link(dest, g)
            call('ZADD', prefix .. 'r:' .. g.class, 'XX', math.max(parked(dest), now), dest)
        end
    end
    queues = queues + 1
end

local function on_retry(member)
    local dest, record = string.match(member, '^([^\t]*)\t(.*)$')
    local g = submission(sid_of(string.match(record, '^[^\t]*')))
    if not matches(order, dest, g) then
        return
    end
    if ends then
        call('ZREM', prefix .. 't', member)
        finish(dest, g, { record })
        return
    end
    jobs = jobs + 1
    if action == 'retry' then
        check(dest, g)
        call('ZREM', prefix .. 't', member)
        call('HDEL', prefix .. 'k', dest)
        put('LPUSH', dest, g, { record }, 1, 1)
    end
end

local function on_flight(id, value)
    local dest = string.match(value, '^%S+ %S+ %S+ ([^\t]*)\t')
    jobs = jobs + (matches(order, dest, submission(sid_of(id))) and 1 or 0)
end
