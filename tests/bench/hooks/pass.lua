-- Lets every message through: what it costs to ask a hook at all.
function on_message(conn, message, channel)
  return true
end
