//! A day's work by Python's imaplib over the extensions that programs of today use: ENABLE,
//! CONDSTORE, QRESYNC, LIST-STATUS, SORT, THREAD, ESEARCH, SEARCHRES, MOVE, UIDPLUS, UNSELECT, and
//! the last session compressed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::recorder::Recorder;
use crate::support::site::{PASSWORD, Site, USER};
use crate::support::tool;
use crate::transcripts;

const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn imaplib_does_a_days_work() {
    if !tool::present("a day's work by imaplib", &["python3"]) {
        return;
    }
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let recorder = Recorder::before(site.imap);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/imaplib_day.py");
    let mut python = Command::new("python3");
    python.arg("-B").arg(script).arg("127.0.0.1");
    python.args([recorder.address.port(), site.imap.port()].map(|port| port.to_string()));
    python.args([USER, PASSWORD]);
    tool::run(&mut python, b"", DEADLINE).well("imaplib");
    let version = tool::run(Command::new("python3").arg("--version"), b"", DEADLINE).stdout;
    let headings = ["a day's work", "the next day"].map(str::to_owned);
    transcripts::keep("imaplib", &format!("imaplib of {}", version.trim()), &recorder, &headings);
    recorder.assert_understood("imaplib");
    site.assert_no_complaint("imaplib");
}
