-- chat.lua: everyone in a room sees what anyone says, with the name and the time added.

function on_connect(conn)
  conn.user = conn.query.name or "guest-" .. conn.id
  conn.channel = "room:" .. (conn.query.room or "lobby")   -- wsd subscribes it to that
  conn:send { type = "welcome", you = conn.user, room = conn.channel }
end

function on_message(conn, text)
  if #text > 2000 then
    conn:send { type = "error", error = "too long" }
    return false
  end
  return { type = "chat", from = conn.user, at = time.now(), text = text }
end

function on_disconnect(conn)
  wsd.publish(conn.channel, { type = "left", who = conn.user })
end
