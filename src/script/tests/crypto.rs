//! `crypto`, `base64`, `ip` and `jwt`, as scripts see them.

use super::*;

/// Runs `body` with what it is given as `m`; its result's text.
fn eval(body: &str, m: &str) -> String {
    let script = format!("function on_message(conn, m) {body} end");
    Scripts::one(&script).reply(m)
}

#[test]
fn digests_are_the_published_ones() {
    // FIPS 180-2 B.1, RFC 4231 §4.3.
    assert_eq!(
        eval("return crypto.hex(crypto.sha256('abc'))", ""),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(
        eval(
            "return crypto.hex(crypto.hmac_sha256('Jefe', 'what do ya want for nothing?'))",
            ""
        ),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    // Pieces join: 1 MiB of "a".
    assert_eq!(
        eval("return crypto.hex(crypto.sha256(('a'):rep(1048576)))", ""),
        "9bc1b2a288b26af7257a36277ae3816a7d4f16e89c1e7e77d0a5c48bad62b360"
    );
    // A key longer than a block stands for its digest (RFC 4231 §4.7).
    assert_eq!(
        eval(
            "return crypto.hex(crypto.hmac_sha256(('\\xaa'):rep(131), 'Test Using Larger Than Block-Size Key - Hash Key First'))",
            ""
        ),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    );
}

#[test]
fn crypto_compares_shows_and_draws() {
    let body = "assert(crypto.equal('a', 'a') and not crypto.equal('a', 'b') and not crypto.equal('a', 'ab'))
        assert(crypto.hex('\\0\\255z') == '00ff7a' and crypto.hex('') == '')
        assert(#crypto.random(32) == 32 and crypto.random(16) ~= crypto.random(16) and crypto.random(0) == '')
        return 'fine'";
    assert_eq!(eval(body, ""), "fine");
    for (call, why) in [
        (
            "crypto.random(4097)",
            "crypto.random: 4097 is no number of bytes; must be 0 to 4096",
        ),
        (
            "crypto.random(0/0)",
            "crypto.random: NaN is no number of bytes; must be 0 to 4096",
        ),
        (
            "crypto.sha256(1)",
            "crypto.sha256: the data is a number; must be a string",
        ),
        (
            "crypto.equal('a')",
            "crypto.equal: the second value is nil; must be a string",
        ),
        (
            "crypto.hmac_sha256({}, '')",
            "crypto.hmac_sha256: the key is a table; must be a string",
        ),
    ] {
        let mut s = Scripts::one(&format!("function on_message() {call} end"));
        assert_eq!(s.fault("x"), format!("hooks/a.lua:1: on_message: {why}"));
    }
}

#[test]
fn base64_goes_both_ways() {
    let body = "for n = 0, 40 do
          local data = crypto.random(n)
          assert(base64.decode(base64.encode(data)) == data)
          assert(base64.url_decode(base64.url_encode(data)) == data)
          assert(not base64.url_encode(data):find('[^%w_-]'))
        end
        local big = ('xyz'):rep(100000)
        assert(base64.decode(base64.encode(big)) == big)
        assert(base64.encode('\\255\\254') == '//4=' and base64.url_encode('\\255\\254') == '__4')
        assert(base64.url_decode('__4=') == '\\255\\254')
        local text, why = base64.decode(m)
        return tostring(text) .. ': ' .. tostring(why)";
    for (text, answer) in [
        ("aGk=", "hi: nil"),
        ("aGk", "nil: wrong padding at the end"),
        ("aG=k", "nil: invalid byte at 3"),
        ("aA==aA==", "nil: invalid byte at 3"),
        ("a b=", "nil: invalid byte at 2"),
        ("", ": nil"),
    ] {
        assert_eq!(eval(body, text), answer, "{text}");
    }
}

#[test]
fn networks_and_nonsense() {
    assert_eq!(
        eval("return tostring(ip.within(m, '10.0.0.0/8'))", "10.1.2.3"),
        "true"
    );
    let mut s = Scripts::one("function on_message(c, m) return tostring(ip.within(m, m)) end");
    assert_eq!(
        s.fault(""),
        "hooks/a.lua:1: on_message: ip.within: \"\" is no address; must be like \"192.0.2.1\" or \"2001:db8::1\""
    );
}

const RSA: &str = include_str!("keys/rsa.pem");
const EC: &str = include_str!("keys/ec.pem");
const ED: &str = include_str!("keys/ed.pem");
const SET: &str = include_str!("keys/set.json");
const PUBLIC: [&str; 3] = [
    include_str!("keys/rsa_public.pem"),
    include_str!("keys/ec_public.pem"),
    include_str!("keys/ed_public.pem"),
];

use crate::script::api::jwt::sign;

/// What `jwt.verify(m, options)` says of a token: the claims as JSON, or why not. The clock shows 1000.5.
fn verify(options: &str, token: &str) -> String {
    let files = [
        (
            "hooks/a.lua",
            &*format!(
                "local rsa, ec, ed, keys = wsd.secret 'rsa', wsd.secret 'ec', wsd.secret 'ed', wsd.secret 'keys'
                 function on_message(conn, m)
                   if m == 'nil' then m = nil end
                   local claims, why = jwt.verify(m, {options})
                   return why or json.encode(claims)
                 end"
            ),
        ),
        ("secrets/rsa", PUBLIC[0]),
        ("secrets/ec", PUBLIC[1]),
        ("secrets/ed", PUBLIC[2]),
        ("secrets/keys", SET),
    ];
    let mut s = Scripts::of(&files);
    let reply = s.reply(token);
    s.bare(&reply)
}

#[test]
fn tokens_are_verified_with_every_algorithm() {
    let claims = br#"{"sub":"ann"}"#;
    for (alg, key, options) in [
        ("HS256", "s", "{ alg = 'HS256', key = 's' }"),
        ("HS384", "s", "{ alg = 'HS384', key = 's' }"),
        ("HS512", "s", "{ alg = 'HS512', key = 's' }"),
        ("RS256", RSA, "{ alg = 'RS256', key = rsa }"),
        ("ES256", EC, "{ alg = 'ES256', key = ec }"),
        ("EdDSA", ED, "{ alg = 'EdDSA', key = ed }"),
        ("RS256", RSA, "{ alg = 'RS256', jwks = keys }"),
        ("ES256", EC, "{ alg = 'ES256', jwks = json.decode(keys) }"),
        ("EdDSA", ED, "{ alg = 'EdDSA', jwks = keys }"),
    ] {
        let token = sign(claims, key.as_bytes(), alg).unwrap();
        assert_eq!(verify(options, &token), r#"{"sub":"ann"}"#, "{options}");
        // One bit of the signature.
        let last = if token.ends_with('A') { "Q" } else { "A" };
        let bad = format!("{}{last}", &token[..token.len() - 1]);
        let why = verify(options, &bad);
        assert!(why == "wrong signature", "{alg}: {why}");
        // Other claims under the same signature.
        let (head, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let bad = format!("{head}.eyJzdWIiOiJib2IifQ.{signature}");
        assert_eq!(verify(options, &bad), "wrong signature", "{alg}");
    }
}

#[test]
fn what_a_token_must_keep() {
    let token = |claims: &str| sign(claims.as_bytes(), b"s", "HS256").unwrap();
    let plain = "{ alg = 'HS256', key = 's' }";
    let late = "{ alg = 'HS256', key = 's', leeway = 30 }";
    let iss = "{ alg = 'HS256', key = 's', iss = { 'a', 'b' } }";
    let aud = "{ alg = 'HS256', key = 's', aud = 'me' }";
    for (options, claims, answer) in [
        (plain, r#"{"exp":1000}"#, "expired"),
        (plain, r#"{"exp":1001}"#, r#"{"exp":1001}"#),
        (late, r#"{"exp":971}"#, r#"{"exp":971}"#),
        (late, r#"{"exp":970}"#, "expired"),
        (plain, r#"{"nbf":1001}"#, "not valid yet"),
        (late, r#"{"nbf":1030}"#, r#"{"nbf":1030}"#),
        (plain, r#"{"exp":"1"}"#, "exp is no number of seconds"),
        (iss, r#"{"iss":"b"}"#, r#"{"iss":"b"}"#),
        (iss, r#"{"iss":"c"}"#, "from another issuer"),
        (iss, "{}", "from another issuer"),
        (aud, r#"{"aud":["x","me"]}"#, r#"{"aud":["x","me"]}"#),
        (aud, r#"{"aud":"x"}"#, "for another audience"),
        (
            plain,
            r#"{"id":12345678901234567890}"#,
            r#"{"id":12345678901234567890}"#,
        ),
        (plain, "[]", "the claims are no object"),
        (plain, "7", "the claims are no object"),
        (plain, "{", "the claims: expected a key in quotes at byte 2"),
    ] {
        assert_eq!(
            verify(options, &token(claims)),
            answer,
            "{claims} {options}"
        );
    }
    assert_eq!(verify(plain, "nil"), "no token");
    for bad in [
        "",
        "a",
        "a.b",
        "a.b.c",
        "..",
        "....",
        "é.é.é",
        "e30.e30.e30",
    ] {
        assert_eq!(verify(plain, bad), "this is no token", "{bad}");
    }
    let long = "x".repeat(17_000);
    assert_eq!(verify(plain, &long), "the token is longer than 16384 bytes");
}

#[test]
fn nobody_chooses_the_algorithm_but_the_script() {
    let claims = br#"{"sub":"eve"}"#;
    let public = sign(claims, PUBLIC[0].as_bytes(), "HS256").unwrap();
    assert_eq!(
        verify("{ alg = 'RS256', key = rsa }", &public),
        "signed with another algorithm"
    );
    assert_eq!(
        verify("{ alg = 'HS256', key = rsa }", &public),
        "hooks/a.lua:4: on_message: jwt.verify: HS256 wants a secret, the key is PEM"
    );
    // {"alg":"none"}
    assert_eq!(
        verify("{ alg = 'HS256', key = 's' }", "eyJhbGciOiJub25lIn0.e30."),
        "signed with another algorithm"
    );
    // {"alg":"HS256","crit":["x"]}
    let token = sign(claims, b"s", "HS256").unwrap();
    let (_, rest) = token.split_once('.').unwrap();
    let critical = format!("eyJhbGciOiJIUzI1NiIsImNyaXQiOlsieCJdfQ.{rest}");
    assert_eq!(
        verify("{ alg = 'HS256', key = 's' }", &critical),
        "it demands extensions that wsd does not know"
    );
    for (options, why) in [
        (
            "nil",
            "the options are nil; must be { alg = …, key = … } or { alg = …, jwks = … }",
        ),
        (
            "{ key = 's' }",
            "alg is nil; must be one of HS256, HS384, HS512, RS256, ES256, EdDSA",
        ),
        (
            "{ alg = 'none', key = 's' }",
            "alg is \"none\"; must be one of HS256, HS384, HS512, RS256, ES256, EdDSA",
        ),
        ("{ alg = 'HS256' }", "neither key nor jwks is given"),
        ("{ alg = 'HS256', key = '' }", "the key is empty"),
        (
            "{ alg = 'HS256', key = 's', jwks = '{}' }",
            "key and jwks are given; must be one of them",
        ),
        (
            "{ alg = 'HS256', key = 's', issuer = 'x' }",
            "unknown option \"issuer\"; there are alg, key, jwks, iss, aud, leeway",
        ),
        (
            "{ alg = 'HS256', key = 's', leeway = 1/0 }",
            "leeway is inf; must be a number of seconds",
        ),
        (
            "{ alg = 'HS256', key = 's', aud = {} }",
            "aud is a table; must be a string or a list of strings",
        ),
        (
            "{ alg = 'RS256', key = ec }",
            "the key is no public key for RS256 in PEM",
        ),
        (
            "{ alg = 'RS256', key = 'x' }",
            "the key is no public key for RS256 in PEM",
        ),
        (
            "{ alg = 'HS256', jwks = keys }",
            "jwks has no key for HS256",
        ),
        (
            "{ alg = 'RS256', jwks = (' '):rep(300000) }",
            "the key or key set has 300000 bytes; at most 262144",
        ),
        (
            "{ alg = 'RS256', jwks = 'x' }",
            "jwks is no key set: expected value at line 1 column 1",
        ),
    ] {
        let expected = format!("hooks/a.lua:4: on_message: jwt.verify: {why}");
        assert_eq!(verify(options, &token), expected, "{options}");
    }
}
