//! The log as a whole: macros and scripts in, lines out.

use std::sync::mpsc::{self, Sender};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Hands each line to the test.
struct Lines(Sender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8(bytes.to_vec()).unwrap();
        // Without the time, which is another each time.
        self.0
            .send(line[25..].trim_end().to_owned())
            .map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn levels(level: Level, areas: &[(&str, Level)]) -> config::Log {
    config::Log {
        level,
        areas: areas
            .iter()
            .map(|(area, level)| ((*area).to_owned(), *level))
            .collect(),
    }
}

fn start(config: &config::Log) -> (Log, Receiver<String>) {
    let (send, lines) = mpsc::channel();
    let log = Log::start(config, Sink::Writer(Box::new(Lines(send)))).unwrap();
    (log, lines)
}

#[test]
fn a_macro_s_record_has_level_area_message_and_fields() {
    let (log, lines) = start(&levels(Level::Info, &[("broker", Level::Debug)]));
    tracing::subscriber::with_default(log.subscriber(), || {
        let reason = io::Error::other("connection reset");
        tracing::warn!(
            target: "broker",
            event = "broker_lost",
            wsd_generation = 3_u64,
            wsd_user = "ann",
            error = &reason as &(dyn std::error::Error + 'static),
            "broker lost: {}; next try in {:?}",
            "redis://x",
            Duration::from_millis(500)
        );
        tracing::debug!(target: "broker", wsd_channel = %"a", late = true, "probe");
        tracing::debug!(target: "conn", "not wanted");
        tracing::info!("of no area");
        let span = tracing::info_span!("unused", wsd_conn = "x");
        span.in_scope(|| tracing::error!(target: "conn", "in a span"));
    });
    let expected = [
        "warn  broker: broker lost: redis://x; next try in 500ms generation=3 user=ann \
         error=\"connection reset\"",
        "debug broker: probe channel=a late=true",
        "info  log: of no area",
        "error conn: in a span",
    ];
    for line in expected {
        assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), line);
    }
    drop(log);
    assert!(lines.try_recv().is_err());
}

#[test]
fn levels_change_for_call_sites_that_were_asked_before() {
    let (log, lines) = start(&levels(Level::Info, &[]));
    tracing::subscriber::with_default(log.subscriber(), || {
        for level in [Level::Info, Level::Debug, Level::Warn] {
            log.set_levels(&levels(level, &[]));
            tracing::debug!(target: "worker", "debug");
            tracing::info!(target: "worker", "info");
        }
    });
    drop(log);
    let lines = lines.try_iter().collect::<Vec<_>>();
    assert_eq!(
        lines,
        [
            "info  worker: info",
            "debug worker: debug",
            "info  worker: info"
        ]
    );
}

#[test]
fn a_script_s_record_goes_the_same_way() {
    let (log, lines) = start(&levels(Level::Info, &[]));
    let record = |level| Record {
        level,
        target: "script",
        message: "ordered".to_owned(),
        own: vec![("wsd_script", "chat.lua".to_owned())],
        fields: vec![("Order".to_owned(), "7".to_owned())],
    };
    log.emit(record(Level::Debug));
    log.emitter().emit(record(Level::Warn));
    assert!(log.emitter().wants("script", Level::Info));
    drop(log);
    let lines = lines.try_iter().collect::<Vec<_>>();
    assert_eq!(lines, ["warn  script: ordered script=chat.lua order=7"]);
}

#[test]
fn an_area_that_there_is_not_is_told() {
    let (log, lines) = start(&levels(Level::Info, &[]));
    log.set_levels(&levels(Level::Info, &[("brokr", Level::Debug)]));
    let line = lines.recv_timeout(PATIENCE).unwrap();
    assert!(
        line.starts_with("warn  log: log.level: there is no area \"brokr\"; the areas are admin, "),
        "{line}"
    );
}

#[test]
fn a_value_of_any_length_is_cut() {
    let (log, lines) = start(&levels(Level::Info, &[]));
    tracing::subscriber::with_default(log.subscriber(), || {
        let long = "x".repeat(1 << 20);
        tracing::info!(target: "conn", wsd_user = long, "{long}");
    });
    let line = lines.recv_timeout(PATIENCE).unwrap();
    assert!(line.len() < entry::MESSAGE_BYTES + entry::FIELD_BYTES + 100);
    assert!(line.ends_with("x…"));
}
