--!strict
-- chat.lua: rooms. Everyone in a room sees what anyone in it says, with the name and the time.
--
-- Connect to …?name=ann&room=garden. Without a room it is the route's own channel.

local LONGEST = 2000   -- bytes of one message

-- Called once for each client, before its connection is accepted. conn.query is the part of the address after the "?".
function on_connect(conn: Conn)
  conn.user = conn.query.name or "guest-" .. conn.id
  if conn.query.room then
    conn.channel = "room:" .. conn.query.room      -- wsd subscribes it to that channel, and its messages go there
  end
  conn:send { type = "welcome", you = conn.user, room = conn.channel }   -- a table is sent as JSON
end

-- The table that is returned is published in place of the text, again as JSON.
function on_message(conn: Conn, text: string): ...any
  if #text > LONGEST then
    conn:send { type = "error", error = "a message has at most " .. LONGEST .. " bytes" }
    return false
  end
  return { type = "chat", from = conn.user, at = time.now(), text = text }
end

-- Called once for each connection that was accepted, however it ended.
function on_disconnect(conn: Conn)
  if conn.channel ~= "" then
    wsd.publish(conn.channel, { type = "left", who = conn.user })
  end
end
