#!lua
-- Suppresses an address in a scope, or lifts that. Engines hear of it through the notices.
-- KEYS  ns:{p}:e epoch (gives the partition's prefix)
-- ARGV  address in lower case, scope (g, t:TENANT or s:TENANT/STREAM), entry (JSON object) or "" to lift
-- Reply 1 if that changed anything
--include base
call('XLEN', prefix .. 'un')
local text = call('HGET', prefix .. 'u', ARGV[1])
local entry = text and cjson.decode(text) or {}
if ARGV[3] == '' and not entry[ARGV[2]] then
    return 0
end
local it = ARGV[3] ~= '' and cjson.decode(ARGV[3]) or nil
if it and type(it) ~= 'table' then
    return redis.error_reply('ERR the entry is not an object')
end
entry[ARGV[2]] = it
if next(entry) then
    call('HSET', prefix .. 'u', ARGV[1], cjson.encode(entry))
else
    call('HDEL', prefix .. 'u', ARGV[1])
end
if it then
    call('XADD', prefix .. 'un', 'MAXLEN', '~', 10000, '*', 'a', ARGV[1], 's', ARGV[2])
end
return 1
