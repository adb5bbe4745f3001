//! A real redis-server, and nodes that talk to each other over it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use wsd::broker::redis::{RedisContext, RedisLink, start};
use wsd::broker::{Command, Deliver, Event, LinkStatus, Outgoing};
use wsd::config::{Broker, BrokerUrl, Secret};
use wsd::metrics::NodeMetrics;
use wsd::types::{ChannelName, ConnId, NameHash, NodeId, Origin, Payload, Publication, WorkerId};

/// Far more than anything here takes; a wait that reaches it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "deadlines of waits")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until `condition` holds.
#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at a condition"
)]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = now() + DEADLINE;
    while !condition() {
        assert!(now() < until, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A redis-server in a directory of its own, on a port that was free.
pub(crate) struct Server {
    child: Option<Child>,
    pub(crate) port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
}

static SERVERS: AtomicU64 = AtomicU64::new(0);

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("wsd-redis-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory for the server");
        let mut server = Self {
            child: None,
            port,
            directory,
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
        };
        server.run();
        server
    }

    /// Starts it again on the same port.
    pub(crate) fn run(&mut self) {
        let child = Process::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--unixsocket")
            .arg(self.socket())
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&self.directory)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server: is it installed?");
        self.child = Some(child);
        let port = self.port;
        eventually("redis-server listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("redis.sock")
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Sends a signal, `STOP` or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let status = Process::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// A connection of an independent client.
    pub(crate) fn client(&self) -> redis::Connection {
        redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))
            .expect("an address")
            .get_connection()
            .expect("a connection")
    }

    /// How many links subscribe to that channel.
    pub(crate) fn subscribers(&self, channel: &str) -> u64 {
        let (_, count): (String, u64) = redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg(channel)
            .query(&mut self.client())
            .expect("PUBSUB NUMSUB");
        count
    }

    /// Ends all links whose name ends so.
    pub(crate) fn kill_links(&self, ending: &str) -> usize {
        let mut client = self.client();
        let list: String = redis::cmd("CLIENT")
            .arg("LIST")
            .query(&mut client)
            .expect("CLIENT LIST");
        let mut killed = 0;
        for line in list.lines() {
            let fields: HashMap<&str, &str> =
                line.split(' ').filter_map(|f| f.split_once('=')).collect();
            if fields["name"].ends_with(ending) {
                killed += redis::cmd("CLIENT")
                    .arg("KILL")
                    .arg("ID")
                    .arg(fields["id"])
                    .query::<usize>(&mut client)
                    .expect("CLIENT KILL");
            }
        }
        killed
    }

    pub(crate) fn config(&self) -> Broker {
        Broker {
            url: BrokerUrl::Redis {
                tls: false,
                host: "127.0.0.1".to_owned(),
                port: self.port,
                database: 0,
            },
            prefix: String::new(),
            username: String::new(),
            password: Secret::default(),
            buffer: 8 << 20,
            buffer_for: Duration::from_secs(10),
            probe: Duration::from_secs(5),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        remove(&self.directory);
    }
}

fn remove(directory: &Path) {
    std::fs::remove_dir_all(directory).ok();
}

struct Inbox(WorkerId, Sender<(WorkerId, Event)>);

impl Deliver for Inbox {
    fn deliver(&self, event: Event) {
        self.1.send((self.0, event)).ok();
    }
}

/// What a node has got so far.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) publications: Vec<Arc<Publication>>,
    pub(crate) live: Vec<String>,
    pub(crate) refused: Vec<(WorkerId, Origin)>,
    pub(crate) statuses: Vec<LinkStatus>,
    pub(crate) events: usize,
}

/// A node without workers: three homes whose inboxes the test reads.
pub(crate) struct Node {
    pub(crate) link: RedisLink,
    pub(crate) id: NodeId,
    pub(crate) metrics: Arc<NodeMetrics>,
    pub(crate) got: RefCell<Got>,
    hash: NameHash,
    events: Receiver<(WorkerId, Event)>,
}

pub(crate) const WORKERS: usize = 3;

impl Node {
    /// Starts it and does not wait.
    pub(crate) fn start(id: u64, config: &Broker) -> Self {
        let hash = NameHash::new(id, 2);
        let (sender, events) = channel();
        let metrics = Arc::new(NodeMetrics::default());
        let homes = (0..WORKERS).map(|index| {
            let worker = WorkerId(u8::try_from(index).expect("few"));
            Box::new(Inbox(worker, sender.clone())) as Box<dyn Deliver>
        });
        let context = RedisContext {
            node: NodeId(id),
            hash,
            homes: homes.collect(),
            metrics: Arc::clone(&metrics),
            seed: id,
        };
        Self {
            link: start(config, context).expect("a thread"),
            id: NodeId(id),
            metrics,
            got: RefCell::new(Got::default()),
            hash,
            events,
        }
    }

    /// Starts it and waits until it is connected.
    pub(crate) fn up(id: u64, config: &Broker) -> Self {
        let node = Self::start(id, config);
        node.wait_status(LinkStatus::Up);
        node
    }

    pub(crate) fn home(&self, channel: &ChannelName) -> WorkerId {
        self.hash.home(channel, WORKERS)
    }

    pub(crate) fn send(&self, command: Command, channel: &ChannelName) {
        self.link.send(self.home(channel), vec![command]);
    }

    pub(crate) fn subscribe(&self, channel: &str) {
        let channel = name(channel);
        self.send(Command::Subscribe(channel.clone()), &channel);
    }

    /// Subscribes and waits until that is live.
    pub(crate) fn listen(&self, channel: &str) {
        self.subscribe(channel);
        self.wait("live", |got| got.live.iter().any(|live| live == channel));
    }

    pub(crate) fn unsubscribe(&self, channel: &str) {
        let channel = name(channel);
        self.send(Command::Unsubscribe(channel.clone()), &channel);
    }

    pub(crate) fn publish(&self, channel: &str, payload: Payload) {
        self.publish_from(channel, payload, &[]);
    }

    pub(crate) fn publish_from(&self, channel: &str, payload: Payload, senders: &[Origin]) {
        let publication = Publication {
            channel: name(channel),
            payload,
            position: None,
            skip: None,
        };
        let channel = publication.channel.clone();
        let outgoing = Outgoing {
            publication,
            senders: senders.iter().copied().collect(),
            receipt: None,
            merged: Vec::new(),
            keep: None,
        };
        self.send(Command::Publish(vec![outgoing]), &channel);
    }

    /// A connection of this node.
    pub(crate) fn origin(&self, worker: u8, slot: u32) -> Origin {
        Origin {
            node: self.id,
            worker: WorkerId(worker),
            conn: ConnId {
                slot,
                generation: 0,
            },
        }
    }

    /// Takes events until `condition` holds.
    pub(crate) fn wait(&self, what: &str, condition: impl Fn(&Got) -> bool) {
        let until = now() + DEADLINE;
        while !condition(&self.got.borrow()) {
            let left = until.saturating_duration_since(now());
            match self.events.recv_timeout(left) {
                Ok((worker, event)) => self.take(worker, event),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("never happened: {what}; {}", self.link.describe(now()))
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the thread ended: {what}"),
            }
        }
    }

    /// Takes what is there.
    pub(crate) fn drain(&self) {
        while let Ok((worker, event)) = self.events.try_recv() {
            self.take(worker, event);
        }
    }

    fn take(&self, worker: WorkerId, event: Event) {
        let mut got = self.got.borrow_mut();
        got.events += 1;
        match event {
            Event::Publications(publications) => {
                for publication in publications {
                    assert_eq!(worker, self.home(&publication.channel), "the wrong home");
                    got.publications.push(publication);
                }
            }
            Event::Live(channel) => {
                assert_eq!(worker, self.home(&channel), "the wrong home");
                got.live.push(channel.to_string());
            }
            Event::Refused(origins) => got.refused.extend(origins.iter().map(|o| (worker, *o))),
            Event::Status(status) if worker == WorkerId(0) => got.statuses.push(status),
            // Nothing here keeps a history, and nobody waits for an answer.
            Event::Status(_) | Event::Answers(_) | Event::Fence(..) | Event::Recalled(..) => {}
        }
    }

    /// Waits for a change to that status.
    pub(crate) fn wait_status(&self, status: LinkStatus) {
        self.wait("status", |got| got.statuses.last() == Some(&status));
    }

    pub(crate) fn wait_publications(&self, count: usize) {
        self.wait(&format!("{count} publications"), |got| {
            got.publications.len() >= count
        });
    }

    /// The texts that came on a channel, in order.
    pub(crate) fn texts(&self, channel: &str) -> Vec<String> {
        let got = self.got.borrow();
        let of_channel = got
            .publications
            .iter()
            .filter(|publication| publication.channel.as_str() == channel);
        of_channel
            .map(|p| String::from_utf8(p.payload.data.to_vec()).expect("a text"))
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.link.stop();
    }
}

pub(crate) fn name(text: &str) -> ChannelName {
    ChannelName::new(text).expect("a channel name")
}

/// `0`, `1`, `2` …
pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}
