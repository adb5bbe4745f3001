-- Run it with: wsd test etc/hooks/enrich_test.lua

local t = require "test"

local function client()
  t.load "enrich.lua"
  t.clock(0)
  local c = t.conn { query = { account = "a1" }, channel = "desk" }
  t.eq(c:connect(), "accepted")
  return c
end

t.case("enrich: asks for an account", function()
  t.load "enrich.lua"
  local status, text = t.conn {}:connect()
  t.eq(status, 401)
  t.eq(text, "an account is required")
end)

t.case("enrich: adds account and time, and sends it to the symbol's channel", function()
  local v = client():message('{"side":"buy","qty":5,"symbol":"ACME","account":"forged"}')
  t.eq(v.action, "publish")
  t.eq(v.channel, "orders:ACME")
  t.eq(v.data, '{"side":"buy","qty":5,"symbol":"ACME","account":"a1","received":"1970-01-01T00:00:00Z"}', "json")
end)

t.case("enrich: says what is wrong", function()
  local c = client()
  local wrong = {
    { "no json", "expected a value at byte 1" },
    { "5", "not an object" },
    { '{"side":"keep"}', "side must be buy or sell" },
    { '{"side":"buy","qty":"5"}', "qty must be a number" },
    { '{"side":"buy","qty":0}', "qty is out of range" },
    { '{"side":"buy","qty":5}', "symbol is missing" },
    { '{"side":"buy","qty":5,"symbol":"a b"}', "symbol must be 1 to 8 capital letters" },
  }
  for i, case in wrong do
    t.eq(c:message(case[1]).action, "drop")
    t.eq(json.decode(c.sent[i]), { type = "rejected", error = case[2] })
  end
  t.eq(t.published, {})
end)
