#!lua flags=allow-oom
-- What comes due by itself: expired jobs end, retries return to their queues, scheduled queues open. Tells orders, new
-- suppressions and finished submissions to the owner.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix, too)
-- ARGV  epoch, most retries and queues to bring back, most jobs to expire, seconds to keep a submission's counters,
--       id of the last notice known, events to keep ("" or left out: any number)
-- Reply "STALE" or {1 if there's more to do at once, {orders as JSON …}, {(notice id, address, scope) each},
--       {submissions without an open job here …}}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 'STALE'
end
--include base
--include submission
--include record
--include count
--include queue
--include event
local more, most, room = 0, tonumber(ARGV[2]), tonumber(ARGV[3])
local due = call('ZRANGEBYSCORE', prefix .. 't', '-inf', now, 'LIMIT', 0, most)
local over = call('ZRANGEBYSCORE', prefix .. 'x', '-inf', now, 'LIMIT', 0, 100)
local opened = call('ZRANGEBYSCORE', prefix .. 'w', '-inf', now, 'LIMIT', 0, most)
call('HLEN', prefix .. 'a')
local notices = call('XRANGE', prefix .. 'un', '(' .. ARGV[5], '+', 'COUNT', 500)

-- What could fail comes before the first write.
local function retry(member)
    local dest, record = string.match(member, '^([^\t]*)\t(.*)$')
    return dest, record, submission(sid_of(string.match(record, '^[^\t]*')))
end
local function queue(member)
    local dest, sid = string.match(member, '^(%S+) (%S+)$')
    return dest, submission(sid)
end
for _, member in ipairs(due) do
    local dest, _, g = retry(member)
    check(dest, g)
end
for _, members in ipairs({ over, opened }) do
    for _, member in ipairs(members) do
        check(queue(member))
    end
end
local finished = call('SPOP', prefix .. 'fin', 500)

local function expire(record, g)
    event('expired', record_parse(record), g)
    count_end(g, 'expired', 1)
    room = room - 1
end

for i, member in ipairs(over) do
    local dest, g = queue(member)
    for _, record in ipairs(room > 0 and call('LPOP', prefix .. 'q:' .. member, room) or {}) do
        expire(record, g)
    end
    if call('EXISTS', prefix .. 'q:' .. member) == 0 then
        drained(dest, g)
    end
    more = (room <= 0 or i == 100) and 1 or more
end
for i = #due, 1, -1 do
    local dest, record, g = retry(due[i])
    if g.expires <= now then
        expire(record, g)
    else
        put('LPUSH', dest, g, { record }, 1, 1)
    end
end
for _, member in ipairs(opened) do
    local dest, g = queue(member)
    call('ZREM', prefix .. 'w', member)
    if call('EXISTS', prefix .. 'q:' .. member) == 1 then
        link(dest, g)
    end
end
if #due > 0 then
    call('ZREM', prefix .. 't', unpack(due))
end
if (ARGV[6] or '') ~= '' then
    call('XTRIM', prefix .. 'ev', 'MAXLEN', '~', ARGV[6])
end
local told = {}
for _, entry in ipairs(notices) do
    told[#told + 1] = entry[1]
    told[#told + 1] = entry[2][2]
    told[#told + 1] = entry[2][4]
end
for _, sid in ipairs(counted(ARGV[4])) do
    finished[#finished + 1] = sid
end
more = (#due == most or #opened == most or #notices == 500) and 1 or more
return { more, call('HVALS', prefix .. 'a'), told, finished }
