-- 10-example.lua: what hooks look like. All of it is commented out; take the "--" off what you want, and save: the
-- service takes it over by itself, without dropping a connection, or says in the journal what is wrong with it.
--
-- "wsd check" says what is wrong, and changes nothing. "man wsd-hooks" has every hook and every function;
-- /usr/share/doc/wsd/examples/hooks has whole scripts, each with its test.
--
-- Nothing or true: go on. false: no. A value: use this instead.

-- Before the handshake is answered: who may come in?

--function on_connect(conn)
--  if not conn.query.name then
--    return 401, "a name is required"
--  end
--  conn.user = conn.query.name
--end

-- A client has sent something: what is published?

--function on_message(conn, message, channel)
--  if #message > 1000 then
--    return false
--  end
--  return json.encode { from = conn.user, text = message }
--end

-- Before a channel is joined.

--function on_subscribe(conn, channel)
--  log.info("joins", { channel = channel })
--end

-- A connection has ended.

--function on_disconnect(conn, code, reason)
--  log.info("gone", { code = code })
--end
