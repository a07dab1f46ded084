#!lua flags=allow-oom
-- Carries an operator's order out on a slice of what a partition holds, or only counts what it would concern.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix)
-- ARGV  action: count, cancel, purge, retry or link; order (JSON); phase: x (queues), t (retries) or i (in flight);
--       cursor; entries to look at; most jobs to move; seconds to keep what can be brought back;
--       seconds to keep a submission's counters (the former, if left out); 1: only if the order is in force as given
-- Reply {next cursor, jobs, queues}. Begin with cursor "0"; "0" comes back when the phase is done. {"0", -1, 0}: the
-- order isn't in force, and nothing was done.
--include base
--include submission
--include record
--include count
--include queue
--include event
--include orders
local order = cjson.decode(ARGV[2])
local action, trash, room = ARGV[1], prefix .. 'z:' .. (order.id or ''), tonumber(ARGV[6])
local reason = type(order.reason) == 'string' and order.reason or nil
local jobs, queues, again = 0, 0, false
local ends = action == 'cancel' or action == 'purge'
call('LLEN', trash)
if ARGV[9] == '1' and call('HGET', prefix .. 'a', order.id) ~= ARGV[2] then
    return { '0', -1, 0 } -- Taken back meanwhile.
end

--include carry
local scan = ARGV[3] == 'i' and 'HSCAN' or 'ZSCAN'
local slice = call(scan, prefix .. ARGV[3], ARGV[4], 'COUNT', ARGV[5])
for i = 1, #slice[2], 2 do
    if ARGV[3] == 'x' then
        on_queue(slice[2][i])
    elseif ARGV[3] == 't' then
        on_retry(slice[2][i])
    else
        on_flight(slice[2][i], slice[2][i + 1])
    end
end
counted(ARGV[8] or ARGV[7])
-- While a queue has more jobs than there was room for the same slice comes again; "00" is the first one's name then.
return { again and (ARGV[4] == '0' and '00' or ARGV[4]) or slice[1], jobs, queues }
