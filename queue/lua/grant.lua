#!lua flags=allow-oom
-- Meters a campaign: only what is granted may be leased. Queues that waited for it are entered into the index again.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix)
-- ARGV  flow (TENANT/CAMPAIGN), "on" or "off", jobs more that may be leased (below 0: fewer), most that may be saved up,
--       most queues to enter
-- Reply {granted and not used, leased while metered, queues still waiting, accepted, delivered, bounced, expired,
--        suppressed, cancelled, deferred, leases that ended while metered, other than by a release}
--include base
--include submission
--include queue
local sums, waiting = prefix .. 'c:' .. ARGV[1], prefix .. 'b:' .. ARGV[1]
local budget, room = tonumber(call('HGET', sums, 'budget') or 0), tonumber(ARGV[5])
if ARGV[2] == 'on' then
    budget = math.max(0, math.min(budget + ARGV[3], math.max(budget, tonumber(ARGV[4]))))
    room = math.min(room, budget)
end
local queues = {}
for i, member in ipairs(room > 0 and call('ZRANGE', waiting, 0, room - 1) or {}) do
    local dest, sid = string.match(member, '^(%S+) (%S+)$')
    queues[i] = { member, dest, submission(sid) }
    check(dest, queues[i][3])
end

if ARGV[2] == 'on' then
    call('HSET', sums, 'metered', 1, 'budget', budget)
else
    call('HDEL', sums, 'metered', 'budget', 'leased', 'answered')
end
for _, queue in ipairs(queues) do
    call('ZREM', waiting, queue[1])
    if call('EXISTS', prefix .. 'q:' .. queue[1]) == 1 then
        link(queue[2], queue[3])
    end
end
local v = call('HMGET', sums, 'budget', 'leased', 'accepted', 'delivered', 'bounced', 'expired', 'suppressed',
    'cancelled', 'deferred', 'answered')
for i = 1, 10 do
    v[i] = tonumber(v[i] or 0)
end
table.insert(v, 3, call('ZCARD', waiting))
return v
