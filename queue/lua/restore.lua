#!lua
-- Brings back what an order cancelled or purged.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix)
-- ARGV  order's id, most jobs, seconds to keep a submission's counters
-- Reply {jobs brought back, jobs whose submission is forgotten, jobs left}
--include base
--include submission
--include record
--include count
--include queue
--include event
local trash, jobs = prefix .. 'z:' .. ARGV[1], {}
for i, member in ipairs(call('LRANGE', trash, 0, ARGV[2] - 1)) do
    local dest, record = string.match(member, '^([^\t]*)\t(.*)$')
    local g = submission(sid_of(string.match(record, '^[^\t]*')))
    check(dest, g)
    jobs[i] = { dest, record, g }
end

local back = 0
for _, job in ipairs(jobs) do
    local dest, record, g = unpack(job)
    if not g.forgotten then
        put('RPUSH', dest, g, { record }, 1, 1)
        event('restored', record_parse(record), g, '')
        count_end(g, 'cancelled', -1)
        count_kept(g, -1)
        back = back + 1
    end
end
call('LTRIM', trash, #jobs, -1)
counted(ARGV[3])
for _, job in ipairs(jobs) do
    keep(job[3], ARGV[3])
end
return { back, #jobs - back, call('LLEN', trash) }
