#!lua flags=allow-oom
-- Reads entries of the submit stream for a consumer, one by one until they are many or large: XREADGROUP alone can't
-- be told how many bytes are wanted, and 64 entries of 50 MiB are too many.
-- KEYS  ns:submit
-- ARGV  group, consumer, ">" (new ones) or "0" (what it read before), most entries, bytes after which no more are read
-- Reply the entries as XREADGROUP gives them: {id, {field, value, …}} each
local entries, bytes, from = {}, 0, ARGV[3]
while #entries < tonumber(ARGV[4]) and bytes < tonumber(ARGV[5]) do
    local streams = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], from)
    local entry = streams and streams[1][2][1]
    if not entry then
        break
    end
    entries[#entries + 1] = entry
    for _, value in ipairs(entry[2] or {}) do
        bytes = bytes + #value
    end
    from = from == '>' and '>' or entry[1]
end
return entries
