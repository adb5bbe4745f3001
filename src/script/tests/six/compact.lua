-- compact.lua: a price feed. Of the quotes that gathered in one flush window only the last one
-- per symbol is worth sending; everything that is not a quote goes through untouched.

function on_batch(channel, messages)
  if #messages < 2 then return end            -- nothing to compact

  local last = {}
  for i, msg in messages do
    local symbol = json.get(msg, "symbol")
    if symbol then last[symbol] = i end
  end

  local out = {}
  for i, msg in messages do
    local symbol = json.get(msg, "symbol")
    if not symbol or last[symbol] == i then
      table.insert(out, msg)
    end
  end
  return out
end
