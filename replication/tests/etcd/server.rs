//! etcd servers on ports of their own, with data that stays while they are killed and started.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use replication::directory::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::ports::Ports;
use crate::{LONG, options, until};

/// One member.
pub(crate) struct Server {
    arguments: Vec<String>,
    pub(crate) url: String,
    log: PathBuf,
    running: Option<Child>,
}

/// All members of a cluster; often one.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Server>,
    _folder: TempDir,
    _ports: Ports,
}

impl Cluster {
    /// A cluster of so many members, which answers.
    pub(crate) fn start(count: usize) -> Cluster {
        let cluster = Cluster::prepare(count, "http", |_| Vec::new());
        cluster.started()
    }

    /// One member with more arguments, which may name files in its folder; not started yet.
    pub(crate) fn prepare(
        count: usize,
        scheme: &str,
        more: impl Fn(&TempDir) -> Vec<String>,
    ) -> Cluster {
        let mut ports = Ports::claim();
        let folder = TempDir::new().unwrap();
        let places: Vec<(SocketAddr, SocketAddr)> =
            (0..count).map(|_| (ports.next(), ports.next())).collect();
        let name = |number: usize| format!("member{number}");
        let all: Vec<String> = places
            .iter()
            .enumerate()
            .map(|(number, (_, peer))| format!("{}=http://{peer}", name(number)))
            .collect();
        let members = places.iter().enumerate().map(|(number, (client, peer))| {
            let url = format!("{scheme}://{client}");
            let data = folder.path().join(name(number)).display().to_string();
            let options = [
                ("--name", name(number)),
                ("--data-dir", data),
                ("--listen-client-urls", url.clone()),
                ("--advertise-client-urls", url.clone()),
                ("--listen-peer-urls", format!("http://{peer}")),
                ("--initial-advertise-peer-urls", format!("http://{peer}")),
                ("--initial-cluster", all.join(",")),
                ("--logger", "zap".to_owned()),
                ("--log-level", "warn".to_owned()),
            ];
            let pairs = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
            let arguments = pairs.chain(more(&folder)).collect();
            let log = folder.path().join(format!("{}.log", name(number)));
            Server { arguments, url, log, running: None }
        });
        let members = members.collect();
        Cluster { members, _folder: folder, _ports: ports }
    }

    /// Starts all members, and waits until the first answers.
    pub(crate) fn started(mut self) -> Cluster {
        self.members.iter_mut().for_each(Server::start);
        let client = Client::new(options(&[&self.members[0].url])).unwrap();
        self.members[0].answers(&client);
        self
    }

    /// The URLs of all members.
    pub(crate) fn urls(&self) -> Vec<&str> {
        self.members.iter().map(|member| member.url.as_str()).collect()
    }

    /// The index of the member that leads.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.members.iter().position(|member| {
            let status = member.running.is_some().then(|| crate::status::of(&member.url));
            status.flatten().is_some_and(|(own, leader)| own == leader)
        })
    }
}

impl Server {
    pub(crate) fn start(&mut self) {
        assert!(self.running.is_none());
        let log = fs::File::options().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new("etcd")
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("etcd is there: `make deps` installs etcd-server");
        self.running = Some(child);
    }

    /// Waits until a client gets an answer, whatever it is.
    pub(crate) fn answers(&mut self, client: &Client) {
        use replication::directory::error::EtcdError::{Refused, Unreachable};
        let end = Instant::now() + LONG;
        while let Err(why) = client.range("nothing") {
            if matches!(why, Refused { .. }) {
                return;
            }
            let ended = self.running.as_mut().unwrap().try_wait().unwrap();
            let goes_on = matches!(why, Unreachable(_)) && Instant::now() < end && ended.is_none();
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let log: Vec<&str> = log.lines().take(20).collect();
            assert!(goes_on, "{why}; {ended:?}; its log:\n{}", log.join("\n"));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// As a power cut would end it.
    pub(crate) fn kill(&mut self) {
        let mut child = self.running.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// It stands still, its sockets open.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        let threads = format!("/proc/{}/task", self.running.as_ref().unwrap().id());
        let is_stopped = |thread: fs::DirEntry| {
            // `number (name) state …`
            let line = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            line.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        until("each of its threads stands still", || {
            fs::read_dir(&threads).unwrap().all(|thread| is_stopped(thread.unwrap()))
        });
    }

    /// It goes on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.running.as_ref().unwrap();
        let process = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
    }
}
