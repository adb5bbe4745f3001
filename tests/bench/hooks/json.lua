-- Takes a JSON object apart, sets a field and puts it together again.
function on_message(conn, message)
  local order = json.decode(message)
  order.seen = true
  return order
end
