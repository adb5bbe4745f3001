//! Connecting: one handshake, and what its failure means to an operator.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::options::Plan;
use crate::daemon::report;

/// A connection after its handshake.
pub(super) type Socket = WebSocketStream<TcpStream>;

/// Connects to a channel; or says what is wrong and what may help.
pub(super) async fn dial(plan: &Plan, channel: u32) -> Result<Socket, String> {
    let url = plan.url_of(channel);
    let attempt = tokio::time::timeout(WITHIN, attempt(plan, &url));
    match attempt.await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => Err(format!("{url}: {}", explain(&error))),
        Err(_) => Err(format!("{url}: no answer within {} s", WITHIN.as_secs())),
    }
}

async fn attempt(plan: &Plan, url: &str) -> Result<Socket, Error> {
    let mut request = url.into_client_request()?;
    for (name, value) in &plan.headers {
        request.headers_mut().append(name, value.clone());
    }
    let stream = TcpStream::connect((&*plan.host, plan.port)).await?;
    stream.set_nodelay(true)?;
    // Small buffers: there may be thousands of connections, and the frames are small.
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(None)
        .max_frame_size(None);
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}

fn explain(error: &Error) -> String {
    match error {
        Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => {
                "connection refused; does wsd run there, and does it listen on this address?"
                    .to_owned()
            }
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                format!("{error}: the connection was ended before the handshake was answered")
            }
            _ => error.to_string(),
        },
        Error::Http(response) => refusal(response),
        other => report(other),
    }
}

/// What the node said, and whose doing that is.
fn refusal(response: &Response<Option<Vec<u8>>>) -> String {
    let status = response.status();
    let mut text = format!("answered {status}");
    let body = response.body().as_deref().unwrap_or_default();
    if let Some(line) = String::from_utf8_lossy(body)
        .lines()
        .next()
        .filter(|line| !line.trim().is_empty())
    {
        text += &format!(": {}", line.escape_debug());
    }
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "a hook or limits.origins refuses the handshake; -H adds the header that it wants to see"
        }
        StatusCode::NOT_FOUND => "no route has this path",
        StatusCode::SERVICE_UNAVAILABLE => "the node is full (limits.connections) or stopping",
        _ => return text,
    };
    format!("{text} ({hint})")
}

/// Of connecting and the handshake together.
const WITHIN: Duration = Duration::from_secs(10);

/// Of each connection, in bytes.
const READ_BUFFER: usize = 16_384;
