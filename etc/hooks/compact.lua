--!strict
-- compact.lua: a price feed. Of the quotes that came within one publish window only the last one of each symbol is worth
-- sending; everything that is no quote goes through untouched.
--
-- A quote is   {"symbol": "ACME", "price": 5}.   The window is   [publish] window = "100ms"   in wsd.toml, or that of a
-- [[channel]]; with 0 there is little to compact.

-- Called for what came for one channel in one window: a list of strings, in order. A list that is returned is published
-- instead. It runs in one place for each channel, so it sees all of it, from whichever client.
function on_batch(channel: string, messages: { string }): ...any
  if #messages < 2 then
    return                                       -- nothing to compact
  end

  local symbols, last = {}, {}
  for i, message in messages do
    local symbol = json.get(message, "symbol")   -- one field, without taking the rest apart; nil if it is not there
    if type(symbol) == "string" then
      symbols[i] = symbol
      last[symbol] = i
    end
  end

  local out = {}
  for i, message in messages do
    local symbol = symbols[i]
    if not symbol or last[symbol] == i then
      table.insert(out, message)
    end
  end
  return out
end
