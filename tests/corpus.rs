//! Every fuzz body over the committed corpus, and over random input that is nearly right.
//!
//! A failure names the file or the seed; `WSD_SEED=0x… cargo test --test corpus` begins with that seed. An input that once
//! broke something becomes a file under `tests/corpus/`, named for what is in it.

use std::fs;
use std::path::Path;

use wsd::fuzzing;

/// Seeds that each body is run with.
const ROUNDS: u64 = 5000;

#[test]
fn handshakes_keep_their_promises() {
    corpus("handshake", fuzzing::handshake);
    seeds(|dice| {
        let mut request = REQUEST.to_vec();
        for _ in 0..dice.below(4) {
            dice.damage(&mut request);
        }
        fuzzing::handshake(&request);
    });
}

#[test]
fn proxy_headers_keep_their_promises() {
    corpus("proxy_header", fuzzing::proxy_header);
    seeds(|dice| {
        let mut header = proxy_header(dice);
        for _ in 0..dice.below(3) {
            dice.damage(&mut header);
        }
        fuzzing::proxy_header(&header);
    });
}

#[test]
fn sessions_keep_their_promises() {
    corpus("session", fuzzing::session);
    seeds(|dice| fuzzing::session(&conversation(dice, true)));
}

#[test]
fn offers_keep_their_promises() {
    corpus("negotiation", fuzzing::negotiation);
    seeds(|dice| fuzzing::negotiation(&offers(dice)));
}

#[test]
fn compressed_messages_keep_their_promises() {
    corpus("inflate", fuzzing::inflate);
    seeds(|dice| {
        let mut data = vec![dice.byte(), dice.byte() % 32];
        let len = dice.below(3000);
        let message = text(dice, len);
        data.extend(deflate(dice, &message));
        for _ in 0..dice.below(3) {
            dice.damage(&mut data);
        }
        fuzzing::inflate(&data);
    });
}

#[test]
fn frames_that_are_written_can_be_read() {
    corpus("frame", fuzzing::frame);
    seeds(|dice| {
        let mut data: Vec<u8> = (0..8).map(|_| dice.byte()).collect();
        let len = dice.below(2000);
        data.extend(text(dice, len));
        fuzzing::frame(&data);
    });
}

#[test]
fn configurations_keep_their_promises() {
    corpus("configuration", fuzzing::configuration);
    let shipped = include_bytes!("../etc/demo.toml");
    seeds(|dice| {
        // Reading one takes a hundred times as long as the others.
        if dice.below(10) == 0 {
            let mut text = shipped.to_vec();
            for _ in 0..dice.below(4) {
                dice.damage(&mut text);
            }
            fuzzing::configuration(&text);
        }
    });
}

#[test]
fn frames_of_servers_are_read_the_same_in_any_pieces() {
    corpus("server_frames", fuzzing::server_frames);
    seeds(|dice| fuzzing::server_frames(&conversation(dice, false)));
}

/// Scripts that random bytes write. `WSD_FUZZ_SECONDS=600` goes on with other seeds for ten minutes.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a run that was asked for has its length by the clock"
)]
fn random_scripts_end_in_time_and_leave_their_state_usable() {
    let script = |dice: &mut Dice| -> Vec<u8> {
        let len = 50 + dice.below(1500);
        (0..len).map(|_| dice.byte()).collect()
    };
    some_seeds(200, |dice| fuzzing::scripts(&script(dice)));
    let Ok(seconds) = std::env::var("WSD_FUZZ_SECONDS") else {
        return;
    };
    let seconds = seconds
        .parse()
        .expect("WSD_FUZZ_SECONDS must be a number of seconds");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    let mut seed = 1 << 32;
    while std::time::Instant::now() < end {
        let _named = Named(format!("WSD_SEED={seed:#x}"));
        fuzzing::scripts(&script(&mut Dice(seed)));
        seed += 1;
    }
    let count = seed - (1 << 32);
    println!("{count} scripts in {seconds} s");
}

#[test]
fn any_bytes_at_all_do_no_harm() {
    seeds(|dice| {
        let len = dice.below(300);
        let bytes: Vec<u8> = (0..len).map(|_| dice.byte()).collect();
        fuzzing::handshake(&bytes);
        fuzzing::proxy_header(&bytes);
        fuzzing::session(&bytes);
        fuzzing::server_frames(&bytes);
        fuzzing::negotiation(&bytes);
        fuzzing::inflate(&bytes);
        fuzzing::frame(&bytes);
        fuzzing::configuration(&bytes);
    });
}

const REQUEST: &[u8] = b"GET /chat?token=a%20b HTTP/1.1\r\nHost: example.com:8080\r\n\
    Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: wsd.v1, chat\r\nOrigin: https://example.com\r\n\r\n";

/// A header of either version, with what may follow it.
fn proxy_header(dice: &mut Dice) -> Vec<u8> {
    if dice.below(2) == 0 {
        let lines: [&[u8]; 4] = [
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 80\r\n",
            b"PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 0 65535\r\n",
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nGET / HTTP/1.1\r\n",
        ];
        return lines[dice.below(lines.len())].to_vec();
    }
    let kinds = [0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32, dice.byte()];
    let kind = kinds[dice.below(kinds.len())];
    let addresses = match kind >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    let len = match dice.below(20) {
        0 => dice.below(0x1_0000),
        1 => dice.below(addresses + 1),
        _ => addresses + dice.below(50),
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.push(0x20 + u8::from(dice.below(4) > 0));
    header.push(kind);
    header.extend(u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    header.extend((0..len + dice.below(8)).map(|_| dice.byte()));
    header
}

/// Feeds each file of a folder to a body, as it is, cut short, and with other first bytes, where the seed of cuts is.
#[expect(clippy::panic, reason = "a corpus that cannot be read is a failure")]
fn corpus(name: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut count = 0;
    for file in files.flatten() {
        let path = file.path();
        let data = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let _named = Named(format!("{}", path.display()));
        body(&data);
        let mut dice = Dice(1);
        for _ in 0..20 {
            let mut other = data.clone();
            for byte in other.iter_mut().take(8).filter(|_| has_seed(name)) {
                *byte = dice.byte();
            }
            body(&other);
            other.truncate(dice.below(data.len() + 1));
            body(&other);
        }
        count += 1;
    }
    assert!(count > 3, "{folder:?} has only {count} files");
}

/// Whether the first eight bytes of such an input are a seed and no content.
fn has_seed(name: &str) -> bool {
    matches!(name, "frame" | "server_frames" | "session")
}

/// Runs `body` with [`ROUNDS`] seeds, of which `WSD_SEED` may name the first.
fn seeds(body: impl Fn(&mut Dice)) {
    some_seeds(ROUNDS, body);
}

/// The same with so many of them.
#[expect(
    clippy::expect_used,
    reason = "a seed that cannot be read is a failure"
)]
fn some_seeds(rounds: u64, body: impl Fn(&mut Dice)) {
    let first = std::env::var("WSD_SEED").map_or(0, |text| {
        let digits = text.trim_start_matches("0x");
        u64::from_str_radix(digits, 16).expect("WSD_SEED must be a hexadecimal number")
    });
    for seed in first..first.saturating_add(rounds) {
        let _named = Named(format!("WSD_SEED={seed:#x}"));
        body(&mut Dice(seed));
    }
}

/// Lines of offers that are mostly right.
fn offers(dice: &mut Dice) -> Vec<u8> {
    const PIECES: [&str; 16] = [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "; server_max_window_bits=10",
        "; client_max_window_bits=\"15\"",
        "; server_no_context_takeover",
        "; client_no_context_takeover",
        ", ",
        ",",
        "\n",
        "x-other; a=1",
        "; unknown",
        "=7",
        "\"",
        "\\",
        " ",
        ";",
    ];
    let mut offers = PIECES[0].as_bytes().to_vec();
    for _ in 0..dice.below(8) {
        let piece = PIECES[dice.below(PIECES.len())];
        offers.extend_from_slice(piece.as_bytes());
    }
    if dice.below(4) == 0 {
        dice.damage(&mut offers);
    }
    offers
}

/// A compressed message as some sender or other writes it.
#[expect(clippy::expect_used, reason = "what cannot be compressed is a failure")]
fn deflate(dice: &mut Dice, message: &[u8]) -> Vec<u8> {
    use flate2::{Compress, Compression, FlushCompress};
    let level = Compression::new(u32::from(dice.byte() % 10));
    let mut stream = Compress::new(level, false);
    let mut out = Vec::with_capacity(message.len() * 2 + 100);
    let flush = match dice.below(3) {
        0 => FlushCompress::Finish,
        _ => FlushCompress::Sync,
    };
    let (first, second) = message.split_at(dice.below(message.len() + 1));
    let written = stream.compress_vec(first, &mut out, FlushCompress::Sync);
    written.expect("the first part");
    let written = stream.compress_vec(second, &mut out, flush);
    written.expect("the second part");
    if flush == FlushCompress::Finish {
        out.push(0);
    } else if out.ends_with(&[0, 0, 0xff, 0xff]) {
        out.truncate(out.len() - 4);
    }
    out
}

/// A seed of cuts, then frames of a client or a server that are mostly right, sometimes damaged.
fn conversation(dice: &mut Dice, masked: bool) -> Vec<u8> {
    let mut data: Vec<u8> = (0..8).map(|_| dice.byte()).collect();
    let mut open = false;
    for _ in 0..dice.below(30) {
        let control = dice.below(4) == 0;
        let fin = control || dice.below(3) > 0;
        let opcode = match (control, open, dice.below(30)) {
            (_, _, 0) => dice.byte() & 0x0f,
            (true, _, 1..=2) => 8,
            (true, _, other) => 9 + u8::from(other % 2 == 0),
            (false, true, _) => 0,
            (false, false, other) => 1 + u8::from(other % 3 == 0),
        };
        open = if control { open } else { !fin };
        let len = match dice.below(20) {
            0 => 126 + dice.below(300),
            1 => 1990 + dice.below(20),
            _ => dice.below(20),
        };
        let mut rsv1 = 0;
        let payload = match opcode {
            // Some of a message that is compressed, in one frame.
            1 | 2 if masked && fin && dice.below(3) == 0 => {
                rsv1 = 0x40;
                let message = text(dice, len);
                deflate(dice, &message)
            }
            8 => [&[3, 232 + dice.byte() % 4][..], b"bye"].concat(),
            _ => text(dice, if control { len % 126 } else { len }),
        };
        frame(
            &mut data,
            dice,
            u8::from(fin) << 7 | rsv1 | opcode,
            &payload,
            masked,
        );
    }
    if dice.below(3) == 0 {
        dice.damage(&mut data);
    }
    data
}

/// UTF-8 of at least `len` bytes, or what is no UTF-8 once in a while.
fn text(dice: &mut Dice, len: usize) -> Vec<u8> {
    let pieces: [&[u8]; 6] = [
        b"a",
        b" ",
        "é".as_bytes(),
        "€".as_bytes(),
        "😀".as_bytes(),
        b"\xe2",
    ];
    let mut text = Vec::new();
    while text.len() < len {
        let most = if dice.below(100) == 0 { 6 } else { 5 };
        text.extend(
            pieces
                .iter()
                .cycle()
                .nth(dice.below(most))
                .copied()
                .unwrap_or_default(),
        );
    }
    // Mostly cut between characters.
    if dice.below(20) == 0 {
        text.truncate(len);
    }
    text
}

fn frame(out: &mut Vec<u8>, dice: &mut Dice, first: u8, payload: &[u8], masked: bool) {
    let bit = u8::from(masked) << 7;
    out.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(bit | short),
        (_, Ok(medium)) => {
            out.push(bit | 126);
            out.extend(medium.to_be_bytes());
        }
        _ => {
            out.push(bit | 127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    let mask: [u8; 4] = if masked {
        std::array::from_fn(|_| dice.byte())
    } else {
        [0; 4]
    };
    if masked {
        out.extend(mask);
    }
    out.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
}

/// Says which input it was if the test panics.
struct Named(String);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "this is the report of a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with {}", self.0);
        }
    }
}

/// Numbers that look random and are the same for the same seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`; 0 if `n` is 0.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % (n.max(1) as u64)).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }

    /// Changes one place: a byte gone, come, other, doubled, or all behind it gone.
    fn damage(&mut self, data: &mut Vec<u8>) {
        let at = self.below(data.len());
        if data.is_empty() {
            return;
        }
        match self.below(5) {
            0 => drop(data.remove(at)),
            1 => data.insert(at, b"\r\n :,\0\xff"[self.below(7)]),
            2 => data.insert(at, data[at]),
            3 => data.truncate(at),
            _ => data[at] = self.byte(),
        }
    }
}
