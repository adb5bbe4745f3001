-- The scripts beside this, tested as their users would.
local t = require "test"

t.case("chat: adds the sender", function()
  t.load "chat.lua"
  t.clock(1000)
  local c = t.conn { query = { name = "ann" } }
  t.eq(c:connect(), "accepted")
  t.eq(c.sent[1], '{"type":"welcome","you":"ann","room":"room:lobby"}', "json")
  local v = c:message("hello")
  t.eq(v.action, "publish")
  t.eq(v.channel, "room:lobby")
  t.eq(v.data, '{"type":"chat","from":"ann","at":1000,"text":"hello"}', "json")
  t.eq(c:message(("x"):rep(2001)).action, "drop")
end)

t.case("auth: 401 without a token, rooms from the claims", function()
  t.load("auth.lua", { secrets = { jwt = "s3cret" } })
  t.clock(1000)
  local status, why = t.conn {}:connect()
  t.eq(status, 401)
  local token = t.jwt({ sub = "bob", iss = "https://id.example.com", exp = 2000, rooms = { "a" } }, "s3cret")
  local c = t.conn { query = { token = token }, channel = "a" }
  t.eq(c:connect(), "accepted")
  t.eq(c.user, "bob")
  t.eq(c:subscribe("a"), true)
  t.eq(c:subscribe("b"), false)
  t.eq(c:message("hi").action, "publish")
  t.clock(2031)
  t.eq(t.conn { query = { token = token } }:connect(), 401)
  t.eq(t.conn { headers = { authorization = "Bearer " .. token:sub(1, -2) .. "A" } }:connect(), 401)
end)

t.case("profanity: masks, then kicks", function()
  t.load("profanity.lua", { settings = { bad_words = { "darn", "heck" } } })
  local c = t.conn {}
  t.eq(c:message("what a day").data, "what a day")
  t.eq(c:message("Darn it").data, "**** it")
  t.eq(c:message("heck").data, "****")
  t.eq(c:message("darn").action, "drop")
  t.eq(c.closed, { code = 4003, reason = "language" })
end)

t.case("enrich: well-formed orders only, to the channel of their symbol", function()
  t.load "enrich.lua"
  t.clock(1000)
  local c = t.conn { user = "ann" }
  local v = c:message('{"side":"buy","qty":5,"symbol":"ACME"}')
  t.eq(v.channel, "orders:ACME")
  t.eq(v.data, '{"side":"buy","qty":5,"symbol":"ACME","account":"ann","received":1000}', "json")
  t.eq(c:message('{"side":"steal"}').action, "drop")
  t.eq(c:message("no json").action, "drop")
  t.eq(c.sent[1], '{"type":"rejected","error":"side must be buy or sell"}', "json")
end)

t.case("ratelimit: a burst, the rate, and slots given back", function()
  t.load "ratelimit.lua"
  t.clock(1000)
  local c = t.conn {}
  t.eq(c:connect(), "accepted")
  for _ = 1, 20 do
    t.eq(c:message("x").action, "publish")
  end
  t.eq(c:message("x").action, "drop")
  t.clock(1000.1)
  t.eq(c:message("x").action, "publish")
  t.eq(c:message("x").action, "drop")
  local all = {}
  for i = 1, 49 do
    all[i] = t.conn {}
    t.eq(all[i]:connect(), "accepted")
  end
  t.eq(t.conn {}:connect(), 429)
  all[1]:disconnect()
  t.eq(t.conn {}:connect(), "accepted")
end)

t.case("compact: the last quote of each symbol, and what is no quote", function()
  t.load "compact.lua"
  local a1, a2, b1 = '{"symbol":"A","p":1}', '{"symbol":"A","p":2}', '{"symbol":"B","p":1}'
  t.eq(t.batch("quotes", { a1, "note", b1, a2 }), { "note", b1, a2 })
  t.eq(t.batch("quotes", { a1 }), { a1 })
end)
