-- Lets a client say what it joins and leaves, so that one connection can have many channels: "+7" joins c7, "-7" leaves it,
-- "=7" is published there, and "?" comes back when all before it is done.
function on_message(conn, message, channel)
  local what, name = string.sub(message, 1, 1), "c" .. string.sub(message, 2)
  if what == "=" then
    return message, name
  end
  if what == "+" then
    conn:subscribe(name)
  elseif what == "-" then
    conn:unsubscribe(name)
  else
    conn:send(message)
  end
  return false
end
