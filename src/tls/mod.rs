//! TLS: what is proven with (a certificate and its key), and the protocol of one connection as bytes in, bytes out.
//!
//! Knows nothing of configuration, sockets or workers. `identity.rs` turns the two files into something that can serve,
//! or says what is wrong with them; `config` calls it, so that a bad certificate is a problem of the file like any other.
//! `tunnel.rs` is the server's side of one connection; `worker` moves its bytes. `trust.rs` is for wsd as a client, of Redis.
//!
//! # Why rustls' unbuffered interface
//!
//! A worker reads a connection in one task and writes all connections from another, so a stream that owns its socket does
//! not fit. Bytes in and bytes out do, and without buffers of rustls' own a quiet connection keeps none: what arrives is
//! decrypted from the buffer that the worker lends, what goes out is encrypted into another one.

mod identity;
#[cfg(test)]
mod tests;
mod trust;
mod tunnel;

pub use identity::{CertificateError, Identity, KeyError, Moment, Validity};
pub use trust::{TrustError, client, explain};
pub use tunnel::{Failure, MOST_PLAIN, MOST_SEALED, Progress, Tunnel};
