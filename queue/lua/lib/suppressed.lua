-- Suppressions: address in lower case -> {"g": …, "t:TENANT": …, "s:TENANT/STREAM": …}, each {"reason", "until"}.
local suppressions = call('HLEN', prefix .. 'u')

-- For each record: the reason not to send to it, or nil; nil when there's none for any. Records begin with id TAB
-- recipient TAB.
local function suppressed(g, records, from, to)
    if suppressions == 0 or to < from then
        return nil
    end
    local addresses, found = {}, nil
    for i = from, to do
        addresses[#addresses + 1] = string.lower(string.match(records[i], '^[^\t]*\t([^\t]*)') or '')
    end
    for i, text in ipairs(call('HMGET', prefix .. 'u', unpack(addresses))) do
        local entry = text and cjson.decode(text) or {}
        for _, scope in ipairs(text and { 'g', 't:' .. g.tenant, 's:' .. g.tenant .. '/' .. g.stream } or {}) do
            local it = entry[scope]
            if it and (tonumber(it['until']) or math.huge) > now then
                found = found or {}
                found[from + i - 1] = tostring(it.reason or 'suppressed')
            end
        end
    end
    return found
end
