--!strict
-- enrich.lua: orders. Only those that are well formed get through, each to a channel of its symbol, with facts that the
-- client cannot forge.
--
-- A client sends   {"side": "buy", "qty": 5, "symbol": "ACME"}

local sides = set { "buy", "sell" }
local LARGEST = 1e6

-- What is wrong with an order; nothing if it is fine. Everything in it came from outside, so everything is looked at.
local function problem(order: any): string?
  if type(order) ~= "table" then return "not an object" end
  if not sides[order.side] then return "side must be buy or sell" end
  if type(order.qty) ~= "number" then return "qty must be a number" end
  if order.qty <= 0 or order.qty > LARGEST then return "qty is out of range" end
  if type(order.symbol) ~= "string" then return "symbol is missing" end
  if not order.symbol:match("^%u+$") or #order.symbol > 8 then return "symbol must be 1 to 8 capital letters" end
  return nil
end

function on_connect(conn: Conn): ...any
  conn.user = conn.query.account
  if not conn.user then
    return 401, "an account is required"      -- the HTTP status and text of the refusal
  end
end

function on_message(conn: Conn, message: string): ...any
  local order, err = json.decode(message)     -- nil and the reason if it is no JSON
  err = err or problem(order)
  if err then
    conn:send { type = "rejected", error = err }
    return false
  end
  order.account = conn.user
  order.received = time.iso()
  return order, "orders:" .. order.symbol     -- published there instead of on the connection's own channel
end
