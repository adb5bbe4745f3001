//! Records into the journal, with their fields.
//!
//! wsd's own records go through tracing-journald, made into events of their macro again. What that crate can't say is
//! written by the journal's datagram protocol here: fields whose names only a script knows, and fields of a macro that
//! do not begin with `wsd_`, which get it in front (the crate's prefix is for all fields or none). Only the log thread
//! calls this, and it may wait: the journal's socket blocks when the journal is behind.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use tracing::{Event, Subscriber};
use tracing_journald::{Layer, Priority, PriorityMappings};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::registry::Registry;

use super::entry::{self, Entry};
use super::{event, line};

/// What tracing-journald is plugged into.
type Plugged = Layered<Layer, Registry>;

/// The way to the journal.
pub(super) struct Journal {
    /// For records without an event.
    plain: Plugged,
    /// One for each event that has come up: a MESSAGE_ID is one of the layer's fixed fields. Bounded by the table.
    events: HashMap<&'static str, Plugged>,
    datagrams: Datagrams,
}

impl Journal {
    /// Fails if nobody listens at the journal's socket.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            plain: plug(None)?,
            events: HashMap::new(),
            datagrams: Datagrams::new(PathBuf::from(SOCKET))?,
        })
    }

    /// Writes one record; an error means that it is lost.
    pub(super) fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let Some(metadata) = entry.metadata.filter(|_| is_plain(entry)) else {
            return self.datagrams.write(entry);
        };
        let plugged = match entry.event {
            None => &self.plain,
            Some(event) => match self.events.get(event.name) {
                Some(plugged) => plugged,
                None => {
                    let plugged = plug(Some(event))?;
                    self.events.entry(event.name).or_insert(plugged)
                }
            },
        };
        let mut values = vec![None; metadata.fields().len()];
        for (index, name) in metadata.fields().iter().enumerate() {
            let text = if name.name() == "message" {
                Some(&entry.message)
            } else {
                let mut fields = entry.fields.iter();
                fields
                    .find(|field| field.index == index)
                    .map(|field| &field.text)
            };
            values[index] = text.map(|text| text as &dyn tracing::Value);
        }
        let values = metadata.fields().value_set_all(&values);
        plugged.event(&Event::new(metadata, &values));
        Ok(())
    }
}

/// Whether tracing-journald gives all of its fields the names that SPEC §6 wants.
fn is_plain(entry: &Entry) -> bool {
    entry
        .fields
        .iter()
        .all(|field| field.name.starts_with("wsd_") && field.index != usize::MAX)
}

/// tracing-journald with the names and priorities of SPEC §6.
fn plug(event: Option<&'static event::Event>) -> io::Result<Plugged> {
    let fixed = event.map(|event| [("MESSAGE_ID", event.id), ("WSD_EVENT", event.name)]);
    let layer = Layer::new()?
        .with_field_prefix(None)
        .with_syslog_identifier(IDENTIFIER.to_owned())
        .with_priority_mappings(PriorityMappings {
            info: Priority::Informational,
            debug: Priority::Debug,
            ..PriorityMappings::new()
        })
        .with_custom_fields(fixed.into_iter().flatten());
    Ok(tracing_subscriber::registry().with(layer))
}

/// The journal's datagram protocol, as `systemd.io/JOURNAL_NATIVE_PROTOCOL` describes it.
struct Datagrams {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Datagrams {
    fn new(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        Ok(Self { socket, path })
    }

    fn write(&self, entry: &Entry) -> io::Result<()> {
        match self.send(&render(entry, usize::MAX)) {
            // A host with a small `net.core.wmem_default`: short values rather than no record.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                self.send(&render(entry, SHORT_BYTES))
            }
            result => result,
        }
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send_to(datagram, &self.path) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(|_| ()),
            }
        }
    }
}

/// The record as one datagram, its values cut at `longest`.
fn render(entry: &Entry, longest: usize) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(entry.bytes() + 256);
    let mut put = |name: &str, text: &str| {
        let text = entry::bounded(text, longest);
        // Always with a length, so that a newline in the value can't begin another field.
        datagram.extend_from_slice(name.as_bytes());
        datagram.push(b'\n');
        datagram.extend_from_slice(&(text.len() as u64).to_le_bytes());
        datagram.extend_from_slice(text.as_bytes());
        datagram.push(b'\n');
    };
    put("MESSAGE", &entry.message);
    put("PRIORITY", &line::priority(entry.level).to_string());
    put("SYSLOG_IDENTIFIER", IDENTIFIER);
    put("TARGET", entry.target);
    if let Some(event) = entry.event {
        put("MESSAGE_ID", event.id);
        put("WSD_EVENT", event.name);
    }
    if let Some(metadata) = entry.metadata {
        put("CODE_FILE", metadata.file().unwrap_or_default());
        put("CODE_LINE", &metadata.line().unwrap_or(0).to_string());
    }
    for field in &entry.fields {
        put(&journal_name(&field.name), &field.text);
    }
    datagram
}

/// `WSD_` and capitals. A script's name is that already; a macro's can have dots.
fn journal_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase().replace('.', "_");
    if upper.starts_with("WSD_") {
        upper
    } else {
        format!("WSD_{upper}")
    }
}

/// `SYSLOG_IDENTIFIER`
const IDENTIFIER: &str = "wsd";

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The longest value of a record that was too large as a whole.
const SHORT_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use super::*;
    use crate::config::Level;

    /// What a reader of the protocol sees.
    fn parse(mut datagram: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while !datagram.is_empty() {
            let end = datagram.iter().position(|byte| *byte == b'\n').unwrap();
            let (name, rest) = datagram.split_at(end);
            let (length, rest) = rest[1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap());
            let (value, rest) = rest.split_at(usize::try_from(length).unwrap());
            assert_eq!(rest[0], b'\n');
            datagram = &rest[1..];
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            fields.push((text(name), text(value)));
        }
        fields
    }

    fn entry(fields: &[(&'static str, &str)]) -> Entry {
        let mut entry = Entry {
            at: Duration::ZERO,
            level: Level::Info,
            target: "script",
            message: "two\nlines".to_owned(),
            event: event::find("script_failed"),
            fields: Vec::new(),
            metadata: None,
        };
        for (name, text) in fields {
            entry.put(Cow::Borrowed(name), (*text).to_owned(), 0);
        }
        entry
    }

    #[test]
    fn a_datagram_has_the_fields_of_the_contract() {
        let entry = entry(&[
            ("wsd_conn", "a-1"),
            ("WSD_ORDER", "x\nPRIORITY=0"),
            ("code", "7"),
        ]);
        let fields = parse(&render(&entry, usize::MAX));
        let fields = fields
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        assert_eq!(
            fields.collect::<Vec<_>>(),
            [
                ("MESSAGE", "two\nlines"),
                ("PRIORITY", "6"),
                ("SYSLOG_IDENTIFIER", "wsd"),
                ("TARGET", "script"),
                ("MESSAGE_ID", event::find("script_failed").unwrap().id),
                ("WSD_EVENT", "script_failed"),
                ("WSD_CONN", "a-1"),
                ("WSD_ORDER", "x\nPRIORITY=0"),
                ("WSD_CODE", "7"),
            ]
        );
    }

    #[test]
    fn a_record_too_large_for_the_socket_is_shortened() {
        let path = std::env::temp_dir().join(format!("wsd-journal-{}", std::process::id()));
        let journal = UnixDatagram::bind(&path).unwrap();
        let datagrams = Datagrams::new(path.clone()).unwrap();
        socket2::SockRef::from(&datagrams.socket)
            .set_send_buffer_size(1)
            .unwrap();
        let long = "x".repeat(entry::FIELD_BYTES);
        datagrams
            .write(&entry(&[("wsd_text", &long), ("wsd_more", &long)]))
            .unwrap();
        let mut buffer = vec![0; 1 << 16];
        let length = journal.recv(&mut buffer).unwrap();
        std::fs::remove_file(&path).unwrap();
        let fields = parse(&buffer[..length]);
        let text = &fields
            .iter()
            .find(|(name, _)| name == "WSD_TEXT")
            .unwrap()
            .1;
        assert_eq!(*text, format!("{}…", "x".repeat(SHORT_BYTES)));
    }

    #[test]
    fn nobody_there_is_an_error() {
        let path = std::env::temp_dir().join(format!("wsd-nobody-{}", std::process::id()));
        assert!(Datagrams::new(path).unwrap().write(&entry(&[])).is_err());
    }
}
