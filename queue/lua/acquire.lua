#!lua flags=allow-oom
-- Makes the caller the owner of a partition, unless a live owner of another node has it, or another worker of the
-- same process. An earlier process of the same node is dead: two can't run on one state directory.
-- KEYS  ns:{p}:e epoch, ns:{p}:o owner, ns:{p}:h holder
-- ARGV  node, holder ("NODE/WORKER/INSTANCE"), lease in ms
-- Reply {"OK", epoch, since} or {"TAKEN", owner}
--
-- The epoch never repeats, even when a failover has un-done acquisitions: it is the time in µs, or one
-- more than the last. `since` is the first epoch of the holder's unbroken tenure: what the same instance
-- leased under epochs >= since is still its own.
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[2] then
    local node, instance = string.match(owner, '^([^/]*)/[^/]*/(.*)$')
    if node ~= ARGV[1] or instance == string.match(ARGV[2], '[^/]*$') then
        return { 'TAKEN', owner }
    end
end
local time = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[1]) or 0)
local epoch = string.format('%.0f', math.max(time[1] * 1000000 + time[2], last + 1))
local holder, since = string.match(redis.call('GET', KEYS[3]) or '', '^(%S+) (%d+)$')
if holder ~= ARGV[2] then
    since = epoch
end
redis.call('SET', KEYS[3], ARGV[2] .. ' ' .. since)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[1], epoch)
return { 'OK', epoch, since }
