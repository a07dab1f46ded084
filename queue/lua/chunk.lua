#!lua
-- Gives the numbers of a chunk's recipients to its entry, so that a producer may repeat a chunk when it doesn't know
-- whether the first one arrived. Not allowed at maxmemory.
-- KEYS  ns:c:{SID} chunks: number of the first recipient -> entry, " +" behind it when it's queued
-- ARGV  number of the first recipient, entry, seconds to keep this
-- Reply "MINE", "QUEUED" (mine, and all of it is queued), or "OTHER" (it came before, as another entry)
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then
    redis.call('EXPIRE', KEYS[1], ARGV[3])
    return 'MINE'
end
local held = redis.call('HGET', KEYS[1], ARGV[1])
return held == ARGV[2] and 'MINE' or held == ARGV[2] .. ' +' and 'QUEUED' or 'OTHER'
