-- Run it with: wsd test etc/hooks/chat_test.lua

local t = require "test"

local function join(options)
  t.load "chat.lua"
  t.clock(1000)
  local c = t.conn(options)
  t.eq(c:connect(), "accepted")
  return c
end

t.case("chat: welcomes by name and room", function()
  local c = join { query = { name = "ann", room = "garden" } }
  t.eq(c.user, "ann")
  t.eq(c.channel, "room:garden")
  t.eq(c.sent[1], '{"type":"welcome","you":"ann","room":"room:garden"}', "json")
end)

t.case("chat: without a room it is the route's channel, without a name a guest", function()
  local c = join { channel = "lobby" }
  t.eq(c.channel, "lobby")
  t.eq(c.user:sub(1, 6), "guest-")
end)

t.case("chat: adds sender and time", function()
  local v = join { query = { name = "ann" }, channel = "lobby" }:message("hello")
  t.eq(v.action, "publish")
  t.eq(v.channel, "lobby")
  t.eq(v.data, '{"type":"chat","from":"ann","at":1000,"text":"hello"}', "json")
end)

t.case("chat: refuses what is too long, and says so", function()
  local c = join {}
  t.eq(c:message(("x"):rep(2001)).action, "drop")
  t.eq(c.sent[2], '{"type":"error","error":"a message has at most 2000 bytes"}', "json")
end)

t.case("chat: tells the room who left", function()
  local c = join { query = { name = "ann", room = "garden" } }
  c:disconnect()
  t.eq(t.published[1].channel, "room:garden")
  t.eq(t.published[1].data, '{"type":"left","who":"ann"}', "json")
end)
