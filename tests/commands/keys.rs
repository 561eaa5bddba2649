//! Keys and format levels, as an operator meets them.

use super::support::site::USER;
use super::{shown_key, site};

#[test]
fn an_upgrade_of_a_new_store_is_finished_already() {
    let Some(mut site) = site() else { return };
    for round in ["stopped", "running"] {
        let ended = site.pillarbox(&["upgrade", "finish"]).well("upgrade finish");
        let said = "already, the newest that this version writes; nothing was changed";
        assert!(ended.stdout.contains(said), "{round}: {}", ended.stdout);
        let status = site.pillarbox(&["status", "--json"]).well("status").stdout;
        let level = |name: &str| {
            let (_, rest) = status.split_once(&format!("\"{name}\":")).expect("a line of status");
            rest.split([',', '}']).next().unwrap().to_owned()
        };
        assert_eq!(level("format_level"), level("format_level_newest"), "{round}");
        if round == "stopped" {
            site.start();
        }
    }
}

#[test]
fn what_opens_the_store_changes_while_it_runs() {
    let Some(mut site) = site() else { return };
    site.start();
    let new = site.folder.join("new.key");
    let inside = site.data.join("new.key");
    let refused = site.pillarbox(&["key", "rotate", "--new-key-file", inside.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "{}", refused.output());
    site.pillarbox(&["key", "rotate", "--new-key-file", new.to_str().unwrap()]).well("rotate");
    let shown = shown_key(&site.pillarbox(&["key", "backup"]).well("key backup").stdout);
    site.imap().select("INBOX").unwrap();
    site.stop();
    let old = site.pillarbox(&["status"]);
    assert_eq!(old.code, Some(77), "the old key opens nothing: {}", old.output());
    assert!(old.stderr.contains("is not the key of this data directory"), "{}", old.stderr);
    let with = |key: &str| site.pillarbox(&["status", "--key-file", key]);
    with(new.to_str().unwrap()).well("the new key");
    let typed = format!("{shown}\n");
    site.pillarbox_with_input(&["key", "verify-backup"], typed.as_bytes()).well("the new recovery");

    let passphrase = site.folder.join("passphrase");
    std::fs::write(&passphrase, "a few words of mine\n").unwrap();
    let recovery = site.folder.join("recovery");
    std::fs::write(&recovery, typed).unwrap();
    let (words, recovery) = (passphrase.to_str().unwrap(), recovery.to_str().unwrap());
    let rotate = ["key", "rotate", "--new-passphrase-file", words, "--recovery-key-file", recovery];
    site.pillarbox(&rotate).well("a stopped store whose key is lost");
    site.configure(&format!("[key]\npassphrase_file = {words:?}"));
    site.pillarbox(&["status"]).well("the passphrase");
}

#[test]
fn keys_of_accounts_change_and_mail_stays_readable() {
    let Some(mut site) = site() else { return };
    let none = site.pillarbox(&["key", "rewrap"]).well("nothing to do").stdout;
    assert!(none.contains("there are no retired keys"), "{none}");
    let nobody = site.pillarbox(&["key", "rotate", "--account", "no@example.org"]);
    assert_eq!(nobody.code, Some(67), "{}", nobody.output());
    let message = b"Subject: before\r\n\r\nunder the first key\r\n";
    for (round, key) in [("stopped", 1), ("running", 2)] {
        site.pillarbox_with_input(&["deliver", USER], message).well("deliver");
        let said = site.pillarbox(&["key", "rotate", "--account", USER]).well("rotate").stdout;
        assert!(said.contains(USER) && said.contains("'pillarbox key rewrap'"), "{said}");
        let status = site.pillarbox(&["status"]).well("status").stdout;
        assert!(status.contains("retired_keys") && status.contains("records in up to"), "{status}");
        let said = site.pillarbox(&["key", "rewrap", "--account", USER]).well("rewrap").stdout;
        assert!(said.contains(&format!("key {key}: destroyed")), "{round}: {said}");
        assert!(!said.contains("kept;"), "nothing needs an older key: {round}: {said}");
        let again = site.pillarbox(&["key", "rewrap"]).well("rewrap again").stdout;
        assert!(again.contains("there are no retired keys"), "{round}: {again}");
        if round == "stopped" {
            site.start();
        }
    }
    site.pillarbox(&["key", "rotate", "--all-accounts"]).well("rotate all");
    site.pillarbox(&["key", "rewrap", "--stop"]).well("stop");
    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists, 2);
    for message in imap.fetch("1:2", "(BODY.PEEK[TEXT])").unwrap() {
        assert_eq!(message.body.unwrap(), b"under the first key\r\n");
    }
    drop(imap);
    site.pillarbox(&["check"]).well("check");
    let deleted = site.pillarbox(&["account", "delete", USER, "--yes"]).well("delete").stdout;
    for place in ["here: its mail is unreadable now", "on a follower: ", "in backups: copies"] {
        assert!(deleted.contains(place), "{deleted}");
    }
}

#[test]
fn a_damaged_file_of_keys_heals_and_two_are_refused_by_name() {
    let Some(mut site) = site() else { return };
    let key_files = ["keys/root.key", "keys/root.copy"];
    let table_files = ["volumes/main/keys/table.a", "volumes/main/keys/table.b"];
    for (files, what) in
        [(key_files, "the root key"), (table_files, "both copies of the key table")]
    {
        let whole: Vec<Vec<u8>> =
            files.iter().map(|file| std::fs::read(site.data.join(file)).unwrap()).collect();
        assert_eq!(whole[0], whole[1]);
        for file in files {
            std::fs::write(site.data.join(file), b"noise").unwrap();
            site.start();
            site.stop();
            assert_eq!(std::fs::read(site.data.join(file)).unwrap(), whole[0], "{file} healed");
        }
        files.iter().for_each(|file| std::fs::write(site.data.join(file), b"noise").unwrap());
        let refused = site.pillarbox(&["status"]);
        assert_eq!(refused.code, Some(77), "{}", refused.output());
        assert!(refused.stderr.contains(what), "{}", refused.stderr);
        assert!(refused.stderr.contains("backup"), "what to do: {}", refused.stderr);
        for (file, whole) in files.iter().zip(whole) {
            std::fs::write(site.data.join(file), whole).unwrap();
        }
    }
    site.pillarbox(&["check"]).well("check");
}

#[test]
fn a_key_file_that_is_missing_or_open_to_all_is_named_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let Some(site) = site() else { return };
    let key = site.folder.join("other.key");
    let status = || site.pillarbox(&["status", "--key-file", key.to_str().unwrap()]);
    let missing = status();
    assert_eq!(missing.code, Some(77), "{}", missing.output());
    assert!(missing.stderr.contains("other.key is missing"), "{}", missing.stderr);
    assert!(missing.stderr.contains("--recovery-key-file"), "{}", missing.stderr);
    std::fs::write(&key, "5".repeat(64)).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = status();
    assert_eq!(open.code, Some(77), "{}", open.output());
    assert!(open.stderr.contains("mode 644") && open.stderr.contains("chmod 600"), "{open:?}");
}
