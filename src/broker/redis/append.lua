-- Appends a message to a channel's history and publishes it, in one step.
--
-- KEYS  1 the channel's stream
-- ARGV  1 the Redis channel                  2 the command that publishes: PUBLISH or SPUBLISH
--       3 size, at least 1                   4 ttl in milliseconds
--       5 an epoch (8 bytes), if one begins  6 the message's own key; "" if it has none
--       7 "again": Redis may have done this before, under the same key
--       8 the envelope up to the position    9 kind: "t" or "b"    10 the payload
-- Gives {epoch, offset as text}.
--
-- An entry has the ID OFFSET+1-0 and the fields e (epoch), t (milliseconds since 1970), k (kind), i (key), p (payload) in
-- this order. A history begins with an entry for offset 0 that has no payload. A stream whose newest entry is not one of
-- these was written by somebody else: it is deleted, and a new epoch says so.

local key, size, ttl = KEYS[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function ours(entry)
  local offset = entry and string.match(entry[1], '^(%d+)-0$')
  local fields = entry and entry[2]
  if offset and #fields == 10 and fields[1] == 'e' and #fields[2] == 8 and tonumber(fields[4]) then
    return tonumber(offset) - 1, fields[2], tonumber(fields[4])
  end
end

local offset, epoch, written = ours(redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1])
if not offset or written + ttl <= now then
  redis.call('DEL', key)
  offset, epoch = 0, ARGV[5]
  redis.call('XADD', key, '1-0', 'e', epoch, 't', now, 'k', '', 'i', '', 'p', '')
end

if ARGV[7] == 'again' then
  for _, entry in ipairs(redis.call('XREVRANGE', key, '+', '-', 'COUNT', size)) do
    local place = ours(entry)
    if place and entry[2][8] == ARGV[6] then
      return { epoch, tostring(place) }
    end
  end
end

offset = offset + 1
local id = string.format('%.0f-0', offset + 1)
redis.call('XADD', key, id, 'e', epoch, 't', now, 'k', ARGV[9], 'i', ARGV[6], 'p', ARGV[10])
redis.call('XTRIM', key, 'MINID', string.format('%.0f-0', math.max(offset - size + 2, 1)))
repeat
  local old = redis.call('XRANGE', key, '-', '+', 'COUNT', 16)
  local first
  for _, entry in ipairs(old) do
    if tonumber(entry[2][4]) + ttl > now then
      first = entry[1]
      break
    end
  end
  redis.call('XTRIM', key, 'MINID', first or id)
until first or #old < 16
redis.call('PEXPIRE', key, ttl)
redis.call(ARGV[2], ARGV[1], ARGV[8] .. epoch .. struct.pack('>I8', offset) .. ARGV[10])
return { epoch, string.format('%.0f', offset) }
