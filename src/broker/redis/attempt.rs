//! One try to make the links that are missing.
//!
//! `thread.rs` begins it, polls it, and may drop it at any time. It ends within a few seconds: `socket.rs` has the limit.

use std::future::Future;
use std::time::Instant;

use crate::config::Broker;
use crate::types::NodeId;

use super::link_error::LinkError;
use super::publisher::Publisher;
use super::socket::{Purpose, Stream, connect};

/// A try under way.
pub(super) type Attempt = dyn Future<Output = Result<Links, LinkError>>;

/// Which links are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub(super) publisher: bool,
    pub(super) subscriber: bool,
}

/// What was made of what is missing: all of it.
pub(super) struct Links {
    pub(super) publisher: Option<Publisher>,
    /// Its handshake is done.
    pub(super) subscriber: Option<Stream>,
}

/// Makes them one after the other, so that a fault is found and named once.
pub(super) async fn links(
    now: Instant,
    config: Broker,
    node: NodeId,
    needs: Needs,
) -> Result<Links, LinkError> {
    let subscriber = if needs.subscriber {
        Some(connect(&config, node, Purpose::Subscriber).await?)
    } else {
        None
    };
    let publisher = if needs.publisher {
        let stream = connect(&config, node, Purpose::Publisher).await?;
        Some(Publisher::new(now, stream, node, &config.prefix).await?)
    } else {
        None
    };
    Ok(Links {
        publisher,
        subscriber,
    })
}
