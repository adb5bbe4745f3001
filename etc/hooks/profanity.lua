--!strict
-- profanity.lua: puts stars over bad words; three times and the connection is closed.
--
-- The words are in wsd.toml:   [hooks.settings]   bad_words = ["darn", "heck"]

local words = set(wsd.settings.bad_words)   -- set { "a", "b" } is a table with the elements as keys; set(nil) is empty
local STRIKES = 3

-- Given a word, what to put in its place; nothing leaves it as it is.
local function mask(word: string): any
  if words[word:lower()] then
    return ("*"):rep(#word)
  end
  return nil
end

function on_message(conn: Conn, text: string): ...any
  local clean = text:gsub("%a+", mask)      -- %a+ is a run of letters
  if clean == text then
    return                                  -- nothing found: it goes on as it came
  end

  -- conn.data is a table of your own for as long as the connection lasts. It survives a reload of the scripts.
  local strikes = (conn.data.strikes or 0) + 1
  conn.data.strikes = strikes
  if strikes >= STRIKES then
    log.info("closed for language", { strikes = strikes })   -- see it with: journalctl -u wsd
    conn:close(4003, "language")
    return false
  end
  return clean
end
