-- ratelimit.lua: per user 10 messages a second with bursts of 20, counted over all workers;
-- per address at most 50 open connections.

function on_connect(conn)
  if not limit.hold("open:" .. conn.ip, 50) then      -- wsd gives the slot back, however the connection ends
    return 429, "too many connections"
  end
end

function on_message(conn, msg)
  local ok, wait = limit.allow("msg:" .. (conn.user or conn.ip), 10, 20)
  if ok then return end
  if wait > 5 then conn:close(4008, "slow down") end
  return false
end
