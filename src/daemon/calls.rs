//! What is asked of the node through the control socket and the admin HTTP.

use std::os::unix::net::UnixStream;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use super::node::Node;
use crate::config::Address;
use crate::control::message::{Request, Response};
use crate::control::server::{Call, Reply};
use crate::metrics::http::{HttpCall, Published};
use crate::types::ChannelName;
use crate::wire::{Frame, ServerFrames};
use crate::worker::message::Message;

impl Node {
    /// Answers the control socket.
    pub(super) async fn on_call(&mut self, call: Call) {
        let Call {
            request,
            peer,
            reply,
        } = call;
        tracing::debug!(target: "control", "{request:?} from uid {}", peer.uid);
        match request {
            Request::Publish { channel, payload } => {
                reply.finish(match self.publish(channel, payload) {
                    Ok(waits) => Response::Published { waits },
                    Err(reason) => Response::Error { reason },
                });
            }
            Request::Reload if self.stopping => {
                reply.finish(Response::error("the node is stopping; it reloads nothing"));
            }
            Request::Reload if self.stopping => reply.finish(Response::error("wsd is stopping")),
            Request::Reload => reply.finish(match self.reload().await {
                Ok(reloaded) => Response::Reloaded {
                    generation: reloaded.generation.0,
                    notes: reloaded.notes,
                },
                Err(problems) => Response::Refused {
                    generation: self.generation.0,
                    problems,
                },
            }),
            Request::Status => reply.finish(Response::Status(Box::new(self.status()))),
            Request::Subscribe { channel } => self.subscribe(channel, reply),
        }
    }

    /// Answers the admin HTTP.
    pub(super) fn on_http(&self, call: HttpCall) {
        // Who asked may have gone.
        match call {
            HttpCall::Listeners(reply) => {
                let addresses = self
                    .listeners
                    .iter()
                    .filter_map(|text| Address::parse(text).ok());
                let _ = reply.send(addresses.collect());
            }
            HttpCall::Metrics(reply) => {
                let _ = reply.send(self.metrics_text());
            }
            HttpCall::Publish {
                channel,
                payload,
                reply,
            } => {
                let _ = reply.send(match self.publish(channel, payload) {
                    Ok(false) => Published::Taken,
                    Ok(true) => Published::Waits,
                    Err(reason) => Published::Refused(reason),
                });
            }
            HttpCall::Ready(reply) => {
                let _ = reply.send(self.ready());
            }
        }
    }

    /// Joins a channel as a plain client would, through a socket pair, and passes on what comes.
    fn subscribe(&self, channel: ChannelName, reply: Reply) {
        let home = self.hash.home(&channel, self.inboxes.len());
        let pair = UnixStream::pair().and_then(|(ours, theirs)| {
            ours.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            Ok((tokio::net::UnixStream::from_std(ours)?, theirs))
        });
        match (pair, self.inboxes.get(home.index())) {
            (Ok((ours, theirs)), Some(inbox)) => {
                inbox.push(Message::Attach(theirs, channel.clone()));
                tokio::task::spawn_local(pass_on(ours, channel, reply));
            }
            (Err(error), _) => reply.finish(Response::error(error)),
            (Ok(_), None) => reply.finish(Response::error("there is no worker")),
        }
    }
}

/// Reads frames as a client would until either side ends it.
async fn pass_on(mut socket: tokio::net::UnixStream, channel: ChannelName, mut reply: Reply) {
    let mut frames = ServerFrames::new();
    let mut input = BytesMut::with_capacity(16 << 10);
    loop {
        tokio::select! {
            read = socket.read_buf(&mut input) => match read {
                Ok(read) if read > 0 => {}
                _ => break,
            },
            () = reply.gone() => return,
        }
        while let Some(frame) = frames.receive(&mut input) {
            match frame {
                Frame::Message(payload) => reply.stream(Response::message(&channel, &payload)),
                // The first thing that comes, as soon as the subscription is live.
                Frame::Ping(_) => reply.stream(Response::Subscribed),
                _ => {}
            }
        }
    }
    reply.finish(Response::End);
}
