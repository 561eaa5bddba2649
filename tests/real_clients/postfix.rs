//! A Debian Postfix in front, as most people who run mail have it: it hands over by LMTP.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::site::{DOMAIN, Site, USER, set_mode, text_of};
use crate::support::smtp::{Dialect, Smtp};
use crate::support::tool;

const START_DEADLINE: Duration = Duration::from_secs(60);
const DELIVERY_DEADLINE: Duration = Duration::from_secs(60);

/// A Postfix with its own configuration, queue and port; stopped when dropped.
struct Postfix {
    config: String,
    port: u16,
    master: Child,
}

impl Postfix {
    fn start(site: &mut Site) -> Postfix {
        let folder = site.folder.join("postfix");
        let (config, queue, data) = (folder.join("etc"), folder.join("queue"), folder.join("lib"));
        for path in [&config, &queue, &data] {
            std::fs::create_dir_all(path).unwrap();
        }
        set_mode(&folder, 0o755);
        own_by_postfix(&data);
        let port = site.ports.next().port();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\n\
             maillog_file = {}/log\nmaillog_file_prefixes = {}\n\
             myhostname = front.{DOMAIN}\nmydestination =\nmynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nalias_maps =\n\
             alias_database =\nlocal_recipient_maps =\ndefault_database_type = texthash\n\
             virtual_mailbox_domains = {DOMAIN}\nvirtual_transport = lmtp:inet:{}\n\
             lmtp_tls_security_level = none\nsmtpd_tls_security_level = none\n",
            queue.display(),
            data.display(),
            folder.display(),
            folder.display(),
            site.lmtp
        );
        std::fs::write(config.join("main.cf"), main).unwrap();
        std::fs::write(config.join("master.cf"), master_services(port)).unwrap();
        let config = text_of(&config);
        let mut start = Command::new("postfix");
        start.args(["-c", &config, "start-fg"]).stdin(Stdio::null());
        let log = std::fs::File::create(folder.join("start")).unwrap();
        start.stdout(log.try_clone().unwrap()).stderr(log);
        let mut postfix =
            Postfix { config, port, master: start.spawn().expect("postfix can be started") };
        tool::wait_until("Postfix greets", START_DEADLINE, || {
            let ended = postfix.master.try_wait().unwrap();
            let said = || std::fs::read_to_string(folder.join("start")).unwrap_or_default();
            assert!(ended.is_none(), "Postfix ended: {ended:?}\n{}{}", said(), log_of(&folder));
            Smtp::connect(([127, 0, 0, 1], port).into(), Dialect::Smtp).ok()
        });
        postfix
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let mut stop = Command::new("postfix");
        stop.args(["-c", &self.config, "stop"]).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = stop.status();
        let _ = self.master.kill();
        let _ = self.master.wait();
    }
}

fn own_by_postfix(folder: &Path) {
    let mut chown = Command::new("chown");
    tool::run(chown.arg("postfix").arg(folder), b"", START_DEADLINE).well("chown");
}

fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// What Postfix needs to take mail and to hand it over; nothing in a chroot.
fn master_services(port: u16) -> String {
    let services = [
        ("pickup", "unix", "60", "1", "pickup"),
        ("cleanup", "unix", "-", "0", "cleanup"),
        ("qmgr", "unix", "300", "1", "qmgr"),
        ("tlsmgr", "unix", "1000?", "1", "tlsmgr"),
        ("rewrite", "unix", "-", "-", "trivial-rewrite"),
        ("bounce", "unix", "-", "0", "bounce"),
        ("defer", "unix", "-", "0", "bounce"),
        ("trace", "unix", "-", "0", "bounce"),
        ("verify", "unix", "-", "1", "verify"),
        ("proxymap", "unix", "-", "-", "proxymap"),
        ("error", "unix", "-", "-", "error"),
        ("retry", "unix", "-", "-", "error"),
        ("lmtp", "unix", "-", "-", "lmtp"),
        ("smtp", "unix", "-", "-", "discard"),
        ("anvil", "unix", "-", "1", "anvil"),
        ("scache", "unix", "-", "1", "scache"),
        ("postlog", "unix-dgram", "-", "1", "postlogd"),
    ];
    let mut text = format!("127.0.0.1:{port} inet n - n - - smtpd\n");
    for (name, kind, wake, processes, program) in services {
        // Postfix wants its log and a few others open to all of its own programs.
        let private =
            if matches!(name, "pickup" | "cleanup" | "qmgr" | "postlog") { "n" } else { "-" };
        text += &format!("{name} {kind} {private} - n {wake} {processes} {program}\n");
    }
    text
}

#[test]
fn mail_that_postfix_takes_arrives() {
    let name = "mail that postfix takes arrives";
    if !tool::present(name, &["postfix", "swaks"]) {
        return;
    }
    if !tool::is_root() {
        return tool::skipped(name, "only root may start Postfix");
    }
    let mut site = Site::started();
    let postfix = Postfix::start(&mut site);
    let mut swaks = Command::new("swaks");
    swaks.args(["--server", &format!("127.0.0.1:{}", postfix.port), "--to", USER]);
    swaks.args(["--from", "someone@example.net", "--header", "Subject: by way of Postfix"]);
    swaks.args(["--body", "A line.\n.A line with a dot in front.\n"]);
    tool::run(&mut swaks, b"", DELIVERY_DEADLINE).well("swaks to Postfix");
    let mut imap = site.imap();
    let folder = site.folder.join("postfix");
    let begun = std::time::Instant::now();
    let uid = tool::wait_until("the mail arrives", DELIVERY_DEADLINE, || {
        imap.select("INBOX").unwrap();
        let found = imap.search("SUBJECT \"by way of Postfix\"").unwrap();
        assert!(begun.elapsed() < DELIVERY_DEADLINE / 2, "Postfix says:\n{}", log_of(&folder));
        found.first().copied()
    });
    let fetched = imap.fetch(&uid.to_string(), "(BODY.PEEK[])").unwrap();
    let text = String::from_utf8(fetched[0].body.clone().unwrap()).unwrap();
    assert!(text.contains("\r\n.A line with a dot in front.\r\n"), "{text}");
    assert!(text.contains(&format!("front.{DOMAIN}")), "Postfix's own Received field: {text}");
    let log = tool::wait_until("Postfix is answered", DELIVERY_DEADLINE, || {
        Some(log_of(&folder)).filter(|log| log.contains("status="))
    });
    assert!(log.contains("status=sent"), "{log}");
}
