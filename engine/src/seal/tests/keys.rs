//! Root key and key table: wrapped, damaged, healed, destroyed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::sealer;
use crate::disk::{Disk, OpenMode, PlainDisk};
use crate::ids::{AccountNumber, KeyGeneration, VolumeId};
use crate::seal::*;

const ANNA: AccountNumber = AccountNumber(11);
const BERT: AccountNumber = AccountNumber(22);
const VOLUME: VolumeId = VolumeId([4; 16]);

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Secret::new(text.into()), Argon2Cost::CHEAP).unwrap()
}

fn root() -> RootKey {
    RootKeyFile::create(&sealer(), &passphrase("open sesame")).unwrap().1
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(PlainDisk)
}

fn table(folder: &Path, root: &RootKey) -> KeyTable {
    KeyTable::create(&disk(), folder, &sealer(), root, VOLUME, 1).unwrap()
}

fn load(folder: &Path, root: &RootKey) -> Result<(KeyTable, KeyTableReport), KeyError> {
    KeyTable::load(&disk(), folder, &sealer(), root, VOLUME, OpenMode::ReadWrite)
}

fn same(a: &RootKey, b: &RootKey) -> bool {
    a.key().expose() == b.key().expose()
}

#[test]
fn the_root_key_opens_with_the_passphrase_and_says_when_it_is_wrong() {
    let (file, root, _) = RootKeyFile::create(&sealer(), &passphrase("open sesame")).unwrap();
    let file = RootKeyFile::decode(&file.encode()).unwrap();
    assert!(same(&file.unlock(&passphrase("open sesame")).unwrap(), &root));
    let wrong = file.unlock(&passphrase("open barley")).unwrap_err();
    assert!(matches!(wrong, KeyError::WrongPassphrase));
    assert!(wrong.to_string().starts_with("the passphrase is wrong"));
    let empty = Passphrase::new(Secret::new(String::new()), Argon2Cost::CHEAP);
    assert!(matches!(empty, Err(KeyError::EmptyPassphrase)));
}

#[test]
fn the_recovery_key_opens_until_a_new_one_is_made() {
    let sealer = sealer();
    let (mut file, root, first) = RootKeyFile::create(&sealer, &passphrase("a")).unwrap();
    let typed = first.show().expose().to_lowercase().replace('-', " ").replace('0', "o");
    let typed = RecoveryKey::parse(&typed).unwrap();
    assert!(same(&file.unlock_with_recovery(&typed).unwrap(), &root));
    let second = file.new_recovery_key(&sealer, &root).unwrap();
    let file = RootKeyFile::decode(&file.encode()).unwrap();
    file.verify_recovery(&second).unwrap();
    assert!(matches!(file.verify_recovery(&first), Err(KeyError::WrongRecoveryKey)));
}

#[test]
fn a_mistyped_recovery_key_is_noticed_letter_by_letter() {
    let (_, _, key) = RootKeyFile::create(&sealer(), &passphrase("a")).unwrap();
    let shown = key.show();
    let shown = shown.expose();
    assert_eq!(shown.len(), 44);
    for place in 0..shown.len() {
        let mut typed = shown.as_bytes().to_vec();
        if typed[place] == b'-' {
            continue;
        }
        typed[place] = if typed[place] == b'7' { b'8' } else { b'7' };
        let typed = String::from_utf8(typed).unwrap();
        let refused = RecoveryKey::parse(&typed).unwrap_err();
        assert!(matches!(refused, KeyError::MistypedRecoveryKey { .. }), "{typed}");
    }
    for (typed, reason) in [("ABCD", "short"), ("u", "sign"), (&*format!("{shown}-0"), "long")] {
        assert!(RecoveryKey::parse(typed).unwrap_err().to_string().contains(reason), "{typed}");
    }
}

#[test]
fn a_new_passphrase_rewraps_the_root_key_alone() {
    let sealer = sealer();
    let (mut file, root, recovery) = RootKeyFile::create(&sealer, &passphrase("old")).unwrap();
    file.rewrap(&sealer, &root, &passphrase("new")).unwrap();
    assert!(file.unlock(&passphrase("old")).is_err());
    assert!(same(&file.unlock(&passphrase("new")).unwrap(), &root));
    file.verify_recovery(&recovery).unwrap();
}

#[test]
fn a_key_file_is_made_for_its_owner_alone_and_a_credential_may_hold_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pillarbox.key");
    let made = KeyFile::create(&path, &SystemRandom).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(KeyFile::create(&path, &SystemRandom).is_err(), "never overwritten");
    let (file, root, _) = RootKeyFile::create(&sealer(), &made).unwrap();
    assert!(same(&file.unlock(&KeyFile::read(&path).unwrap()).unwrap(), &root));
    let credential = Credential::read(Some(folder.path()), "pillarbox.key").unwrap();
    assert!(same(&file.unlock(&credential).unwrap(), &root));
    let other = KeyFile::parse("other".as_ref(), &[5; 32]).unwrap();
    assert!(matches!(file.unlock(&other), Err(KeyError::WrongKeyFile { .. })));
    let refused = file.unlock(&passphrase("x")).unwrap_err();
    assert!(refused.to_string().contains("opened by a key file"), "{refused}");
    assert!(matches!(Credential::read(None, "k"), Err(KeyError::NoCredential { .. })));
    assert!(Credential::read(Some(folder.path()), "../k").is_err());
    assert!(KeyFile::parse("short".as_ref(), b"too short").is_err());
}

#[test]
fn the_root_key_file_is_saved_whole_and_any_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys/root.key");
    assert!(RootKeyFile::load(&PlainDisk, &path).unwrap().is_none());
    let (file, _, _) = RootKeyFile::create(&sealer(), &passphrase("a")).unwrap();
    file.save(&PlainDisk, &path).unwrap();
    assert_eq!(RootKeyFile::load(&PlainDisk, &path).unwrap(), Some(file));
    let bytes = fs::read(&path).unwrap();
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 4;
        assert!(RootKeyFile::decode(&altered).is_err(), "byte {place}");
    }
}

#[test]
fn accounts_keep_their_keys_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let root = root();
    let table = table(folder.path(), &root);
    let first = table.add_account(ANNA).unwrap();
    let second = table.add_account(BERT).unwrap();
    assert!(second > first);
    let first_key = table.snapshot().naming(ANNA).unwrap().expose().to_owned();
    let (version, made) = table.new_generations(&[ANNA]).unwrap();
    assert_eq!(made, [(ANNA, KeyGeneration(2))]);
    let naming = table.snapshot().naming(ANNA).unwrap().expose().to_owned();
    assert_ne!(naming, first_key, "the first generation may go");
    assert_eq!(table.snapshot().retired().collect::<Vec<_>>(), [(ANNA, KeyGeneration(1))]);
    let (loaded, report) = load(folder.path(), &root).unwrap();
    assert_eq!(report, KeyTableReport::default());
    assert_eq!(loaded.version(), version);
    assert_eq!(loaded.accounts(), [ANNA, BERT]);
    assert_eq!(loaded.current(ANNA).unwrap().0, KeyGeneration(2));
    for generation in [KeyGeneration(1), KeyGeneration(2)] {
        let (old, new) = (table.key(ANNA, generation), loaded.key(ANNA, generation));
        assert_eq!(old.unwrap().expose(), new.unwrap().expose());
    }
    assert_eq!(loaded.volume_key().expose(), table.volume_key().expose());
    assert!(matches!(loaded.add_account(ANNA), Err(KeyError::AccountExists(ANNA))));
    assert!(loaded.remove_generation(ANNA, KeyGeneration(2)).is_err(), "the current one stays");
    loaded.remove_generation(ANNA, KeyGeneration(1)).unwrap();
    assert!(loaded.key(ANNA, KeyGeneration(1)).is_none());
    assert!(loaded.remove_generation(ANNA, KeyGeneration(0)).is_err(), "it hashes for ever");
    loaded.new_generations(&[ANNA, BERT]).unwrap();
    assert_eq!(*loaded.snapshot().naming(ANNA).unwrap().expose(), naming);
    let retired = [(ANNA, KeyGeneration(2)), (BERT, KeyGeneration(1))];
    assert_eq!(loaded.snapshot().retired().collect::<Vec<_>>(), retired);
}

#[test]
fn a_destroyed_account_is_in_neither_copy() {
    let folder = tempfile::tempdir().unwrap();
    let root = root();
    let table = table(folder.path(), &root);
    table.add_account(ANNA).unwrap();
    table.add_account(BERT).unwrap();
    table.remove_account(ANNA).unwrap();
    assert!(matches!(table.remove_account(ANNA), Err(KeyError::NoAccount(ANNA))));
    for copy in ["table.a", "table.b"] {
        let bytes = fs::read(folder.path().join(copy)).unwrap();
        let number = ANNA.0.to_le_bytes();
        assert!(!bytes.windows(8).any(|window| window == number), "{copy}");
    }
    let (loaded, _) = load(folder.path(), &root).unwrap();
    assert_eq!(loaded.accounts(), [BERT]);
}

#[test]
fn a_damaged_missing_or_older_copy_is_healed_from_the_other() {
    let root = root();
    for spoiled in ["table.a", "table.b"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(spoiled);
        let table = table(folder.path(), &root);
        let older = fs::read(&path).unwrap();
        table.add_account(ANNA).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[50] ^= 1;
        let cases = [
            (Some(flipped), "its checksum differs"),
            (Some(whole[..9].to_vec()), "it is cut short"),
            (Some(older), "it was behind"),
            (None, "it is missing"),
        ];
        for (bytes, expected) in cases {
            match bytes {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let (loaded, report) = load(folder.path(), &root).unwrap();
            let (_, problem) = report.healed.expect("the copy was healed");
            assert!(problem.starts_with(expected), "{problem}");
            assert_eq!(loaded.accounts(), [ANNA]);
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }
}

#[test]
fn two_bad_copies_open_nothing_rather_than_shred_all_mail() {
    let folder = tempfile::tempdir().unwrap();
    let root = root();
    table(folder.path(), &root);
    fs::write(folder.path().join("table.a"), b"noise").unwrap();
    fs::remove_file(folder.path().join("table.b")).unwrap();
    let refused = load(folder.path(), &root).err().unwrap();
    assert!(matches!(refused, KeyError::NoKeyTable { .. }), "{refused}");
    let again = KeyTable::create(&disk(), folder.path(), &sealer(), &root, VOLUME, 1);
    assert!(again.is_err(), "a table that is there is never made anew");
}

#[test]
fn a_table_of_another_store_or_volume_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = root();
    table(folder.path(), &root);
    let other = RootKeyFile::create(&Sealer::system(), &passphrase("x")).unwrap().1;
    let refused = load(folder.path(), &other).err().unwrap();
    assert!(matches!(refused, KeyError::OtherRootKey { .. }), "{refused}");
    let volume = VolumeId([5; 16]);
    let mode = OpenMode::ReadWrite;
    let other = KeyTable::load(&disk(), folder.path(), &sealer(), &root, volume, mode);
    let other = other.err().unwrap();
    assert!(matches!(other, KeyError::OtherVolume { .. }), "{other}");
}

#[test]
fn a_follower_takes_newer_tables_only() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = root();
    let (primary, follower) = (table(here.path(), &root), table(there.path(), &root));
    primary.add_account(ANNA).unwrap();
    let sent = primary.snapshot().encode();
    assert_eq!(follower.adopt(&sent).unwrap(), primary.version());
    assert_eq!(follower.accounts(), [ANNA]);
    assert!(matches!(follower.adopt(&sent), Err(KeyError::OlderTable { .. })));
    let version = follower.begin_epoch(2).unwrap();
    assert_eq!(version.0 >> 48, 2);
    assert!(follower.begin_epoch(1).is_err());
    assert!(load(there.path(), &root).unwrap().0.version() == version);
}

#[test]
fn a_version_is_never_used_twice_even_after_a_failed_write() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let root = root();
    let table = table(&keys, &root);
    let before = table.version();
    // A folder in the place of the second copy makes its rename fail, after the first is written.
    fs::remove_file(keys.join("table.b")).unwrap();
    fs::create_dir(keys.join("table.b")).unwrap();
    assert!(matches!(table.add_account(ANNA), Err(KeyError::Disk(_))));
    assert!(table.current(ANNA).is_none(), "what is not durable is not seen");
    fs::remove_dir(keys.join("table.b")).unwrap();
    assert_eq!(table.add_account(BERT).unwrap().0, before.0 + 2);
    assert_eq!(load(&keys, &root).unwrap().0.accounts(), [BERT]);
}

#[test]
fn account_numbers_are_drawn_fresh() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path(), &root());
    let (a, b) = (table.draw_account_number(), table.draw_account_number());
    assert!(a != b && a != AccountNumber::VOLUME);
}

#[test]
fn a_damaged_missing_or_older_file_of_the_root_key_is_healed_from_the_other() {
    let sealer = sealer();
    let (mut file, root, _) = RootKeyFile::create(&sealer, &passphrase("a")).unwrap();
    let older = file.encode();
    file.rewrap(&sealer, &root, &passphrase("b")).unwrap();
    let whole = file.encode();
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    file.save(&PlainDisk, &path).unwrap();
    let heal = || RootKeyFile::load_and_heal(&PlainDisk, &path).unwrap().unwrap();
    assert_eq!(heal(), (file.clone(), None));
    for spoiled in ["root.key", "root.copy"] {
        let spoiled = folder.path().join(spoiled);
        let is_copy = spoiled != path;
        for (bytes, expected) in [
            (Some(&flipped), Some("its checksum differs")),
            (None, (!is_copy).then_some("it is missing")),
            (is_copy.then_some(&older), is_copy.then_some("it was behind")),
        ] {
            match bytes {
                Some(bytes) => fs::write(&spoiled, bytes).unwrap(),
                None => drop(fs::remove_file(&spoiled)),
            }
            let (found, healed) = heal();
            assert!(found == file, "the newer one counts");
            match expected {
                Some(expected) => assert!(healed.unwrap().ends_with(expected), "{expected}"),
                // A copy that was never made is nothing to tell of; a file that is whole either.
                None => assert!(healed.is_none() || !is_copy),
            }
            assert_eq!(fs::read(&spoiled).unwrap(), whole);
        }
    }
    fs::write(&path, b"noise").unwrap();
    fs::remove_file(folder.path().join("root.copy")).unwrap();
    let refused = RootKeyFile::load(&PlainDisk, &path).unwrap_err().to_string();
    assert!(refused.contains("root.key (it is cut short)"), "{refused}");
    assert!(refused.contains("root.copy (it is missing)"), "{refused}");
    fs::remove_file(&path).unwrap();
    assert!(RootKeyFile::load(&PlainDisk, &path).unwrap().is_none(), "there is no store");
}

#[test]
fn a_credential_that_systemd_did_not_pass_is_named_with_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Credential::read(Some(folder.path()), "pillarbox").err().unwrap().to_string();
    let expected = format!("there is no credential 'pillarbox' in {}", folder.path().display());
    assert!(refused.starts_with(&expected), "{refused}");
    // Lists of access that systemd sets show as permissions of the group.
    use std::os::unix::fs::PermissionsExt;
    let path = folder.path().join("pillarbox");
    fs::write(&path, [7; 32]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    Credential::read(Some(folder.path()), "pillarbox").unwrap();
    let refused = KeyFile::read(&path).err().unwrap().to_string();
    assert!(refused.contains("mode 644"), "{refused}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    KeyFile::read(&path).expect("its group may read it");
}

#[test]
fn an_account_key_that_does_not_open_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = root();
    let table = table(folder.path(), &root);
    table.add_account(ANNA).unwrap();
    let mut bytes = table.snapshot().encode();
    // Within the sealed key of the first entry; the checksum is put right.
    bytes[170] ^= 1;
    let body = bytes.len() - 32;
    let checksum = blake3::hash(&bytes[..body]);
    bytes[body..].copy_from_slice(checksum.as_bytes());
    let refused = KeyTableSnapshot::decode(&bytes, &root).err().unwrap();
    assert!(
        matches!(
            refused,
            KeyError::DamagedAccountKey { account: ANNA, generation: KeyGeneration(1) }
        ),
        "{refused}"
    );
    for copy in ["table.a", "table.b"] {
        fs::write(folder.path().join(copy), &bytes).unwrap();
    }
    let refused = load(folder.path(), &root).err().unwrap().to_string();
    assert!(refused.contains("generation 1, does not open under the root key"), "{refused}");
}
