//! The run: connect everybody, see whether anything comes back, warm up, measure, wait for the rest.
//!
//! One thread. It tells the members by a phase what to do and reads the tally they share.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::LocalRuntime;
use tokio::sync::watch;

use super::dial::{self, Socket};
use super::member::{self, Phase, Shared};
use super::options::Plan;
use super::summary::Summary;
use super::tally::Tally;
use super::token::Tokens;
use crate::worker::clock;

/// Carries a plan out; or says why it could not be.
pub(super) fn run(plan: Plan) -> Result<Summary, String> {
    allow_open_files(u64::from(plan.connections) + SPARE_FILES)?;
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| format!("random numbers: {error}"))?;
    let runtime = LocalRuntime::new().map_err(|error| format!("the runtime: {error}"))?;
    let shared = Rc::new(Shared {
        tokens: Tokens::new(u32::from_ne_bytes(random), plan.size),
        tally: RefCell::new(Tally::new(&plan)),
        start: clock::now(),
        plan,
    });
    runtime.block_on(drive(&shared))
}

async fn drive(shared: &Rc<Shared>) -> Result<Summary, String> {
    let line = Line::new();
    let plan = &shared.plan;
    let (say, hear) = watch::channel(Phase::Connect);
    line.show("connecting");
    let sockets = connect(plan).await;
    line.clear();
    for (index, socket) in (0..).zip(sockets?) {
        let (shared, hear) = (Rc::clone(shared), hear.clone());
        tokio::task::spawn_local(async move { member::run(&shared, index, socket, hear).await });
    }
    probe(shared, &say).await?;

    let began = clock::now();
    say.send_replace(Phase::Publish(began));
    tokio::time::sleep(WARM_UP).await;
    let (from, busy) = (clock::now(), cpu_time());
    shared.tally.borrow_mut().begin();
    let interrupted = watch_over(shared, &line, from).await;
    let elapsed = from.elapsed();
    let measured = shared.tally.borrow_mut().end();
    let generator = busy.zip(cpu_time()).map(|(before, after)| {
        Duration::from_nanos(after.saturating_sub(before)).as_secs_f64() / elapsed.as_secs_f64()
    });
    say.send_replace(Phase::Drain);
    line.show("waiting for what is under way");
    drain(shared).await;
    line.clear();
    let mut summary = {
        let tally = shared.tally.borrow();
        Summary::new(plan, &tally, measured, elapsed, generator)
    };
    summary.interrupted = interrupted;
    say.send_replace(Phase::Leave);
    // A moment to say goodbye: who does not hear it loses nothing.
    tokio::time::sleep(FAREWELL).await;
    Ok(summary)
}

/// All connections in the order of their numbers, some handshakes at a time; the first that fails ends it.
async fn connect(plan: &Plan) -> Result<Vec<Socket>, String> {
    let mut found: Vec<Option<Socket>> = (0..plan.connections).map(|_| None).collect();
    let mut under_way = FuturesUnordered::new();
    let mut next = 0;
    loop {
        while next < plan.connections && under_way.len() < HANDSHAKES {
            let index = next;
            under_way.push(async move { (index, dial::dial(plan, index % plan.channels).await) });
            next += 1;
        }
        let Some((index, socket)) = under_way.next().await else {
            break;
        };
        if let Some(place) = found.get_mut(index as usize) {
            *place = Some(socket?);
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// Has one message published, to learn whether messages come back, and whether to their publisher too.
async fn probe(shared: &Shared, say: &watch::Sender<Phase>) -> Result<(), String> {
    let plan = &shared.plan;
    let members = u64::from(plan.members_of(0));
    say.send_replace(Phase::Probe);
    let deadline = clock::now() + PROBE;
    let mut quiet = None;
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let received = shared.tally.borrow().received;
        let now = clock::now();
        if received >= members {
            return Ok(());
        }
        if received + 1 == members && received > 0 {
            // All but one: a node without echo for publishers. A late one is waited for.
            if now >= *quiet.get_or_insert(now + Duration::from_millis(300)) {
                break;
            }
        }
        if now >= deadline {
            break;
        }
    }
    let mut tally = shared.tally.borrow_mut();
    if let Some((why, _)) = tally.ended.first_key_value() {
        return Err(format!(
            "{}: the node ended a connection {why}",
            plan.url_of(0)
        ));
    }
    let received = tally.received;
    if received + 1 == members && received > 0 {
        tally.echo = false;
        if plan.rate.is_some() {
            return Ok(());
        }
        return Err(format!(
            "{}: publishers do not get their own messages back (route.echo), so there is nothing to wait for: say --rate",
            plan.url_of(0)
        ));
    }
    Err(format!(
        "{}: of a message that was published there, {received} of {members} connections heard within {} s; may clients publish \
         (route.publish), and does a hook drop or change it?",
        plan.url_of(0),
        PROBE.as_secs()
    ))
}

/// Lets the measured time pass, unless nobody is left, and says how it goes; true if it was cut short from the terminal.
async fn watch_over(shared: &Shared, line: &Line, from: Instant) -> bool {
    let until = from + shared.plan.duration;
    let mut before = 0;
    loop {
        let now = clock::now();
        if now >= until {
            return false;
        }
        let step = (until - now).min(Duration::from_secs(1));
        tokio::select! {
            () = tokio::time::sleep(step) => {}
            _ = tokio::signal::ctrl_c() => return true,
        }
        let tally = shared.tally.borrow();
        if tally.is_deserted() {
            return false;
        }
        if let Some(measured) = tally.measured() {
            let rate = (measured.delivered - before) as f64 / now.elapsed().as_secs_f64();
            before = measured.delivered;
            line.show(&format!(
                "{} s of {}: {} messages/s delivered, p99 {}",
                from.elapsed().as_secs(),
                shared.plan.duration.as_secs(),
                super::summary::grouped(rate),
                super::summary::millis(measured.latency.percentile(99)),
            ));
        }
    }
}

/// Waits until all that was sent has come, or nothing has come for some time.
async fn drain(shared: &Shared) {
    let mut seen = shared.tally.borrow().received;
    let mut deadline = clock::now() + QUIET;
    while !shared.tally.borrow().is_complete() && clock::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let received = shared.tally.borrow().received;
        if received != seen {
            seen = received;
            deadline = clock::now() + QUIET;
        }
    }
}

fn allow_open_files(wanted: u64) -> Result<(), String> {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = limit.maximum;
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)
            .map_err(|error| format!("the limit of open files: {error}"))?;
    }
    match limit.current {
        Some(current) if current < wanted => Err(format!(
            "so many connections need {wanted} open files, and at most {current} are allowed (ulimit -Hn); use fewer --connections"
        )),
        _ => Ok(()),
    }
}

/// Nanoseconds of CPU that this thread has used.
fn cpu_time() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// The line that says how far it is; only on a terminal.
struct Line {
    shown: bool,
}

impl Line {
    fn new() -> Self {
        Self {
            shown: io::stderr().is_terminal(),
        }
    }

    fn show(&self, text: &str) {
        if self.shown {
            // Nobody reads a line that cannot be written.
            let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
        }
    }

    fn clear(&self) {
        self.show("");
    }
}

/// Handshakes at a time.
const HANDSHAKES: usize = 64;

/// How long the first message may take.
const PROBE: Duration = Duration::from_secs(2);

/// Buffers and windows have settled by then.
const WARM_UP: Duration = Duration::from_millis(500);

/// When nothing has come for so long, nothing will.
const QUIET: Duration = Duration::from_secs(2);

const FAREWELL: Duration = Duration::from_millis(50);

/// Open files besides the connections.
const SPARE_FILES: u64 = 32;
