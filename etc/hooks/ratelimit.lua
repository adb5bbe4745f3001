--!strict
-- ratelimit.lua: per user 10 messages a second with bursts of 20, counted over all workers; per address at most 50 open
-- connections.
--
-- As a stage of its own before others it protects them all:   hooks = ["ratelimit.lua", "chat.lua"]   in a [[route]].

function on_connect(conn: Conn): ...any
  -- A slot of 50 for this address. wsd gives it back when the connection has ended, however it ended, or was refused.
  if not limit.hold("open:" .. conn.ip, 50) then
    return 429, "too many connections"
  end
end

function on_message(conn: Conn, msg: string): ...any
  -- A bucket of 20 that fills with 10 a second. What is refused takes nothing out of it.
  local ok, wait = limit.allow("msg:" .. (conn.user or conn.ip), 10, 20)
  if ok then return end                                       -- nothing: the message goes on
  if wait > 5 then conn:close(4008, "slow down") end          -- only with limits slower than one in 5 s
  return false
end
