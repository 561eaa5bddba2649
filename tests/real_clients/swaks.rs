//! swaks, which people test mail servers with, speaks SMTP and LMTP to us.

use std::process::Command;
use std::time::Duration;

use crate::support::site::{DOMAIN, Site, USER};
use crate::support::tool::{self, Ended};

const DEADLINE: Duration = Duration::from_secs(60);

fn swaks(arguments: &[&str]) -> Ended {
    let mut command = Command::new("swaks");
    command.args(["--from", "someone@example.net"]).args(arguments);
    tool::run(&mut command, b"", DEADLINE)
}

#[test]
fn swaks_delivers_by_smtp_and_is_told_who_is_unknown() {
    let name = "swaks delivers by smtp";
    if !tool::present(name, &["swaks"]) {
        return;
    }
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let server = site.smtp.to_string();
    let to_user = ["--server", &server, "--to", USER, "--header", "Subject: straight by SMTP"];
    swaks(&to_user).well("swaks by SMTP");
    let detail = format!("demo+detail@{DOMAIN}");
    swaks(&["--server", &server, "--to", &detail]).well("swaks to an address with detail");

    let unknown = swaks(&["--server", &server, "--to", &format!("nobody@{DOMAIN}")]);
    assert!(unknown.output().contains("550 5.1.1"), "{}", unknown.output());
    let elsewhere = swaks(&["--server", &server, "--to", "somebody@elsewhere.example"]);
    assert!(elsewhere.output().contains("5.7.1"), "no open relay: {}", elsewhere.output());
    let encrypted = swaks(&["--server", &server, "--to", USER, "--tls"]);
    encrypted.well("swaks with STARTTLS");

    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists, 3);
    assert_eq!(imap.search("SUBJECT \"straight by SMTP\"").unwrap().len(), 1);
}

#[test]
fn swaks_delivers_by_lmtp() {
    if !tool::present("swaks delivers by lmtp", &["swaks"]) {
        return;
    }
    let site = Site::started();
    let server = site.lmtp.to_string();
    swaks(&["--server", &server, "--protocol", "LMTP", "--to", USER]).well("swaks by LMTP");
    assert_eq!(site.imap().select("INBOX").unwrap().exists, 1);
}
