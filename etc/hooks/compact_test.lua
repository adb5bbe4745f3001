-- Run it with: wsd test etc/hooks/compact_test.lua

local t = require "test"

local function quote(symbol, price)
  return json.encode { symbol = symbol, price = price }
end

t.case("compact: keeps the last quote of each symbol, in order", function()
  t.load "compact.lua"
  local a1, b1, a2, c1 = quote("A", 1), quote("B", 1), quote("A", 2), quote("C", 1)
  t.eq(t.batch("prices", { a1, b1, a2, c1 }), { b1, a2, c1 })
end)

t.case("compact: leaves alone what is no quote", function()
  t.load "compact.lua"
  local messages = { "hello", "hello", '{"symbol":5}', '{"symbol":5}', "{", quote("A", 1) }
  t.eq(t.batch("prices", messages), messages)
end)

t.case("compact: a single message passes", function()
  t.load "compact.lua"
  t.eq(t.batch("prices", { quote("A", 1) }), { quote("A", 1) })
end)
