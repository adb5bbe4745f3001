-- Run it with: wsd test etc/hooks/profanity_test.lua

local t = require "test"

local function client()
  t.load("profanity.lua", { settings = { bad_words = { "darn", "heck" } } })
  local c = t.conn { channel = "lobby" }
  t.eq(c:connect(), "accepted")
  return c
end

t.case("profanity: leaves clean text alone", function()
  t.eq(client():message("what a day"), { action = "publish", channel = "lobby", data = "what a day" })
end)

t.case("profanity: masks whole words in any case", function()
  local c = client()
  t.eq(c:message("Darn, what the HECK").data, "****, what the ****")
  t.eq(c:message("checking darning").data, "checking darning")
end)

t.case("profanity: closes the connection at the third strike", function()
  local c = client()
  c:message("darn")
  c:message("heck")
  t.eq(c.closed, nil)
  t.eq(c:message("darn").action, "drop")
  t.eq(c.closed, { code = 4003, reason = "language" })
end)

t.case("profanity: without a list every word is fine", function()
  t.load("profanity.lua", { settings = {} })
  t.eq(t.conn {}:message("darn").data, "darn")
end)
