//! `crypto`: digests and random bytes. Results are bytes; `crypto.hex` shows them.

use aws_lc_rs::{constant_time, digest, hmac};

use super::Entry;
use crate::script::convert::{argument, quoted};
use crate::script::raw::{Stack, expired};
use crate::script::value::Raise;
use crate::script::world::World;

pub(super) const FUNCTIONS: &[Entry] = &[
    (c"equal", equal),
    (c"hex", hex),
    (c"hmac_sha256", hmac_sha256),
    (c"random", random),
    (c"sha256", sha256),
];

/// `crypto.sha256(data)` → 32 bytes.
fn sha256(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let data = argument(stack, 1, "crypto.sha256", "the data")?;
    let mut context = digest::Context::new(&digest::SHA256);
    for piece in data.chunks(PIECE) {
        context.update(piece);
        if expired() {
            break; // the interrupt strikes when this returns
        }
    }
    let result = context.finish();
    stack.push_bytes(result.as_ref());
    Ok(1)
}

/// `crypto.hmac_sha256(key, data)` → 32 bytes.
fn hmac_sha256(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let key = argument(stack, 1, "crypto.hmac_sha256", "the key")?;
    let data = argument(stack, 2, "crypto.hmac_sha256", "the data")?;
    // A longer key stands for its digest (RFC 2104 §2), which is made here so that it can be stopped.
    let key = if key.len() > PIECE {
        digest::digest(&digest::SHA256, key).as_ref().to_vec()
    } else {
        key.to_vec()
    };
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
    for piece in data.chunks(PIECE) {
        context.update(piece);
        if expired() {
            break; // the interrupt strikes when this returns
        }
    }
    let result = context.sign();
    stack.push_bytes(result.as_ref());
    Ok(1)
}

/// `crypto.random(n)` → so many bytes that nobody can guess.
fn random(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let count = stack
        .number(1)
        .and_then(|n| (0..=RANDOM_MAX).find(|count| f64::from(*count) == n));
    let Some(count) = count else {
        let value = quoted(stack, 1);
        return Err(Raise(format!(
            "crypto.random: {value} is no number of bytes; must be 0 to {RANDOM_MAX}"
        )));
    };
    let mut bytes = vec![0; usize::from(count)];
    getrandom::fill(&mut bytes)
        .map_err(|error| Raise(format!("crypto.random: the system gives none: {error}")))?;
    stack.push_bytes(&bytes);
    Ok(1)
}

/// `crypto.equal(a, b)`: in a time that does not tell where they differ.
fn equal(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let a = argument(stack, 1, "crypto.equal", "the first value")?;
    let b = argument(stack, 2, "crypto.equal", "the second value")?;
    let equal = constant_time::verify_slices_are_equal(a, b).is_ok();
    stack.push_bool(equal);
    Ok(1)
}

/// `crypto.hex(bytes)` → two digits a byte, in lower case.
fn hex(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let data = argument(stack, 1, "crypto.hex", "the value")?;
    if data.len() > HEX_MAX {
        let bytes = data.len();
        return Err(Raise(format!(
            "crypto.hex: the value has {bytes} bytes; at most {HEX_MAX}"
        )));
    }
    let digit = |n: u8| DIGITS.get(usize::from(n)).copied().unwrap_or(b'?');
    let text: Vec<u8> = data
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect();
    stack.push_bytes(&text);
    Ok(1)
}

/// Between two looks at the time: about 0.5 ms.
const PIECE: usize = 256 << 10;
/// Bytes of one call of `crypto.random`.
const RANDOM_MAX: u16 = 4096;
/// Bytes that `crypto.hex` takes: digests and keys, and no time to speak of.
const HEX_MAX: usize = 1 << 20;
