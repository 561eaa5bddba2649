//! mbsync in both directions: a Maildir and a store, made equal again and again.
//!
//! `PILLARBOX_SEED` repeats a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::both_sides::{self, Both, Names};
use crate::recorder::Recorder;
use crate::support::random::Random;
use crate::support::site::{PASSWORD, Site, USER};
use crate::support::tool;
use crate::transcripts;

const DEADLINE: Duration = Duration::from_secs(300);
const ROUNDS: usize = 8;

fn config(folder: &Path, port: u16, more: &str) -> PathBuf {
    let path = folder.display();
    let config = format!(
        "IMAPStore far\nHost 127.0.0.1\nPort {port}\nUser {USER}\nPass \"{PASSWORD}\"\n\
         SSLType None\nAuthMechs LOGIN\n{more}\n\
         MaildirStore near\nPath {path}/near/\nInbox {path}/near/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\n\
         SyncState {path}/state/\n"
    );
    fs::create_dir_all(folder.join("state")).unwrap();
    let file = folder.join("mbsyncrc");
    fs::write(&file, config).unwrap();
    file
}

fn mbsync(config: &Path, what: &str) {
    let mut mbsync = Command::new("mbsync");
    mbsync.arg("--config").arg(config).arg("all");
    let ended = tool::run(&mut mbsync, b"", DEADLINE).well(what);
    // Such lines tell of trouble that mbsync went on in spite of.
    let output = ended.output().replace("*** IMAP Warning *** Password is being sent", "");
    let output = output.to_lowercase();
    for word in ["warning", "error"] {
        assert!(!output.contains(word), "{what}: {output}");
    }
}

#[test]
fn mbsync_makes_both_sides_equal_after_every_round_of_changes() {
    if !tool::present("mbsync both ways", &["mbsync"]) {
        return;
    }
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let seed = Random::seed_from("PILLARBOX_SEED");
    println!("PILLARBOX_SEED={seed}");
    let folder = tempfile::tempdir_in(&site.folder).unwrap();
    let recorder = Recorder::before(site.imap);
    let config = config(folder.path(), recorder.address.port(), "");
    let mut both = Both::new(&site, &folder.path().join("near"), Names::AsOnTheWire, seed);
    both.go(ROUNDS, &format!("mbsync, PILLARBOX_SEED={seed}"), |what| mbsync(&config, what));
    recorder.assert_understood("mbsync");
    site.assert_no_complaint("mbsync");
}

#[test]
fn mbsync_is_written_down() {
    if !tool::present("transcript of mbsync", &["mbsync"]) {
        return;
    }
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let folder = tempfile::tempdir_in(&site.folder).unwrap();
    let recorder = Recorder::before(site.imap);
    // Nobody could read what is compressed.
    let more = "DisableExtension COMPRESS=DEFLATE\n";
    let config = config(folder.path(), recorder.address.port(), more);
    let near = folder.path().join("near");
    let headings = both_sides::story(&site, &near, Names::AsOnTheWire, &recorder, |what| {
        mbsync(&config, what);
    });
    let version = tool::run(Command::new("mbsync").arg("--version"), b"", DEADLINE).output();
    transcripts::keep("mbsync", &format!("mbsync {}", version.trim()), &recorder, &headings);
    recorder.assert_understood("mbsync");
    site.assert_no_complaint("mbsync");
}
