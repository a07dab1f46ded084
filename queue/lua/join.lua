#!lua flags=allow-oom
-- A worker says that it's alive, or that it leaves, and learns who else is.
-- KEYS  ns:nodes
-- ARGV  NODE/WORKER, the members of its JSON object or "" to leave, ms after which a silent one is taken for dead
-- Reply those alive
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '' then
    redis.call('HDEL', KEYS[1], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], string.format('{"seen_ms":%.0f,%s}', now, ARGV[2]))
end
local alive, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    local age = now - string.match(all[i + 1], '"seen_ms":(%d+)')
    if age < tonumber(ARGV[3]) then
        alive[#alive + 1] = all[i]
    elseif age > 86400000 then
        redis.call('HDEL', KEYS[1], all[i])
    end
end
return alive
