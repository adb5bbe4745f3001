-- Publishes every other message of a batch.
function on_batch(channel, messages)
  local out = {}
  for i = 2, #messages, 2 do
    out[#out + 1] = messages[i]
  end
  return out
end
