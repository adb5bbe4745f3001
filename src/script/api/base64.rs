//! `base64`: bytes as text and back (RFC 4648 §4), and the form for URLs (§5), which is written without padding.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Entry;
use crate::script::convert::argument;
use crate::script::raw::{Stack, expired};
use crate::script::value::Raise;

pub(super) const FUNCTIONS: &[Entry] = &[
    (c"decode", |stack, _| {
        decode(stack, "base64.decode", &STANDARD)
    }),
    (c"encode", |stack, _| {
        encode(stack, "base64.encode", &STANDARD)
    }),
    (c"url_decode", |stack, _| {
        decode(stack, "base64.url_decode", &URL_READ)
    }),
    (c"url_encode", |stack, _| {
        encode(stack, "base64.url_encode", &URL_SAFE_NO_PAD)
    }),
];

/// Reads with and without padding, as both are about.
const URL_READ: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn encode(stack: &mut Stack, what: &str, form: &GeneralPurpose) -> Result<i32, Raise> {
    let data = argument(stack, 1, what, "the data")?;
    let mut text = String::with_capacity(data.len() / 3 * 4 + 4);
    for piece in data.chunks(PIECE) {
        form.encode_string(piece, &mut text);
        if expired() {
            break; // the interrupt strikes when this returns
        }
    }
    stack.push_bytes(text.as_bytes());
    Ok(1)
}

/// The bytes, or nil and why.
fn decode(stack: &mut Stack, what: &str, form: &GeneralPurpose) -> Result<i32, Raise> {
    let text = argument(stack, 1, what, "the text")?;
    // Padding ends a text, and so must not end a piece of it.
    let padding = memchr::memchr(b'=', text).filter(|at| at + 2 < text.len());
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let mut done = 0;
    let mut wrong = padding.map(|at| format!("invalid byte at {}", at + 1));
    for piece in text.chunks(PIECE / 3 * 4) {
        if wrong.is_some() || expired() {
            break;
        }
        wrong = form.decode_vec(piece, &mut bytes).err().map(|error| {
            use base64::DecodeError::{InvalidByte, InvalidLength, InvalidPadding};
            match error {
                InvalidByte(at, _) => format!("invalid byte at {}", done + at + 1),
                InvalidPadding => "wrong padding at the end".into(),
                InvalidLength(_) => "the text ends in the middle of a byte".into(),
                error @ base64::DecodeError::InvalidLastSymbol(..) => error.to_string(),
            }
        });
        done += piece.len();
    }
    match wrong {
        None => {
            stack.push_bytes(&bytes);
            Ok(1)
        }
        Some(why) => {
            stack.push_nil();
            stack.push_bytes(why.as_bytes());
            Ok(2)
        }
    }
}

/// Bytes between two looks at the time; a multiple of 3, so that pieces join without padding.
const PIECE: usize = 192 << 10;
