//! offlineimap in both directions: first everything, then changes and deletions on both sides, with
//! the names of mailboxes in UTF-8 in the Maildir.
//!
//! It knows no CONDSTORE: it compares the flags of all messages each time.

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
const ROUNDS: usize = 4;

fn config(folder: &Path, port: u16) -> PathBuf {
    let path = folder.display();
    let config = format!(
        "[general]\naccounts = all\nmetadata = {path}/metadata\nui = basic\n\
         [Account all]\nlocalrepository = near\nremoterepository = far\n\
         utf8foldernames = yes\n\
         [Repository near]\ntype = Maildir\nlocalfolders = {path}/near\nsep = /\n\
         [Repository far]\ntype = IMAP\nremotehost = 127.0.0.1\nremoteport = {port}\n\
         remoteuser = {USER}\nremotepass = {PASSWORD}\nauth_mechanisms = LOGIN\n\
         ssl = no\nstarttls = no\nmaxconnections = 1\n"
    );
    let file = folder.join("offlineimaprc");
    fs::write(&file, config).unwrap();
    file
}

/// One run; its output.
fn offlineimap(config: &Path, what: &str) -> String {
    let mut offlineimap = Command::new("offlineimap");
    offlineimap.env("HOME", config.parent().unwrap()).arg("-c").arg(config).arg("-o");
    let output = tool::run(&mut offlineimap, b"", DEADLINE).well(what).output();
    for word in ["ERROR", "WARNING", "Traceback"] {
        assert!(!output.contains(word), "{what}: {output}");
    }
    output
}

#[test]
fn offlineimap_makes_both_sides_equal_after_every_round_of_changes() {
    if !tool::present("offlineimap", &["offlineimap"]) {
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
    let config = config(folder.path(), recorder.address.port());
    let near = folder.path().join("near");
    let mut both = Both::new(&site, &near, Names::AsPeopleWriteThem, seed);
    let mut last = String::new();
    both.go(ROUNDS, &format!("offlineimap, PILLARBOX_SEED={seed}"), |what| {
        last = offlineimap(&config, what);
    });
    for deed in ["Copy message", "Adding flags", "Deleting flags", "Deleting", "Creating folder"] {
        assert!(!last.contains(deed), "nothing was left to do: {last}");
    }
    recorder.assert_understood("offlineimap");
    site.assert_no_complaint("offlineimap");
}

#[test]
fn offlineimap_is_written_down() {
    if !tool::present("transcript of offlineimap", &["offlineimap"]) {
        return;
    }
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let folder = tempfile::tempdir_in(&site.folder).unwrap();
    let recorder = Recorder::before(site.imap);
    let config = config(folder.path(), recorder.address.port());
    let near = folder.path().join("near");
    let headings = both_sides::story(&site, &near, Names::AsPeopleWriteThem, &recorder, |what| {
        offlineimap(&config, what);
    });
    let version = tool::run(Command::new("offlineimap").arg("--version"), b"", DEADLINE).output();
    transcripts::keep(
        "offlineimap",
        &format!("offlineimap {}", version.trim()),
        &recorder,
        &headings,
    );
    recorder.assert_understood("offlineimap");
    site.assert_no_complaint("offlineimap");
}
