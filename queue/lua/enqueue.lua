#!lua
-- Takes one part of a stream entry's jobs into a partition, once, however often it is called. Not allowed at maxmemory.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix)
-- ARGV  entry, part (0, 1, …), seconds to keep the marker, seconds to keep counters, seconds to keep recipients' keys,
--       submission, rejected,
--       n, n fields and values of the submission's hash (class, flow, accepted, expires, start, windows, pool, stream;
--       accepted becomes "at" there: "accepted" counts),
--       weight of the campaign or "",
--       (destination, n, keyed 0|1, n records, each behind its recipient's key when keyed) each
-- Reply {"OK", repeated, suppressed}, {"SEEN"}, or {"GAP"} when an earlier part is missing
-- The first part's fields stay: what the index is made of can't change under it.
--include base
local marker = prefix .. 'm:' .. ARGV[1]
local taken, part = tonumber(call('GET', marker) or 0), tonumber(ARGV[2])
if part ~= taken then
    return { part < taken and 'SEEN' or 'GAP' }
end
--include submission
--include record
--include count
--include queue
--include event
--include suppressed
local sid, fields = ARGV[6], tonumber(ARGV[8])
local first, given, hash = 10 + fields, {}, {}
for i = 9, 8 + fields, 2 do
    local name = ARGV[i] == 'accepted' and 'at' or ARGV[i]
    given[name], hash[i - 8], hash[i - 7] = ARGV[i + 1], name, ARGV[i + 1]
end
local g = submission(sid, given)
local a = first
while a < #ARGV do
    check(ARGV[a], g)
    a = a + 3 + ARGV[a + 1] * (1 + ARGV[a + 2])
end
if g.new then
    call('HSET', prefix .. 'g:' .. sid, unpack(hash))
end

local repeated, blocked = 0, 0
-- Recipients whose key was used before are left out.
local function fresh(from, n)
    local records = {}
    for i = from, from + 2 * n - 2, 2 do
        local id = string.match(ARGV[i + 1], '^[^\t]*')
        local key = prefix .. 'y:' .. g.tenant .. '/' .. ARGV[i]
        if ARGV[i] == '' or call('SET', key, id, 'NX', 'EX', ARGV[5]) then
            records[#records + 1] = ARGV[i + 1]
        else
            repeated = repeated + 1
        end
    end
    return records, 1, #records
end

-- So are those whose address is suppressed; they end at once.
local function sendable(records, from, to)
    local reasons, rest = suppressed(g, records, from, to), {}
    if not reasons then
        return records, from, to
    end
    for i = from, to do
        if reasons[i] then
            event('suppressed', record_parse(records[i]), g, reasons[i])
            count_end(g, 'suppressed', 1)
            blocked = blocked + 1
        else
            rest[#rest + 1] = records[i]
        end
    end
    return rest, 1, #rest
end

a = first
while a < #ARGV do
    local dest, n, keyed = ARGV[a], tonumber(ARGV[a + 1]), ARGV[a + 2] == '1'
    local records, from, to = ARGV, a + 3, a + 2 + n
    if keyed then
        records, from, to = fresh(a + 3, n)
    end
    count_job(g, 'accepted', to - from + 1)
    g.opened = g.opened + to - from + 1
    records, from, to = sendable(records, from, to)
    if to >= from then
        put('RPUSH', dest, g, records, from, to)
    end
    a = a + 3 + n * (keyed and 2 or 1)
end
count_job(g, 'rejected', tonumber(ARGV[7]))
count_job(g, 'repeated', repeated)
if ARGV[first - 1] ~= '' then
    call('HSET', prefix .. 'c:' .. g.flow, 'weight', ARGV[first - 1])
end
counted(ARGV[4])
keep(g, ARGV[4])
call('SET', marker, part + 1, 'EX', ARGV[3])
return { 'OK', repeated, blocked }
