-- Events that no attempt led to.
local function event(kind, record, g, text)
    local reply = text or record.reply
    call('XADD', prefix .. 'ev', '*', 'e', string.format(
        '{"type":"%s","job":"%s","submission":"%s"%s%s,"to":%s,"at":%.0f,"attempt":%d%s%s}', kind, record.id, g.sid,
        g.tenant ~= '' and ',"tenant":"' .. g.tenant .. '"' or '',
        g.campaign ~= '' and ',"campaign":"' .. g.campaign .. '"' or '',
        cjson.encode(record.to), now, record.attempts,
        reply ~= '' and ',"text":' .. cjson.encode((string.gsub(reply, '[^\32-\126]', '?'))) or '',
        record.flags % 2 == 1 and ',"maybe_duplicate":true' or ''))
end
