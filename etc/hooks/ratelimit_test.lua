-- Run it with: wsd test etc/hooks/ratelimit_test.lua

local t = require "test"

local function client(options)
  local c = t.conn(options or {})
  t.eq(c:connect(), "accepted")
  return c
end

-- How many of so many messages get through.
local function through(c, messages)
  local count = 0
  for _ = 1, messages do
    if c:message("x").action == "publish" then
      count += 1
    end
  end
  return count
end

t.case("ratelimit: a burst of 20, then 10 a second", function()
  t.load "ratelimit.lua"
  t.clock(1000)
  local c = client()
  t.eq(through(c, 30), 20)
  t.clock(1000.5)               -- time passes: the bucket fills again
  t.eq(through(c, 30), 5)
  t.clock(1100)
  t.eq(through(c, 30), 20)
end)

t.case("ratelimit: one user is one bucket, on whichever connection; others have their own", function()
  t.load "ratelimit.lua"
  t.clock(1000)
  local ann, again, bob = client { user = "ann" }, client { user = "ann" }, client { user = "bob" }
  t.eq(through(ann, 15), 15)
  t.eq(through(again, 15), 5)
  t.eq(through(bob, 15), 15)
end)

t.case("ratelimit: 50 connections of an address, and a place for each that has gone", function()
  t.load "ratelimit.lua"
  local all = {}
  for i = 1, 50 do
    all[i] = client()
  end
  local status, why = t.conn {}:connect()
  t.eq(status, 429)
  t.eq(why, "too many connections")
  t.eq(t.conn { ip = "192.0.2.99" }:connect(), "accepted")
  all[7]:disconnect()
  client()
  t.eq(t.conn {}:connect(), 429)
end)
