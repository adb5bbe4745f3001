//! `jwt.verify`: signed tokens (RFC 7519), with a key or a key set (RFC 7517).
//!
//! Signatures are checked by `jsonwebtoken`, the claims here: the clock is the scripts', and claims become Lua values as
//! JSON does elsewhere. What is wrong with a token is `nil` and a reason; what is wrong with the call raises.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, crypto};
use serde::Deserialize;

use super::Entry;
use super::json;
use crate::script::convert::quoted;
use crate::script::raw::Stack;
use crate::script::value::{Kind, Raise};
use crate::script::world::World;

pub(super) const FUNCTIONS: &[Entry] = &[(c"verify", verify)];

/// What a token must keep, as the script gave it.
struct Options {
    algorithm: Algorithm,
    keys: Rc<KeySet>,
    issuers: Option<Vec<String>>,
    audiences: Option<Vec<String>>,
    leeway: f64,
}

/// The keys that a token may be signed with.
pub(in crate::script) struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    key: DecodingKey,
}

/// Keys that were read before.
#[derive(Default)]
pub(in crate::script) struct KeyCache(Vec<Cached>);

struct Cached {
    text: Box<[u8]>,
    is_set: bool,
    algorithm: Algorithm,
    keys: Rc<KeySet>,
}

/// The header's fields that decide.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

/// `jwt.verify(token, { alg, key or jwks, iss, aud, leeway })` → claims, or nil and why.
fn verify(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    stack.set_top(2);
    let options = options(stack, world)?;
    let result = match (stack.kind(1), stack.bytes(1)) {
        (Kind::Nil, _) => Err("no token".to_owned()),
        (_, Some(token)) => {
            let token = token.to_vec();
            signed(&token, &options).and_then(|claims| check(stack, world, &claims, &options))
        }
        _ => {
            let value = quoted(stack, 1);
            return Err(Raise(format!(
                "jwt.verify: the token is {value}; must be a string or nil"
            )));
        }
    };
    match result {
        Ok(()) => Ok(1),
        Err(why) => {
            stack.set_top(2);
            stack.push_nil();
            stack.push_bytes(why.as_bytes());
            Ok(2)
        }
    }
}

/// The claims' text, if one of the keys signed it.
fn signed(token: &[u8], options: &Options) -> Result<Vec<u8>, String> {
    if token.len() > TOKEN_MAX {
        return Err(format!("the token is longer than {TOKEN_MAX} bytes"));
    }
    let malformed = || "this is no token".to_owned();
    let token = std::str::from_utf8(token).map_err(|_| malformed())?;
    let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (header, claims) = message.split_once('.').ok_or_else(malformed)?;
    let read = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed());
    let header: Header = serde_json::from_slice(&read(header)?).map_err(|_| malformed())?;
    let claims = read(claims)?;
    if header.alg != name(options.algorithm) {
        return Err("signed with another algorithm".into());
    }
    if header.crit.is_some() {
        // RFC 7515 §4.1.11: who does not know these extensions must refuse.
        return Err("it demands extensions that wsd does not know".into());
    }
    let of_id = |key: &&Key| match (&header.kid, &key.id) {
        (Some(wanted), Some(id)) => wanted == id,
        _ => true,
    };
    let mut known = false;
    for key in options.keys.0.iter().filter(of_id).take(TRIES) {
        known = true;
        let message = message.as_bytes();
        if crypto::verify(signature, message, &key.key, options.algorithm).unwrap_or(false) {
            return Ok(claims);
        }
    }
    Err(if known {
        "wrong signature"
    } else {
        "signed with an unknown key"
    }
    .into())
}

/// Pushes the claims if they hold now.
fn check(stack: &mut Stack, world: &World, claims: &[u8], options: &Options) -> Result<(), String> {
    let kept = world.kept().map_err(|error| error.0)?;
    json::push_decoded(stack, kept, claims).map_err(|why| format!("the claims: {why}"))?;
    let table = stack.top();
    if stack.kind(table) != Kind::Table || claims.trim_ascii_start().first() != Some(&b'{') {
        return Err("the claims are no object".into());
    }
    let now = (world.host.now)();
    if let Some(end) = seconds(stack, table, "exp")?
        && now - options.leeway >= end
    {
        return Err("expired".into());
    }
    if let Some(begin) = seconds(stack, table, "nbf")?
        && now + options.leeway < begin
    {
        return Err("not valid yet".into());
    }
    if let Some(issuers) = &options.issuers
        && !texts(stack, table, "iss")
            .iter()
            .any(|is| issuers.contains(is))
    {
        return Err("from another issuer".into());
    }
    if let Some(audiences) = &options.audiences
        && !texts(stack, table, "aud")
            .iter()
            .any(|is| audiences.contains(is))
    {
        return Err("for another audience".into());
    }
    stack.set_top(table);
    Ok(())
}

/// A claim that is a time.
fn seconds(stack: &mut Stack, table: i32, claim: &str) -> Result<Option<f64>, String> {
    stack.named(table, claim);
    let place = stack.top();
    let result = match (stack.kind(place), stack.number(place)) {
        (Kind::Nil, _) => Ok(None),
        (_, Some(seconds)) => Ok(Some(seconds)),
        _ => Err(format!("{claim} is no number of seconds")),
    };
    stack.pop();
    result
}

/// A claim that is a text or a list of them.
fn texts(stack: &mut Stack, table: i32, claim: &str) -> Vec<String> {
    stack.named(table, claim);
    let place = stack.top();
    let list = strings(stack, place).unwrap_or_default();
    stack.pop();
    list
}

/// The string, or the list of strings, at `place`; `None` if it is anything else.
fn strings(stack: &mut Stack, place: i32) -> Option<Vec<String>> {
    if let Some(text) = stack.text(place) {
        return Some(vec![text.to_owned()]);
    }
    let length = stack.length(place);
    if stack.kind(place) != Kind::Table || !(1..=LIST_MAX).contains(&length) {
        return None;
    }
    let mut list = Vec::with_capacity(length);
    for n in 1..=length {
        stack.element(place, n);
        let text = stack.text(stack.top()).map(ToOwned::to_owned);
        stack.pop();
        list.push(text?);
    }
    Some(list)
}

/// The table at place 2.
fn options(stack: &mut Stack, world: &World) -> Result<Options, Raise> {
    const WANTED: &str = "must be { alg = …, key = … } or { alg = …, jwks = … }";
    if stack.kind(2) != Kind::Table {
        let kind = stack.kind(2).described();
        return Err(Raise(format!(
            "jwt.verify: the options are {kind}; {WANTED}"
        )));
    }
    let mut from = 0;
    while let Some(next) = stack.next(2, from) {
        from = next;
        let known = ["alg", "key", "jwks", "iss", "aud", "leeway"];
        if !stack.text(3).is_some_and(|name| known.contains(&name)) {
            let name = quoted(stack, 3);
            return Err(Raise(format!(
                "jwt.verify: unknown option {name}; there are alg, key, jwks, iss, aud, leeway"
            )));
        }
        stack.set_top(2);
    }
    stack.named(2, "alg");
    let Some(algorithm) = stack.text(3).and_then(algorithm) else {
        let value = quoted(stack, 3);
        return Err(Raise(format!(
            "jwt.verify: alg is {value}; must be one of HS256, HS384, HS512, RS256, ES256, EdDSA"
        )));
    };
    let keys = keys(stack, world, algorithm)?;
    let mut list = |option: &str| {
        stack.named(2, option);
        let place = stack.top();
        let list = match stack.kind(place) {
            Kind::Nil => Ok(None),
            _ => strings(stack, place).map(Some).ok_or_else(|| {
                let value = quoted(stack, place);
                Raise(format!(
                    "jwt.verify: {option} is {value}; must be a string or a list of strings"
                ))
            }),
        };
        stack.set_top(2);
        list
    };
    let (issuers, audiences) = (list("iss")?, list("aud")?);
    stack.named(2, "leeway");
    let leeway = match (stack.kind(3), stack.number(3)) {
        (Kind::Nil, _) => 0.0,
        (_, Some(seconds)) if seconds.is_finite() && seconds >= 0.0 => seconds,
        _ => {
            let value = quoted(stack, 3);
            return Err(Raise(format!(
                "jwt.verify: leeway is {value}; must be a number of seconds"
            )));
        }
    };
    stack.set_top(2);
    Ok(Options {
        algorithm,
        keys,
        issuers,
        audiences,
        leeway,
    })
}

/// Of the options at place 2; read once for each text.
fn keys(stack: &mut Stack, world: &World, algorithm: Algorithm) -> Result<Rc<KeySet>, Raise> {
    stack.set_top(2);
    stack.named(2, "key");
    stack.named(2, "jwks");
    let (place, is_set) = match (stack.kind(3), stack.kind(4)) {
        (Kind::String, Kind::Nil) => (3, false),
        (Kind::Nil, Kind::String | Kind::Table) => (4, true),
        (Kind::Nil, Kind::Nil) => return Err("jwt.verify: neither key nor jwks is given".into()),
        (Kind::Nil, kind) => {
            let kind = kind.described();
            return Err(Raise(format!(
                "jwt.verify: jwks is {kind}; must be JSON text or a table"
            )));
        }
        (kind, Kind::Nil) => {
            let kind = kind.described();
            return Err(Raise(format!(
                "jwt.verify: key is {kind}; must be a string"
            )));
        }
        _ => return Err("jwt.verify: key and jwks are given; must be one of them".into()),
    };
    let encoded;
    let text = if let Some(text) = stack.bytes(place) {
        text
    } else {
        encoded = json::encode_value(stack, world, place)
            .map_err(|error| Raise(format!("jwt.verify: jwks: {}", error.0)))?;
        &encoded
    };
    if text.len() > KEYS_MAX {
        return Err(Raise(format!(
            "jwt.verify: the key or key set has {} bytes; at most {KEYS_MAX}",
            text.len()
        )));
    }
    let mut cache = world.keys.borrow_mut();
    let found = cache.0.iter().find(|known| {
        known.is_set == is_set && known.algorithm == algorithm && *known.text == *text
    });
    if let Some(found) = found {
        return Ok(Rc::clone(&found.keys));
    }
    let keys = Rc::new(if is_set {
        KeySet::of_set(text, algorithm)?
    } else {
        KeySet::of_key(text, algorithm)?
    });
    if cache.0.len() == CACHED {
        cache.0.remove(0);
    }
    cache.0.push(Cached {
        text: text.into(),
        is_set,
        algorithm,
        keys: Rc::clone(&keys),
    });
    Ok(keys)
}

impl KeySet {
    fn of_key(text: &[u8], algorithm: Algorithm) -> Result<Self, Raise> {
        let key = match algorithm.family() {
            AlgorithmFamily::Hmac if text.is_empty() => {
                return Err("jwt.verify: the key is empty".into());
            }
            // Whoever knows the public key could sign with it as if it were a secret.
            AlgorithmFamily::Hmac if text.trim_ascii_start().starts_with(b"-----BEGIN") => {
                return Err(Raise(format!(
                    "jwt.verify: {} wants a secret, the key is PEM",
                    name(algorithm)
                )));
            }
            AlgorithmFamily::Hmac => Ok(DecodingKey::from_secret(text)),
            AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(text),
            AlgorithmFamily::Ec => DecodingKey::from_ec_pem(text),
            AlgorithmFamily::Ed => DecodingKey::from_ed_pem(text),
        };
        let key = key.map_err(|_| {
            Raise(format!(
                "jwt.verify: the key is no public key for {} in PEM",
                name(algorithm)
            ))
        })?;
        Ok(Self(vec![Key { id: None, key }]))
    }

    /// What of a set fits the algorithm; others, also those that nobody knows, are left out.
    fn of_set(text: &[u8], algorithm: Algorithm) -> Result<Self, Raise> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(text)
            .map_err(|error| Raise(format!("jwt.verify: jwks is no key set: {error}")))?;
        let fits = |jwk: &Jwk| {
            let family = match &jwk.algorithm {
                AlgorithmParameters::EllipticCurve(_) => AlgorithmFamily::Ec,
                AlgorithmParameters::OctetKey(_) => AlgorithmFamily::Hmac,
                AlgorithmParameters::OctetKeyPair(_) => AlgorithmFamily::Ed,
                AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa,
                _ => return false,
            };
            let encrypts = jwk.common.public_key_use == Some(PublicKeyUse::Encryption);
            let other = jwk.common.key_algorithm.as_ref();
            let other = other.is_some_and(|alg| alg.to_string() != name(algorithm));
            family == algorithm.family() && !encrypts && !other
        };
        let keys: Vec<Key> = set
            .keys
            .into_iter()
            .filter_map(|value| serde_json::from_value::<Jwk>(value).ok())
            .filter(fits)
            .filter_map(|jwk| {
                let key = DecodingKey::from_jwk(&jwk).ok()?;
                let id = jwk.common.key_id;
                Some(Key { id, key })
            })
            .collect();
        if keys.is_empty() {
            let name = name(algorithm);
            return Err(Raise(format!("jwt.verify: jwks has no key for {name}")));
        }
        Ok(Self(keys))
    }
}

/// Signs claims: for tests of scripts. `key` is the secret, or a private key in PEM.
pub(in crate::script) fn sign(claims: &[u8], key: &[u8], alg: &str) -> Result<String, String> {
    let algorithm = algorithm(alg)
        .ok_or_else(|| format!("{alg:?} is none of HS256, HS384, HS512, RS256, ES256, EdDSA"))?;
    let key = match algorithm.family() {
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(key),
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(key),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(key),
        AlgorithmFamily::Hmac => Ok(EncodingKey::from_secret(key)),
    };
    let key = key.map_err(|_| format!("the key is no private key for {alg} in PEM"))?;
    let header = format!("{{\"alg\":\"{alg}\",\"typ\":\"JWT\"}}");
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = crypto::sign(message.as_bytes(), &key, algorithm)
        .map_err(|error| format!("the key does not sign: {error}"))?;
    Ok(format!("{message}.{signature}"))
}

fn algorithm(name: &str) -> Option<Algorithm> {
    ALGORITHMS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, algorithm)| *algorithm)
}

fn name(algorithm: Algorithm) -> &'static str {
    ALGORITHMS
        .iter()
        .find(|(_, known)| *known == algorithm)
        .map_or("?", |(name, _)| name)
}

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("ES256", Algorithm::ES256),
    ("EdDSA", Algorithm::EdDSA),
];
/// Bytes of a token: more does not fit into a request anyway.
const TOKEN_MAX: usize = 16 << 10;
/// Bytes of a key or key set: reading as much takes about 1 ms.
const KEYS_MAX: usize = 256 << 10;
/// Keys of a set that are tried for a token without a key id: each may cost 0.1 ms.
const TRIES: usize = 8;
/// Issuers or audiences.
const LIST_MAX: usize = 64;
/// Keys and sets that a state keeps read.
const CACHED: usize = 16;
