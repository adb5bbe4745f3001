--!strict
-- echo.lua: whoever says something hears it back, and nobody else does.
--
-- A hook is a function with a name that wsd knows. on_message is called for each message that a client sends, before
-- anybody else gets it. What it returns decides: nothing or true lets the message go on, false stops it, and a string or
-- a table is published instead.
--
-- "--!strict" and the types (": Conn") are for the editor, which then completes and checks what you write; wsd takes scripts
-- with them and without. See packaging/editor/wsd.d.luau.

function on_message(conn: Conn, message: string): ...any
  conn:send("You said: " .. message)   -- to this connection alone
  return false                         -- and no further
end
