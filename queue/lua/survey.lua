#!lua flags=no-writes
-- Tells operators what a slice of a partition holds.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix)
-- ARGV  phase: x (queues), t (retries) or i (in flight); cursor; entries to look at
-- Reply {next cursor ("0": the phase is done), {(destination, submission, jobs) each},
--        {(submission, class, flow, accepted ms) each}, {(destination, its hosts) each}}
--include base
--include submission
local jobs, order = {}, {}
local function add(dest, sid, n)
    local member = dest .. ' ' .. sid
    if not jobs[member] then
        jobs[member] = 0
        order[#order + 1] = { dest, sid, member }
    end
    jobs[member] = jobs[member] + n
end

local scan = ARGV[1] == 'i' and 'HSCAN' or 'ZSCAN'
local slice = call(scan, prefix .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
for i = 1, #slice[2], 2 do
    local entry = slice[2][i]
    if ARGV[1] == 'x' then
        local dest, sid = string.match(entry, '^(%S+) (%S+)$')
        add(dest, sid, call('LLEN', prefix .. 'q:' .. entry))
    elseif ARGV[1] == 't' then
        local dest, id = string.match(entry, '^([^\t]*)\t([^\t]*)')
        add(dest, sid_of(id), 1)
    else
        add(string.match(slice[2][i + 1], '^%S+ %S+ %S+ ([^\t]*)\t'), sid_of(entry), 1)
    end
end

local held, about, sites, seen = {}, {}, {}, {}
for _, it in ipairs(order) do
    local dest, sid = it[1], it[2]
    local g = submission(sid)
    held[#held + 1], held[#held + 2], held[#held + 3] = dest, sid, jobs[it[3]]
    if not seen['s' .. sid] then
        seen['s' .. sid] = true
        for _, value in ipairs({ sid, g.class, g.flow, string.format('%.0f', g.accepted) }) do
            about[#about + 1] = value
        end
    end
    if not seen['d' .. dest] then
        seen['d' .. dest] = true
        local hosts = call('HGET', prefix .. 'l', dest)
        if hosts then
            sites[#sites + 1], sites[#sites + 2] = dest, hosts
        end
    end
end
return { slice[1], held, about, sites }
