-- Run it with: wsd test etc/hooks/auth_test.lua

local t = require "test"

local KEY = "s3cret"

-- A token that is fine, but for what `claims` changes.
local function token(claims)
  local all = { sub = "ann", iss = "https://id.example.com", exp = 2000, rooms = { "a" } }
  for name, value in claims or {} do
    all[name] = value
  end
  return t.jwt(all, KEY)
end

local function client(options)
  t.load("auth.lua", { secrets = { jwt = KEY } })
  t.clock(1000)
  options.channel = options.channel or "a"
  return t.conn(options)
end

t.case("auth: 401 without a token", function()
  local status, why = client {}:connect()
  t.eq(status, 401)
  t.eq(why, "no token")
end)

t.case("auth: user and rooms come from the claims", function()
  local c = client { query = { token = token() } }
  t.eq(c:connect(), "accepted")
  t.eq(c.user, "ann")
  t.eq(c:subscribe("a"), true)
  t.eq(c:subscribe("b"), false)
  t.eq(c:message("hi").action, "publish")
end)

t.case("auth: the token may come as a header", function()
  t.eq(client { headers = { Authorization = "Bearer " .. token() } }:connect(), "accepted")
end)

t.case("auth: who may not read the route's channel is refused", function()
  t.eq(client { query = { token = token() }, channel = "b" }:connect(), 403)
  t.eq(client { query = { token = token { rooms = json.array {} } } }:connect(), 403)
end)

t.case("auth: an old, a strange and a changed token are refused", function()
  local function why(text)
    local status, reason = client { query = { token = text } }:connect()
    t.eq(status, 401)
    return reason
  end
  t.eq(why(token { exp = 969 }), "expired")
  t.eq(why(token { iss = "https://evil.example.com" }), "from another issuer")
  t.eq(why(t.jwt({ sub = "ann" }, "another key")), "wrong signature")
  t.eq(why("nonsense"), "this is no token")
end)

t.case("auth: the connection ends with the token", function()
  local c = client { query = { token = token() } }
  c:connect()
  t.clock(1999)
  t.eq(c.closed, nil)
  t.clock(2000)
  t.eq(c.closed, { code = 4401, reason = "expired" })
end)
