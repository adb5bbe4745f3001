-- enrich.lua: only well-formed orders get through; server-side facts are added.

local sides = set { "buy", "sell" }

local function problem(o)
  if type(o) ~= "table"          then return "not an object" end
  if not sides[o.side]           then return "side must be buy or sell" end
  if type(o.qty) ~= "number"     then return "qty must be a number" end
  if o.qty <= 0 or o.qty > 1e6   then return "qty out of range" end
  if type(o.symbol) ~= "string"  then return "symbol is missing" end
end

function on_message(conn, msg)
  local order, err = json.decode(msg)
  err = err or problem(order)
  if err then
    conn:send { type = "rejected", error = err }
    return false
  end
  order.account = conn.user
  order.received = time.now()
  return order, "orders:" .. order.symbol     -- publish there, not on the sender's own channel
end
