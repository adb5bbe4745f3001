-- Run it with: wsd test etc/hooks/echo_test.lua

local t = require "test"

t.case("echo: answers the sender and publishes nothing", function()
  t.load "echo.lua"
  local c = t.conn {}
  t.eq(c:connect(), "accepted")
  t.eq(c:message("hello"), { action = "drop" })
  t.eq(c.sent, { "You said: hello" })
  t.eq(t.published, {})
end)

t.case("echo: every message has its own answer, also an empty one", function()
  t.load "echo.lua"
  local c = t.conn {}
  c:message("")
  c:message("grüße")
  t.eq(c.sent, { "You said: ", "You said: grüße" })
end)
