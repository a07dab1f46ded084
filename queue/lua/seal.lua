#!lua flags=allow-oom
-- All parts of an entry are queued. Seals its submission ("*") if nothing more will come: one-shot, or when all chunks
-- up to the last are queued, in whichever order that happened.
-- KEYS  ns:o:{SID} partitions with open jobs, ns:c:{SID} chunks
-- ARGV  seconds to keep the chunks, number of the first recipient ("": one-shot), entry, recipients, last 0|1
-- Reply {partitions with open jobs …} when it's sealed, else nil
redis.call('SCARD', KEYS[1])
if ARGV[2] ~= '' then
    if redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[3] then
        redis.call('HSET', KEYS[2], ARGV[2], ARGV[3] .. ' +')
        redis.call('HINCRBY', KEYS[2], 'queued', ARGV[4])
        if ARGV[5] == '1' then
            redis.call('HSET', KEYS[2], 'total', string.format('%.0f', ARGV[2] + ARGV[4]))
        end
    end
    local sums = redis.call('HMGET', KEYS[2], 'queued', 'total')
    if not sums[2] or sums[1] ~= sums[2] then
        return nil
    end
    redis.call('EXPIRE', KEYS[2], ARGV[1])
end
redis.call('SADD', KEYS[1], '*')
if redis.call('TTL', KEYS[1]) < 0 then
    redis.call('EXPIRE', KEYS[1], ARGV[1])
end
local open = redis.call('SMEMBERS', KEYS[1])
for i = #open, 1, -1 do
    if open[i] == '*' then
        table.remove(open, i)
    end
end
return open
