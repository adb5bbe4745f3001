-- profanity.lua: mask bad words; three strikes and you are out.

local words = set(wsd.settings.bad_words)       -- [hooks.settings] bad_words = [ ... ] in wsd.toml
local hits  = metrics.counter("profanity_total", "words masked")

local function mask(word)
  if words[word:lower()] then
    hits:inc()
    return ("*"):rep(#word)
  end
end

function on_message(conn, text)
  local clean = text:gsub("%a+", mask)
  if clean == text then return end            -- nothing found: publish it as it came

  local strikes = (conn.data.strikes or 0) + 1
  conn.data.strikes = strikes
  if strikes >= 3 then
    log.info("kicked for language", { user = conn.user, strikes = strikes })
    conn:close(4003, "language")
    return false
  end
  return clean
end
