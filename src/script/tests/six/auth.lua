-- auth.lua: a valid JWT or no connection. The claim "rooms" says what one may read and write.

local key = wsd.secret("jwt")                 -- /etc/wsd/secrets/jwt, or systemd LoadCredential=
local bad = metrics.counter("auth_failures_total", "connections refused by auth.lua")

local function token(conn)
  local header = conn.headers["authorization"] or ""
  return header:match("^Bearer%s+(.+)$") or conn.query.token
end

function on_connect(conn)
  local claims, why = jwt.verify(token(conn), { alg = "HS256", key = key, iss = "https://id.example.com", leeway = 30 })
  if not claims then
    bad:inc()
    log.warn("login refused", { ip = conn.ip, why = why })
    return 401, why
  end
  conn.user = claims.sub
  conn.data.rooms = set(claims.rooms)
  conn:expire(claims.exp)                     -- close with 4401 when the token runs out
end

function on_subscribe(conn, channel)
  return conn.data.rooms[channel] == true
end

function on_message(conn, msg)
  return conn.data.rooms[conn.channel] == true
end
