//! A server of a test's own: the real binary, a data directory and loopback ports for it alone.
//!
//! With `PILLARBOX_TEST_PEER=dovecot` the same tests run against Dovecot, so that a wrong test can
//! be told from a wrong server. Whatever the test does, the server is gone when the site is
//! dropped, and a line of level ERROR that the test did not announce fails it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tempfile::TempDir;

use super::dovecot;
use super::imap::Imap;
use super::ports::Ports;
use super::smtp::{Dialect, Smtp};
use super::tool::{self, Ended};

pub(crate) const DOMAIN: &str = "example.org";
pub(crate) const USER: &str = "demo@example.org";
pub(crate) const OTHER_USER: &str = "second@example.org";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Opening a store of a test, recovery included.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Stopping after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// A command of the binary.
const COMMAND_DEADLINE: Duration = Duration::from_secs(120);
/// For a line of the log.
const LOG_DEADLINE: Duration = Duration::from_secs(60);

/// Which server stands at the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pillarbox,
    Dovecot,
}

impl Kind {
    /// As the environment says.
    pub(crate) fn chosen() -> Kind {
        match std::env::var("PILLARBOX_TEST_PEER").as_deref() {
            Ok("dovecot") => Kind::Dovecot,
            _ => Kind::Pillarbox,
        }
    }
}

/// A server with all that belongs to it.
pub(crate) struct Site {
    pub(crate) kind: Kind,
    pub(crate) imap: SocketAddr,
    /// IMAP with TLS from the first byte; Pillarbox only.
    #[allow(dead_code, reason = "not every test crate speaks TLS")]
    pub(crate) imap_tls: SocketAddr,
    pub(crate) lmtp: SocketAddr,
    pub(crate) smtp: SocketAddr,
    /// More, for servers that a test starts beside this one.
    pub(crate) ports: Ports,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Holds everything, also what a test puts beside the data.
    pub(crate) folder: PathBuf,
    /// What goes into sections that have lines anyway, and what after the rest of the
    /// configuration.
    section_config: BTreeMap<&'static str, String>,
    extra_config: String,
    /// The recovery key that `init` showed.
    pub(crate) init_output: String,
    server: Option<Running>,
    announced: Vec<String>,
    _folder: TempDir,
}

/// A started server.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Site {
    /// A store with a domain and two accounts, started.
    pub(crate) fn started() -> Site {
        let mut site = Site::new();
        site.start();
        site
    }

    /// A store with a domain and two accounts, not started yet.
    pub(crate) fn new() -> Site {
        let mut site = Site::empty();
        if site.kind == Kind::Dovecot {
            dovecot::prepare(&site.folder, &site.data);
            return site;
        }
        site.init_output = site.init().well("init").output();
        site.pillarbox(&["domain", "add", DOMAIN]).well("domain add");
        for user in [USER, OTHER_USER] {
            site.pillarbox(&["account", "add", user]).well("account add");
        }
        site
    }

    /// Ports and folders, but no store yet. The data directory lies in `PILLARBOX_TEST_SCRATCH` if
    /// set, else where temporary files lie.
    pub(crate) fn empty() -> Site {
        let folder = match std::env::var_os("PILLARBOX_TEST_SCRATCH") {
            Some(scratch) => tempfile::tempdir_in(scratch),
            None => tempfile::tempdir(),
        };
        let folder = folder.unwrap();
        // Dovecot and Postfix drop their privileges and must still come in.
        set_mode(folder.path(), 0o755);
        let mut ports = Ports::claim();
        Site {
            kind: Kind::chosen(),
            imap: ports.next(),
            imap_tls: ports.next(),
            lmtp: ports.next(),
            smtp: ports.next(),
            ports,
            data: folder.path().join("data"),
            folder: folder.path().to_owned(),
            section_config: BTreeMap::new(),
            extra_config: String::new(),
            init_output: String::new(),
            server: None,
            announced: Vec::new(),
            _folder: folder,
        }
    }

    /// Whether this is Pillarbox; a test of its own commands has nothing to do elsewhere.
    pub(crate) fn is_pillarbox(&self) -> bool {
        self.kind == Kind::Pillarbox
    }

    /// Adds lines to the configuration; used from the next start on.
    pub(crate) fn configure(&mut self, lines: &str) {
        self.extra_config += lines;
        self.extra_config.push('\n');
    }

    /// Takes back the lines that were added; used from the next start on.
    pub(crate) fn configure_nothing(&mut self) {
        self.extra_config.clear();
    }

    /// The same for the section `[store]`.
    pub(crate) fn configure_store(&mut self, lines: &str) {
        self.configure_section("store", lines);
    }

    /// The same for one of the sections that every configuration of a site has: store, imap, lmtp,
    /// smtp.
    pub(crate) fn configure_section(&mut self, section: &'static str, lines: &str) {
        let config = self.section_config.entry(section).or_default();
        *config += lines;
        config.push('\n');
    }

    /// The key file beside the data directory.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.join("data.key")
    }

    /// The one place that knows how a configuration looks.
    pub(crate) fn config_text(&self) -> String {
        let more = |section| self.section_config.get(section).map_or("", String::as_str);
        format!(
            "[store]\ndirectory = {:?}\nhost_name = \"mail.{DOMAIN}\"\n{}\
             [imap]\nlisten = [\"{}\"]\nlisten_tls = [\"{}\"]\n{}\
             [lmtp]\nlisten = [\"{}\"]\n{}\
             [smtp]\nlisten = [\"{}\"]\n{}{}",
            self.data,
            more("store"),
            self.imap,
            self.imap_tls,
            more("imap"),
            self.lmtp,
            more("lmtp"),
            self.smtp,
            more("smtp"),
            self.extra_config
        )
    }

    fn config_file(&self) -> PathBuf {
        let path = self.folder.join("pillarbox.toml");
        std::fs::write(&path, self.config_text()).unwrap();
        path
    }

    /// `pillarbox init` with a new key file.
    pub(crate) fn init(&self) -> Ended {
        let (data, key) = (text_of(&self.data), text_of(&self.key_file()));
        binary(&["init", &data, "--new-key-file", &key], &[], b"")
    }

    /// A subcommand on this site's store, running or not, with the configuration of `serve`.
    /// Passwords come from the environment.
    pub(crate) fn pillarbox(&self, arguments: &[&str]) -> Ended {
        self.pillarbox_with_input(arguments, b"")
    }

    /// The same, with standard input.
    pub(crate) fn pillarbox_with_input(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let config = text_of(&self.config_file());
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--config", &config]).collect();
        binary(&arguments, &[("PILLARBOX_PASSWORD", PASSWORD)], input)
    }

    /// `serve`, expected to end by itself, as somebody whom the modes of files bind: root is not
    /// bound by them unless it gives that up.
    #[allow(dead_code, reason = "not every test crate looks at modes")]
    pub(crate) fn serve_without_privileges(&self) -> Ended {
        let mut command = if tool::is_root() {
            let mut command = Command::new("setpriv");
            let all = "-dac_override,-dac_read_search";
            command.args(["--inh-caps", all, "--bounding-set", all]);
            command.arg(env!("CARGO_BIN_EXE_pillarbox"));
            command
        } else {
            Command::new(env!("CARGO_BIN_EXE_pillarbox"))
        };
        command.args(["serve", "--config"]).arg(self.config_file());
        tool::run(&mut command, b"", COMMAND_DEADLINE)
    }

    /// Starts the server and waits until it greets.
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.await_greeting();
    }

    /// The same, with more arguments.
    #[allow(dead_code, reason = "only tests of pairs do this")]
    pub(crate) fn start_with(&mut self, arguments: &[&str]) {
        self.spawn_with(arguments);
        self.await_greeting();
    }

    /// The same, of a server whose disk may fail later: see [`Site::fail_disk`].
    #[allow(dead_code, reason = "only tests of pairs do this")]
    pub(crate) fn start_for_a_bad_disk(&mut self) {
        // A write past the limit of a file's size fails then, instead of ending the process.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_pillarbox")]);
        command.args(["serve", "--config"]).arg(self.config_file());
        self.spawn_command(command);
        self.await_greeting();
    }

    /// From now on every write to a file fails.
    #[allow(dead_code, reason = "only tests of pairs do this")]
    pub(crate) fn fail_disk(&self) {
        let server = self.server.as_ref().expect("the server runs");
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &server.child.id().to_string(), "--fsize=0:0"]);
        tool::run(&mut prlimit, b"", COMMAND_DEADLINE).well("prlimit");
    }

    /// Starts the server without waiting for it.
    pub(crate) fn spawn(&mut self) {
        self.spawn_with(&[]);
    }

    fn spawn_with(&mut self, arguments: &[&str]) {
        let command = match self.kind {
            Kind::Pillarbox => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_pillarbox"));
                command.args(["serve", "--config"]).arg(self.config_file()).args(arguments);
                command
            }
            Kind::Dovecot => dovecot::command(&self.folder, &self.data, self.imap, self.lmtp),
        };
        self.spawn_command(command);
    }

    fn spawn_command(&mut self, mut command: Command) {
        assert!(self.server.is_none(), "started twice");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().expect("the server can be started");
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        self.server = Some(Running { child, lines, reader });
    }

    /// Waits until a started server greets on IMAP and LMTP.
    pub(crate) fn await_greeting(&mut self) {
        let begun = Instant::now();
        let (imap, lmtp) = (self.imap, self.lmtp);
        loop {
            // A port that accepts is not enough: sockets are there before the store is open.
            let ready = Imap::connect(imap).and_then(|_| Smtp::connect(lmtp, Dialect::Lmtp));
            let Err(error) = ready else { return };
            let ended = self.server.as_mut().unwrap().child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", self.log());
            assert!(begun.elapsed() < START_DEADLINE, "no greeting: {error}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for a started server that is expected to end by itself.
    pub(crate) fn await_end(&mut self) -> (Option<i32>, String) {
        let mut server = self.server.take().expect("the server runs");
        let begun = Instant::now();
        while server.child.try_wait().unwrap().is_none() {
            if begun.elapsed() > START_DEADLINE {
                let _ = server.child.kill();
                panic!("the server goes on running:\n{}", server.lines.lock().unwrap().join("\n"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let status = server.child.wait().unwrap();
        server.reader.join().unwrap();
        (status.code(), server.lines.lock().unwrap().join("\n"))
    }

    /// SIGKILL, to the server and all of its children.
    pub(crate) fn kill9(&mut self) {
        let mut server = self.server.take().expect("the server runs");
        let group = Pid::from_child(&server.child);
        kill_process_group(group, Signal::KILL).unwrap();
        server.child.wait().unwrap();
        // A child that is still on its way out could finish a write behind the next server's back.
        tool::wait_until("the whole group is gone", STOP_DEADLINE, || {
            test_kill_process_group(group).is_err().then_some(())
        });
        self.judge(server);
    }

    /// The server stands still, as on a machine that is paused.
    #[allow(dead_code, reason = "only tests of pairs do this")]
    pub(crate) fn pause(&self) {
        let server = self.server.as_ref().expect("the server runs");
        kill_process_group(Pid::from_child(&server.child), Signal::STOP).unwrap();
    }

    /// It goes on.
    #[allow(dead_code, reason = "only tests of pairs do this")]
    pub(crate) fn resume(&self) {
        let server = self.server.as_ref().expect("the server runs");
        kill_process_group(Pid::from_child(&server.child), Signal::CONT).unwrap();
    }

    /// SIGTERM; the server must end well.
    pub(crate) fn stop(&mut self) {
        let mut server = self.server.take().expect("the server runs");
        kill_process(Pid::from_child(&server.child), Signal::TERM).unwrap();
        let begun = Instant::now();
        let status: ExitStatus = loop {
            if let Some(status) = server.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > STOP_DEADLINE {
                let _ = kill_process_group(Pid::from_child(&server.child), Signal::KILL);
                panic!("no end after SIGTERM:\n{}", server.lines.lock().unwrap().join("\n"));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let lines = server.lines.clone();
        self.judge(server);
        let lines = lines.lock().unwrap().join("\n");
        assert!(status.success(), "ended with {status} after SIGTERM\n{lines}");
    }

    /// Says that an ERROR line with this text is expected.
    pub(crate) fn announce_error(&mut self, text: &str) {
        self.announced.push(text.to_owned());
    }

    /// What the running server has logged so far.
    pub(crate) fn log(&self) -> String {
        match &self.server {
            Some(server) => server.lines.lock().unwrap().join("\n"),
            None => String::new(),
        }
    }

    /// Waits until the running server has logged that. Its lines come through a pipe: what it has
    /// answered, and even what it has written, may still be on its way here.
    pub(crate) fn await_log(&self, text: &str) {
        let is_there = || self.log().contains(text).then_some(());
        tool::wait_until(&format!("a line of the log: {text}"), LOG_DEADLINE, is_there);
    }

    /// Stops the test if the server logged anything at WARN or ERROR, so that a person would look.
    pub(crate) fn assert_no_complaint(&self, what: &str) {
        let log = self.log();
        let complaints: Vec<&str> = log.lines().filter(|line| is_complaint(line)).collect();
        assert!(complaints.is_empty(), "{what}: the server complains:\n{}", complaints.join("\n"));
    }

    fn judge(&self, server: Running) {
        let _ = server.reader.join();
        let lines = server.lines.lock().unwrap();
        for line in lines.iter().filter(|line| is_error(line)) {
            let announced = self.announced.iter().any(|text| line.contains(text));
            if !announced && !std::thread::panicking() {
                panic!("the server logged an error that nobody announced: {line}");
            }
        }
    }

    /// A connection without a login.
    pub(crate) fn imap_stranger(&self) -> Imap {
        Imap::connect(self.imap).expect("IMAP greets")
    }

    /// A session of the first user.
    pub(crate) fn imap(&self) -> Imap {
        Imap::login(self.imap, USER, PASSWORD).expect("the login works")
    }

    /// An LMTP connection.
    pub(crate) fn lmtp(&self) -> Smtp {
        Smtp::connect(self.lmtp, Dialect::Lmtp).expect("LMTP greets")
    }

    /// An SMTP connection.
    pub(crate) fn smtp(&self) -> Smtp {
        Smtp::connect(self.smtp, Dialect::Smtp).expect("SMTP greets")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        if std::thread::panicking() {
            let lines = server.lines.lock().unwrap();
            let begin = lines.len().saturating_sub(40);
            eprintln!("the server's last lines:\n{}", lines[begin..].join("\n"));
            if let Ok(log) = std::fs::read_to_string(self.folder.join("dovecot.log")) {
                let problems = log.lines().filter(|line| line.contains("Error:")).rev().take(20);
                eprintln!("Dovecot's last problems:\n{}", problems.collect::<Vec<_>>().join("\n"));
            }
        }
        let _ = kill_process_group(Pid::from_child(&server.child), Signal::KILL);
        let _ = server.child.wait();
        self.judge(server);
    }
}

/// The binary with these arguments, to its end.
pub(crate) fn binary(arguments: &[&str], variables: &[(&str, &str)], input: &[u8]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pillarbox"));
    command.args(arguments).envs(variables.iter().copied());
    tool::run(&mut command, input, COMMAND_DEADLINE)
}

/// A log line of level WARN, or an error.
fn is_complaint(line: &str) -> bool {
    line.split_whitespace().nth(1) == Some("WARN") || is_error(line)
}

/// A log line of level ERROR, as text or as JSON; also a panic.
fn is_error(line: &str) -> bool {
    let level = line.split_whitespace().nth(1);
    level == Some("ERROR") || line.contains("\"level\":\"ERROR\"") || line.contains("panicked at")
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A path as an argument.
pub(crate) fn text_of(path: &Path) -> String {
    path.to_str().expect("a test's path is UTF-8").to_owned()
}

/// Every file below a folder.
pub(crate) fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
