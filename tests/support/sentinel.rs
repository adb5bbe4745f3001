//! Sentinels: three real ones over a master and a replica, and one that says whatever a test wants.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::redis::Redis;
use super::{TempDir, eventually};

/// A master, a replica and three sentinels that watch them.
pub(crate) struct Watched {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    ports: Vec<u16>,
    children: Vec<Child>,
    _dir: TempDir,
}

impl Watched {
    /// Starts them and waits until each knows of all the others.
    pub(crate) fn start() -> Self {
        let (master, replica) = (Redis::start(), Redis::start());
        let port = master.port().to_string();
        replica.cli(&["REPLICAOF", "127.0.0.1", &port]);
        let dir = TempDir::new();
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let spawn = |own: &u16| {
            let folder = dir.path().join(own.to_string());
            fs::create_dir(&folder).unwrap();
            let config = folder.join("sentinel.conf");
            let text = format!(
                "port {own}\nbind 127.0.0.1\ndir {}\nsentinel monitor mymaster 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000\n",
                folder.display()
            );
            fs::write(&config, text).unwrap();
            Command::new("redis-server")
                .arg(config)
                .arg("--sentinel")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        };
        let children = ports.iter().map(spawn).collect();
        let watched = Self {
            master,
            replica,
            ports,
            children,
            _dir: dir,
        };
        for index in 0..3 {
            eventually!(watched.says(index, "num-slaves") == "1");
            eventually!(watched.says(index, "num-other-sentinels") == "2");
            eventually!(watched.says(index, "flags") == "master");
        }
        watched
    }

    /// Where the sentinels are.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect()
    }

    /// `broker.url`, with nobody at the first place.
    pub(crate) fn url(&self) -> String {
        let hosts = self.hosts().join(",");
        format!(
            "redis+sentinel://127.0.0.1:{},{hosts}/mymaster",
            free_port()
        )
    }

    /// A field of what one of them says about the master.
    pub(crate) fn says(&self, index: usize, field: &str) -> String {
        let port = self.ports[index].to_string();
        let output = Command::new("redis-cli")
            .args(["-p", &port, "SENTINEL", "MASTER", "mymaster"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines();
        lines.find(|line| *line == field);
        lines.next().unwrap_or_default().to_owned()
    }

    /// Has them make the replica the master although nothing is wrong.
    pub(crate) fn fail_over(&self) {
        let port = self.ports[0].to_string();
        let output = Command::new("redis-cli")
            .args(["-p", &port, "SENTINEL", "FAILOVER", "mymaster"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "OK");
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One that says what it is told to say.
pub(crate) struct Parrot {
    port: u16,
    said: Arc<Mutex<Said>>,
}

struct Said {
    master: u16,
    epoch: u32,
    listeners: Vec<TcpStream>,
}

impl Parrot {
    /// One that says that the master is there.
    pub(crate) fn start(master: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = Arc::new(Mutex::new(Said {
            master: master.port(),
            epoch: 1,
            listeners: Vec::new(),
        }));
        let shared = Arc::clone(&said);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let said = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, &said));
            }
        });
        Self { port, said }
    }

    /// Where it is.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on it is there, after so many failovers; who listens is told.
    pub(crate) fn say(&self, master: &Redis, epoch: u32) {
        let mut said = self.said.lock().unwrap();
        (said.master, said.epoch) = (master.port(), epoch);
        for listener in &mut said.listeners {
            let _ =
                listener.write_all(b"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$1\r\nx\r\n");
        }
    }

    /// Whether somebody listens.
    pub(crate) fn is_heard(&self) -> bool {
        !self.said.lock().unwrap().listeners.is_empty()
    }
}

fn answer(mut stream: TcpStream, said: &Mutex<Said>) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        let text = String::from_utf8_lossy(&bytes[..read]).to_uppercase();
        let mut said = said.lock().unwrap();
        let reply = if text.contains("SUBSCRIBE") {
            said.listeners.push(stream.try_clone().unwrap());
            "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n".to_owned()
        } else if text.contains("MASTER") {
            let fields = [
                ("ip", "127.0.0.1".to_owned()),
                ("port", said.master.to_string()),
                ("config-epoch", said.epoch.to_string()),
            ];
            let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
            let pairs = fields.map(|(name, value)| bulk(name) + &bulk(&value));
            format!("*6\r\n{}", pairs.concat())
        } else {
            "+PONG\r\n".to_owned()
        };
        drop(said);
        if stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// Free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
