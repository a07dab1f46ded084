#!lua flags=allow-oom
-- Changes some fields of a campaign's object and leaves the others: who writes it, engine or operator, loses no
-- change of the other's.
-- KEYS  ns:campaigns
-- ARGV  flow (TENANT/CAMPAIGN), fields to set (JSON object; null takes one away), 1 if it's made when it isn't there,
--       the object's text as the caller knows it: nothing changes if it's another one ("" or left out: any)
-- Reply the object as JSON, or "" when it isn't there
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text and ARGV[3] ~= '1' then
    return ''
elseif (ARGV[4] or '') ~= '' and text ~= ARGV[4] then
    return text or ''
end
local object = text and cjson.decode(text) or {}
for name, value in pairs(cjson.decode(ARGV[2])) do
    object[name] = value ~= cjson.null and value or nil
end
text = cjson.encode(object)
redis.call('HSET', KEYS[1], ARGV[1], text)
return text
