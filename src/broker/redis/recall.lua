-- Reads a channel's history, and publishes a fence in the channel: what came before it is in the answer, what comes behind
-- it is newer.
--
-- KEYS  1 the channel's stream
-- ARGV  1 the Redis channel                  2 the command that publishes: PUBLISH or SPUBLISH
--       3 size, at least 1                   4 ttl in milliseconds
--       5 an epoch (8 bytes), if one begins  6 the fence
--       7 "since" or "newest"                8 since: an epoch (8 bytes)     9 since: an offset; newest: how many
-- Gives {epoch, newest offset as text, 1 if nothing is missing, then for each message its offset as text, kind, payload}.
--
-- What an entry looks like stands in append.lua.

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

local top, epoch, written = ours(redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1])
if not top or written + ttl <= now then
  redis.call('DEL', key)
  top, epoch = 0, ARGV[5]
  redis.call('XADD', key, '1-0', 'e', epoch, 't', now, 'k', '', 'i', '', 'p', '')
  redis.call('PEXPIRE', key, ttl)
end

local answer = { epoch, string.format('%.0f', top), 0 }
local entries = {}
if ARGV[7] == 'newest' then
  local count = math.min(tonumber(ARGV[9]), size)
  if count > 0 then
    entries = redis.call('XREVRANGE', key, '+', string.format('%.0f-0', math.max(top - count + 2, 1)))
  end
elseif ARGV[8] == epoch and tonumber(ARGV[9]) <= top and top - tonumber(ARGV[9]) <= size then
  local wanted = top - tonumber(ARGV[9])
  if wanted > 0 then
    entries = redis.call('XREVRANGE', key, '+', string.format('%.0f-0', tonumber(ARGV[9]) + 2))
  end
  answer[3] = #entries == wanted and 1 or 0
  for _, entry in ipairs(entries) do
    local offset, of, at = ours(entry)
    if not offset or of ~= epoch or at + ttl <= now then
      answer[3] = 0
    end
  end
  if answer[3] == 0 then
    entries = {}
  end
end
for i = #entries, 1, -1 do
  local offset, of, at = ours(entries[i])
  if offset and offset > 0 and of == epoch and at + ttl > now then
    answer[#answer + 1] = string.format('%.0f', offset)
    answer[#answer + 1] = entries[i][2][6]
    answer[#answer + 1] = entries[i][2][10]
  end
end
redis.call(ARGV[2], ARGV[1], ARGV[6])
return answer
