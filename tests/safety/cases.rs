//! Hostile scripts, each the body of a hook. `src/script/tests/safety.rs` runs them in a state, `tests/behaviour/safety.rs`
//! in a node; both say what they must end with.

/// How a body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ends {
    /// At its time limit.
    Time,
    /// At its memory limit.
    Memory,
    /// At the one that it meets first.
    Cut,
    /// With an error.
    Error,
}

/// Name, what it ends with, body. None of them may look at its surroundings: they run in any hook.
pub(crate) const CASES: &[(&str, Ends, &str)] = &[
    // Endless loops in every disguise.
    ("while true", Ends::Time, "while true do end"),
    ("for to 1e15", Ends::Time, "for i = 1, 1e15 do end"),
    (
        "repeat with garbage",
        Ends::Time,
        "repeat local t = {} until false",
    ),
    (
        "an iterator without end",
        Ends::Time,
        "for _ in function() return 1 end do end",
    ),
    (
        "a generic for over itself",
        Ends::Time,
        "local t = { 1 } while true do for k, v in t do t[1] = v end end",
    ),
    (
        "calls of nothing",
        Ends::Time,
        "local function f() end while true do f() end",
    ),
    (
        "string keys made anew",
        Ends::Time,
        "local t = {} while true do t[tostring(math.random(1000))] = 1 end",
    ),
    // pcall and xpcall.
    (
        "a loop under pcall",
        Ends::Time,
        "while true do pcall(function() while true do end end) end",
    ),
    (
        "pcall of itself",
        Ends::Time,
        "local function f() return f() end while true do pcall(f) end",
    ),
    (
        "pcall inside pcall",
        Ends::Time,
        "local function f() pcall(f) while true do end end f()",
    ),
    (
        "a value after pcall",
        Ends::Time,
        "pcall(function() while true do end end) return 'escaped'",
    ),
    (
        "a loop after pcall",
        Ends::Time,
        "local ok = pcall(function() while true do end end) while true do end",
    ),
    (
        "a handler that loops",
        Ends::Time,
        "xpcall(function() error('x') end, function() while true do end end)",
    ),
    (
        "handlers in a loop",
        Ends::Time,
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
    ),
    (
        "a handler that fails",
        Ends::Time,
        "local function h() error('h') end while true do xpcall(error, h) end",
    ),
    (
        "pcall in a handler",
        Ends::Time,
        "xpcall(function() error('x') end, function() while true do pcall(function() while true do end end) end end)",
    ),
    // Coroutines.
    (
        "a coroutine that loops",
        Ends::Time,
        "coroutine.wrap(function() while true do end end)()",
    ),
    (
        "coroutines in a loop",
        Ends::Time,
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    ),
    (
        "three coroutines deep",
        Ends::Time,
        "local function nest(n) coroutine.wrap(function() if n == 0 then while true do end end nest(n - 1) end)() end nest(3)",
    ),
    (
        "yields without end",
        Ends::Time,
        "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
    ),
    (
        "pcall of a coroutine",
        Ends::Time,
        "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do pcall(co) end",
    ),
    (
        "closing coroutines",
        Ends::Time,
        "while true do local co = coroutine.create(function() coroutine.yield() end) coroutine.resume(co) coroutine.close(co) end",
    ),
    // Patterns.
    (
        ".- fifty times",
        Ends::Time,
        "string.find(('a'):rep(50000), ('.-'):rep(50) .. 'b')",
    ),
    (
        "a? forty times",
        Ends::Time,
        "string.find(('a'):rep(40), ('a?'):rep(40) .. ('a'):rep(40) .. 'b')",
    ),
    (
        "a*b with gsub",
        Ends::Time,
        "string.gsub(('a'):rep(100000), 'a*b', '')",
    ),
    (
        "a*b with gmatch",
        Ends::Time,
        "for _ in string.gmatch(('a'):rep(100000), 'a*b') do end",
    ),
    (
        "a frontier",
        Ends::Time,
        "while true do string.match(('a'):rep(10000), '%f[b].*%f[b]') end",
    ),
    (
        "balanced brackets",
        Ends::Time,
        "while true do string.match(('('):rep(20000), '%b()') end",
    ),
    (
        "a function of gsub",
        Ends::Time,
        "string.gsub('x', 'x', function() while true do end end)",
    ),
    // Functions of the libraries that run long by themselves.
    (
        "plain find, 1 MB in 2 MB",
        Ends::Time,
        "local s, n = ('a'):rep(2e6), ('a'):rep(1e6) .. 'b' while true do string.find(s, n, 1, true) end",
    ),
    (
        "split, 1 MB in 2 MB",
        Ends::Cut,
        "local s, n = ('a'):rep(2e6), ('a'):rep(1e6) .. 'b' while true do string.split(s, n) end",
    ),
    (
        "table.move of 2e9",
        Ends::Time,
        "local t = { 1 } while true do pcall(table.move, t, 1, 2e9, 2) end",
    ),
    (
        "table.insert at the front",
        Ends::Time,
        "local t = {} for i = 1, 1e9 do table.insert(t, 1, nil) t[1] = 1 end",
    ),
    (
        "table.concat",
        Ends::Cut,
        "local t = table.create(100000, 'x') while true do table.concat(t) end",
    ),
    (
        "string.format",
        Ends::Time,
        "while true do string.format(('%99d'):rep(30), table.unpack(table.create(30, 1))) end",
    ),
    (
        "string.pack",
        Ends::Time,
        "while true do string.pack(('z'):rep(100), table.unpack(table.create(100, 'x'))) end",
    ),
    (
        "utf8.codes",
        Ends::Time,
        "local s = ('é'):rep(100000) while true do for _ in utf8.codes(s) do end end",
    ),
    (
        "string.reverse and upper",
        Ends::Cut,
        "local s = ('x'):rep(1e6) while true do s:reverse() s:upper() end",
    ),
    // Sorts.
    (
        "sort with a comparison that loops",
        Ends::Time,
        "table.sort({ 3, 2, 1 }, function() while true do end end)",
    ),
    (
        "sort of 200,000",
        Ends::Time,
        "local t = table.create(200000, 0) for i = 1, #t do t[i] = (i * 7919) % 200003 end while true do table.sort(t) t[1] = 0 end",
    ),
    (
        "sort by a comparison that lies",
        Ends::Time,
        "local t = table.create(5000, 1) while true do pcall(table.sort, t, function() return true end) end",
    ),
    // JSON.
    (
        "json.encode without end",
        Ends::Cut,
        "local t = { 'x' } while true do json.encode(t) end",
    ),
    (
        "json.decode without end",
        Ends::Cut,
        "local d = json.encode(table.create(5000, 'x')) while true do json.decode(d) end",
    ),
    (
        "json.encode of 2^90 values",
        Ends::Time,
        "local a = { 1 } for i = 1, 90 do a = { a, a } end pcall(json.encode, a) return 'escaped'",
    ),
    (
        "json.get without end",
        Ends::Time,
        "local d = json.encode({ a = table.create(5000, 'x') }) while true do json.get(d, 'a.b') end",
    ),
    // Metamethods.
    (
        "__index that loops",
        Ends::Time,
        "local t = setmetatable({}, { __index = function() while true do end end }) return t.x",
    ),
    (
        "__tostring that loops",
        Ends::Time,
        "tostring(setmetatable({}, { __tostring = function() while true do end end }))",
    ),
    (
        "__eq that loops",
        Ends::Time,
        "local m = { __eq = function() while true do end end } return setmetatable({}, m) == setmetatable({}, m)",
    ),
    (
        "__lt in a sort",
        Ends::Time,
        "local m = { __lt = function() while true do end end } table.sort({ setmetatable({}, m), setmetatable({}, m) })",
    ),
    (
        "__concat that loops",
        Ends::Time,
        "return setmetatable({}, { __concat = function() while true do end end }) .. 'x'",
    ),
    (
        "__iter that loops",
        Ends::Time,
        "for _ in setmetatable({}, { __iter = function() while true do end end }) do end",
    ),
    (
        "__len that loops",
        Ends::Time,
        "return #setmetatable({}, { __len = function() while true do end end })",
    ),
    (
        "log of a __tostring that loops",
        Ends::Time,
        "log.debug(setmetatable({}, { __tostring = function() while true do end end }))",
    ),
    // Our own functions.
    (
        "crypto without end",
        Ends::Cut,
        "local s = ('x'):rep(100000) while true do crypto.sha256(s) end",
    ),
    (
        "base64 without end",
        Ends::Cut,
        "local s = ('x'):rep(100000) while true do base64.decode(base64.encode(s)) end",
    ),
    (
        "time.parse without end",
        Ends::Time,
        "while true do time.parse('2026-01-01T00:00:00Z') end",
    ),
    (
        "limit.allow without end",
        Ends::Time,
        "while true do limit.allow('x', 1, 1) end",
    ),
    (
        "shared without end",
        Ends::Time,
        "local d = shared.dict('x') while true do d:incr('n') end",
    ),
    (
        "set of a long list",
        Ends::Cut,
        "local t = table.create(50000, 'x') while true do set(t) end",
    ),
    // Memory.
    (
        "a string that doubles",
        Ends::Memory,
        "local s = 'x' while true do s = s .. s end",
    ),
    ("a string of 1 GB", Ends::Memory, "return ('x'):rep(1e9)"),
    ("a buffer of 1 GB", Ends::Memory, "buffer.create(1e9)"),
    (
        "a table of 50,000,000",
        Ends::Memory,
        "return { table.create(50000000, 1) }",
    ),
    (
        "strings kept",
        Ends::Cut,
        "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
    ),
    (
        "closures kept",
        Ends::Cut,
        "local t = {} while true do t = { t, function() return t end } end",
    ),
    (
        "keys kept",
        Ends::Cut,
        "local t = {} for i = 1, 1e9 do t['k' .. i] = i end",
    ),
    (
        "coroutines kept",
        Ends::Cut,
        "local t = {} while true do local co = coroutine.create(function() coroutine.yield() end) coroutine.resume(co) t[#t + 1] = co end",
    ),
    (
        "a memory error caught",
        Ends::Memory,
        "for _ = 1, 3 do pcall(string.rep, 'x', 1e9) end return 'escaped'",
    ),
    (
        "memory errors caught in a loop",
        Ends::Cut,
        "local t = {} while true do pcall(function() t[#t + 1] = ('x'):rep(100000) .. #t end) end",
    ),
    (
        "a memory error in a coroutine",
        Ends::Memory,
        "coroutine.resume(coroutine.create(function() return ('x'):rep(1e9) end)) return 'escaped'",
    ),
    (
        "a memory error in a handler",
        Ends::Memory,
        "xpcall(error, function() return ('x'):rep(1e9) end) return 'escaped'",
    ),
    (
        "table.concat of much",
        Ends::Cut,
        "local t = table.create(1000, ('x'):rep(1e5)) return table.concat(t)",
    ),
    (
        "gsub that grows",
        Ends::Cut,
        "local s = ('x'):rep(1000) while true do s = s:gsub('x', 'xx') end",
    ),
    (
        "unpack of much",
        Ends::Error,
        "return select('#', table.unpack(table.create(1000000, 1)))",
    ),
    // Recursion.
    (
        "recursion",
        Ends::Error,
        "local function f() return 1 + f() end return f()",
    ),
    (
        "recursion through __index",
        Ends::Error,
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k .. 'x'] end return t.x",
    ),
    (
        "recursion through gsub",
        Ends::Error,
        "local function f(s) return string.gsub(s, '.', f) end return f('x')",
    ),
    (
        "recursion through coroutines",
        Ends::Error,
        "local function f() return coroutine.wrap(f)() end return f()",
    ),
    (
        "recursion through sort",
        Ends::Error,
        "local function f(a, b) table.sort({ 2, 1 }, f) return a < b end table.sort({ 2, 1 }, f)",
    ),
    (
        "recursion through tostring",
        Ends::Error,
        "local m = {} m.__tostring = function(t) return tostring(t) end return tostring(setmetatable({}, m))",
    ),
    (
        "150 tables to be JSON",
        Ends::Error,
        "local t = {} for i = 1, 150 do t = { t } end return t",
    ),
    (
        "a table in itself to be JSON",
        Ends::Error,
        "local t = {} t.t = t return t",
    ),
    (
        "100,000 brackets of JSON",
        Ends::Error,
        "error((select(2, json.decode(('['):rep(100000)))))",
    ),
    // Error objects.
    (
        "an error with a __tostring that loops",
        Ends::Error,
        "error(setmetatable({}, { __tostring = function() while true do end end }))",
    ),
    ("an error of 1 MB", Ends::Error, "error(('x'):rep(1e6))"),
    (
        "an error that is a coroutine",
        Ends::Error,
        "error(coroutine.create(function() end))",
    ),
    ("an error that is nil", Ends::Error, "error(nil)"),
    (
        "a yield outside a coroutine",
        Ends::Error,
        "coroutine.yield()",
    ),
    // What others share.
    (
        "the metatable of strings",
        Ends::Error,
        "getmetatable('').__index.upper = print",
    ),
    ("another string.upper", Ends::Error, "string.upper = print"),
    (
        "a field of json",
        Ends::Error,
        "rawset(json, 'decode', print)",
    ),
    (
        "another metatable of conn's",
        Ends::Error,
        "setmetatable(_G, {})",
    ),
    ("a setting", Ends::Error, "wsd.settings.x = 1"),
];
