//! The server's side of one connection's TLS: records in, plain bytes out, and back.
//!
//! [pure] Sans-io. What came off the socket goes through [`Tunnel::receive`], what is to go out through
//! [`Tunnel::seal`]. What TLS itself has to say (its handshake, alerts) stands in [`Tunnel::outgoing`], as does what was
//! sealed and the socket did not take. The shell is `worker/secure.rs`.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{Error, PeerMisbehaved};

/// Plain bytes of one call of [`Tunnel::seal`]: four records of the largest size.
pub const MOST_PLAIN: usize = 64 << 10;

/// Room for what [`Tunnel::seal`] makes of [`MOST_PLAIN`] bytes. A record holds at most 2^14 of them and adds a header of
/// 5, a nonce of 8 in TLS 1.2, a tag of 16 and in TLS 1.3 a byte for its type (RFC 8446 §5.2, RFC 5246 §6.2.3).
pub const MOST_SEALED: usize = MOST_PLAIN + (MOST_PLAIN / (1 << 14) + 1) * (5 + 8 + 16 + 1);

/// Bytes of a record or of a handshake message that may wait for their rest. A record has at most 2^14 + 2048 bytes
/// and its header (RFC 5246 §6.2.3); a client's messages are far smaller than a record.
const MOST_PENDING: usize = (1 << 14) + 2048 + 5;

/// Why a tunnel is of no more use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// It speaks HTTP without TLS.
    PlainHttp,
    /// Something else that is not to be. The words come from a closed set.
    Tls(&'static str),
}

impl Failure {
    /// Why, for the log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::PlainHttp => "plain HTTP on a port that speaks TLS",
            Self::Tls(reason) => reason,
        }
    }
}

/// What [`Tunnel::receive`] has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The peer has said that nothing more comes.
    Ended,
    /// It goes on.
    More,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing was received.
    New,
    Handshake,
    Open,
    /// The peer has said that nothing more comes; it may still be told something.
    Ended,
    /// It has failed: nothing is read or sealed any more.
    Dead,
    /// The peer speaks without TLS, and can be answered so.
    Plain,
}

/// The server's side of one connection's TLS.
pub struct Tunnel {
    connection: UnbufferedServerConnection,
    /// The beginning of a record whose rest has not come.
    pending: Vec<u8>,
    /// What is to be written, sealed already, before anything that is sealed later.
    outgoing: BytesMut,
    state: State,
}

impl Tunnel {
    /// Of a connection of which no byte was read.
    pub fn new(server: &Arc<ServerConfig>) -> Result<Self, Failure> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(Arc::clone(server))
                .map_err(|error| Failure::Tls(reason(&error)))?,
            pending: Vec::new(),
            outgoing: BytesMut::new(),
            state: State::New,
        })
    }

    /// Whether the handshake is not complete yet.
    #[must_use]
    pub const fn is_handshaking(&self) -> bool {
        matches!(self.state, State::New | State::Handshake)
    }

    /// Whether the peer has said that nothing more comes.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// What must stand before the bytes that are read next.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// What is to be written before anything that is sealed later.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// So many bytes of it were written.
    pub fn advance(&mut self, written: usize) {
        self.outgoing.advance(written.min(self.outgoing.len()));
        if self.outgoing.is_empty() {
            self.outgoing = BytesMut::new();
        }
    }

    /// Keeps what was sealed and the socket did not take.
    pub fn keep(&mut self, sealed: &[u8]) {
        self.outgoing.extend_from_slice(sealed);
    }

    /// Takes [`Self::pending`] and the bytes that came after it; what they hold is added to `plain`.
    ///
    /// The input is used as scratch. After a failure there may be an alert in [`Self::outgoing`].
    pub fn receive(&mut self, input: &mut [u8], plain: &mut BytesMut) -> Result<Progress, Failure> {
        if self.state == State::New && !input.is_empty() {
            self.state = State::Handshake;
            // A record begins with its type, 20 to 23; an HTTP request with a method in capitals (RFC 9110 §9.1).
            if input.first().is_some_and(u8::is_ascii_uppercase) {
                self.state = State::Plain;
                return Err(Failure::PlainHttp);
            }
        }
        self.pending = Vec::new();
        let mut input = input;
        match self.drive(&mut input, plain) {
            Ok(_) if input.len() > MOST_PENDING => {
                self.state = State::Dead;
                Err(Failure::Tls("a handshake message is too long"))
            }
            Ok(progress) => {
                self.pending.extend_from_slice(input);
                if progress == Progress::Ended {
                    self.state = State::Ended;
                }
                Ok(progress)
            }
            Err(failure) => {
                self.state = State::Dead;
                Err(failure)
            }
        }
    }

    /// Encrypts plain bytes, at most [`MOST_PLAIN`], into `room`, at least [`MOST_SEALED`]; returns how many it has become.
    ///
    /// Only when nothing is [`Self::outgoing`], which goes first.
    pub fn seal(&mut self, plain: &[u8], room: &mut [u8]) -> Result<usize, Failure> {
        debug_assert!(self.outgoing.is_empty() && plain.len() <= MOST_PLAIN);
        self.write(|traffic| traffic.encrypt(plain, room))
    }

    /// Adds bytes, encrypted, to those that are to be written; a peer that speaks without TLS gets them as they are.
    pub fn push(&mut self, plain: &[u8]) -> Result<(), Failure> {
        if self.state == State::Plain {
            self.outgoing.extend_from_slice(plain);
            return Ok(());
        }
        let mut room = vec![0; MOST_SEALED];
        for part in plain.chunks(MOST_PLAIN) {
            let sealed = self.write(|traffic| traffic.encrypt(part, &mut room))?;
            self.outgoing
                .extend_from_slice(room.get(..sealed).unwrap_or_default());
        }
        Ok(())
    }

    /// Adds the word that nothing follows (RFC 8446 §6.1) to what is to be written.
    pub fn push_close(&mut self) {
        let mut room = [0; 64];
        if let Ok(sealed) = self.write(|traffic| traffic.queue_close_notify(&mut room)) {
            self.outgoing
                .extend_from_slice(room.get(..sealed).unwrap_or_default());
        }
    }

    fn write(
        &mut self,
        encrypt: impl FnOnce(
            &mut rustls::unbuffered::WriteTraffic<'_, rustls::server::ServerConnectionData>,
        ) -> Result<usize, EncryptError>,
    ) -> Result<usize, Failure> {
        if !matches!(self.state, State::Ended | State::Open) {
            return Err(Failure::Tls("the handshake is not complete"));
        }
        // rustls remembers what it has seen of a record that is not complete, by its place in the input.
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.pending);
        let sealed = match state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => encrypt(&mut traffic),
            Ok(_) => return Err(Failure::Tls("nothing can be sent any more")),
            Err(error) => return Err(Failure::Tls(reason(&error))),
        };
        sealed.map_err(|error| match error {
            EncryptError::EncryptExhausted => Failure::Tls("the keys are worn out"),
            EncryptError::InsufficientSize(_) => Failure::Tls("too little room for a record"),
        })
    }

    /// Has rustls work until it wants more input, which is cut to what is left of it.
    fn drive(&mut self, input: &mut &mut [u8], plain: &mut BytesMut) -> Result<Progress, Failure> {
        let mut progress = Progress::More;
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(input);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| Failure::Tls(reason(&error)))?;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.outgoing, |room| data.encode(room))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => progress = Progress::Ended,
                Ok(ConnectionState::WriteTraffic(_)) => {
                    if self.state == State::Handshake {
                        self.state = State::Open;
                    }
                    cut(input, discard);
                    return Ok(progress);
                }
                Ok(ConnectionState::Closed) => return Ok(Progress::Ended),
                // Early data is not accepted, so none of it comes.
                Ok(_) => {
                    cut(input, discard);
                    return Ok(progress);
                }
                Err(error) => {
                    self.alert(input);
                    return Err(Failure::Tls(reason(&error)));
                }
            }
            cut(input, discard);
        }
    }

    /// Takes what rustls has for the peer after an error: an alert, perhaps behind a part of the handshake.
    fn alert(&mut self, input: &mut [u8]) {
        // Not once more: it would look at the same input again.
        while self.connection.wants_write() {
            let Ok(ConnectionState::EncodeTlsData(mut data)) =
                self.connection.process_tls_records(input).state
            else {
                return;
            };
            if encode(&mut self.outgoing, |room| data.encode(room)).is_err() {
                return;
            }
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tunnel({:?})", self.state)
    }
}

/// Takes so many bytes off the front.
fn cut(input: &mut &mut [u8], discard: usize) {
    let whole = std::mem::take(input);
    *input = whole.get_mut(discard..).unwrap_or_default();
}

/// Adds a record of rustls' own to what is to be written.
fn encode(
    outgoing: &mut BytesMut,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), Failure> {
    let at = outgoing.len();
    let mut room = 0;
    loop {
        outgoing.resize(at + room, 0);
        match encode(outgoing.get_mut(at..).unwrap_or_default()) {
            Ok(written) => {
                outgoing.truncate(at + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(_) => {
                outgoing.truncate(at);
                return Err(Failure::Tls("a record cannot be written"));
            }
        }
    }
}

/// What is wrong, in words of ours: rustls' carry what the peer sent, and there must be few kinds of them.
fn reason(error: &Error) -> &'static str {
    match error {
        Error::InvalidMessage(_) => "what came is no TLS",
        Error::PeerIncompatible(rustls::PeerIncompatible::NoCipherSuitesInCommon) => {
            "no cipher suite in common"
        }
        Error::PeerIncompatible(
            // What came with TLS 1.2.
            rustls::PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | rustls::PeerIncompatible::SupportedVersionsExtensionRequired
            | rustls::PeerIncompatible::Tls12NotOffered
            | rustls::PeerIncompatible::Tls12NotOfferedOrEnabled
            | rustls::PeerIncompatible::Tls13RequiredForQuic,
        ) => "neither TLS 1.2 nor 1.3 offered",
        Error::PeerIncompatible(_) => "nothing in common with what the peer offers",
        Error::PeerMisbehaved(PeerMisbehaved::TooManyRenegotiationRequests) => {
            "it asked to renegotiate"
        }
        Error::PeerMisbehaved(_) => "the peer broke the rules of TLS",
        Error::AlertReceived(rustls::AlertDescription::UnknownCA) => {
            "the peer does not know who issued the certificate"
        }
        Error::AlertReceived(
            rustls::AlertDescription::BadCertificate
            | rustls::AlertDescription::CertificateExpired
            | rustls::AlertDescription::CertificateUnknown,
        ) => "the peer does not accept the certificate",
        Error::AlertReceived(_) => "the peer gave up with an alert",
        Error::NoApplicationProtocol => "ALPN: http/1.1 not offered",
        Error::DecryptError => "a record cannot be decrypted",
        Error::PeerSentOversizedRecord => "a record is too large",
        _ => "the handshake failed",
    }
}
