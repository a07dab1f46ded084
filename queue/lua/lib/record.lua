-- A record: id TAB recipient TAB attempts flags last_reply …, numbers as varints.
local function varint(text, at)
    local n, scale = 0, 1
    local byte = string.byte(text, at)
    while byte and byte >= 128 do
        n, scale, at = n + (byte - 128) * scale, scale * 128, at + 1
        byte = string.byte(text, at)
    end
    return n + (byte or 0) * scale, at + 1
end

local function record_parse(record)
    local id, to, at = string.match(record, '^([^\t]*)\t([^\t]*)\t()')
    local attempts, flags, len
    attempts, at = varint(record, at)
    flags, at = varint(record, at)
    len, at = varint(record, at)
    return { id = id, to = to, attempts = attempts, flags = flags, reply = string.sub(record, at, at + len - 1) }
end
