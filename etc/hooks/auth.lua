--!strict
-- auth.lua: a valid token or no connection. The token's claim "rooms" says what its owner may read and write.
--
-- Connect to …?token=TOKEN, as a browser cannot set headers, or send   Authorization: Bearer TOKEN.   The key that the tokens
-- are signed with is a secret: /etc/wsd/secrets/jwt, or a systemd credential of that name.

local key = wsd.secret "jwt"      -- read once, while the script loads; a missing one refuses the reload
local refused = metrics.counter("auth_failures_total", "connections refused by auth.lua")   -- wsd_lua_auth_failures_total

local function token(conn: Conn): string?
  local header = conn.headers["authorization"] or ""    -- names of headers are in lower case
  return header:match("^Bearer%s+(.+)$") or conn.query.token
end

function on_connect(conn: Conn): ...any
  -- nil and the reason where anything is wrong: no token, another key, another issuer, expired …
  local claims, why = jwt.verify(token(conn), { alg = "HS256", key = key, iss = "https://id.example.com", leeway = 30 })
  if not claims then
    refused:inc()
    log.warn("login refused", { ip = conn.ip, why = why })
    return 401, why
  end
  conn.user = claims.sub
  conn.data.rooms = set(claims.rooms)    -- { "a", "b" } becomes { a = true, b = true }; nil an empty table
  conn:expire(claims.exp)                -- closes with 4401 when the token runs out
end

-- Asked for the connection's own channel too: who may not read it is refused with 403.
function on_subscribe(conn: Conn, channel: string): ...any
  return conn.data.rooms[channel] == true
end

function on_message(conn: Conn, message: string): ...any
  return conn.data.rooms[conn.channel] == true
end
