//! One try to make the links that are missing.
//!
//! `thread.rs` begins it, polls it, and may drop it at any time. It ends within a few seconds: `socket.rs` has the limit.

use std::future::Future;
use std::time::Instant;

use crate::config::{Broker, BrokerUrl, Host};
use crate::types::NodeId;

use super::link_error::LinkError;
use super::publisher::Publisher;
use super::sentinel::{self, Master};
use super::socket::{Purpose, Stream, connect};

/// A try under way.
pub(super) type Attempt = dyn Future<Output = Result<Links, LinkError>>;

/// Which links are missing.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    pub(super) publisher: bool,
    pub(super) subscriber: bool,
    /// Where the other one goes, by the sentinels: both must go to the same.
    pub(super) stays: Option<Host>,
}

/// What was made of what is missing: all of it.
pub(super) struct Links {
    pub(super) publisher: Option<Publisher>,
    /// Its handshake is done.
    pub(super) subscriber: Option<Stream>,
    /// Where they go, with sentinels.
    pub(super) master: Option<Master>,
}

/// Makes them; with sentinels to the first of those that they name which is the master.
pub(super) async fn links(
    now: Instant,
    config: Broker,
    node: NodeId,
    needs: Needs,
) -> Result<Links, LinkError> {
    if !matches!(config.url, BrokerUrl::Sentinel { .. }) {
        return links_to(now, &config, node, &needs, None).await;
    }
    let mut failed = Vec::new();
    for master in sentinel::masters(&config).await? {
        let host = master.host.clone();
        let config = sentinel::at(&config, &host);
        match links_to(now, &config, node, &needs, Some(master)).await {
            Ok(_) if needs.stays.as_ref().is_some_and(|stays| *stays != host) => {
                return Err(LinkError::Moved(host));
            }
            Ok(links) => return Ok(links),
            Err(error) => failed.push(format!("{host}: {error}")),
        }
    }
    Err(LinkError::Sentinel(failed.join("; ")))
}

/// Makes them one after the other, so that a fault is found and named once.
async fn links_to(
    now: Instant,
    config: &Broker,
    node: NodeId,
    needs: &Needs,
    master: Option<Master>,
) -> Result<Links, LinkError> {
    let link = async |purpose| {
        let mut stream = connect(config, node, purpose).await?;
        if master.is_some() {
            sentinel::must_be_master(&mut stream).await?;
        }
        Ok::<_, LinkError>(stream)
    };
    let subscriber = if needs.subscriber {
        Some(link(Purpose::Subscriber).await?)
    } else {
        None
    };
    let publisher = if needs.publisher {
        let stream = link(Purpose::Publisher).await?;
        Some(Publisher::new(now, stream, node, &config.prefix).await?)
    } else {
        None
    };
    Ok(Links {
        publisher,
        subscriber,
        master,
    })
}
