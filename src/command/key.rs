//! `key …`: what opens the store, the recovery key, and the keys of accounts.

use std::path::Path;

use crate::admin::{Answer, Connection, KeyRequest, NewKey, Request, RetiredLine};
use crate::cli::{KeyVerb, NewKeyArguments, PlaceArguments};
use crate::command::store::refuse_inside;
use crate::command::{Place, ask, unexpected};
use crate::failure::Failure;
use crate::store_access::{self, KeySource};
use crate::{progress, secrets};

/// `pillarbox key …`
pub(crate) fn key(verb: KeyVerb) -> Result<(), Failure> {
    match verb {
        KeyVerb::Backup { place } => backup(&place),
        KeyVerb::Rotate { new, recovery_key_file, place } => match (&new.account, new.all_accounts)
        {
            (Some(name), _) => rotate_accounts(Some(name.clone()), &place),
            (None, true) => rotate_accounts(None, &place),
            (None, false) => change(&new, recovery_key_file.as_deref(), &place),
        },
        KeyVerb::Rewrap { stop: true, place, .. } => {
            ask(&place, &request(KeyRequest::StopRewrap))?;
            println!("re-wrapping ends after the segment that it is at; what was done stays done");
            Ok(())
        }
        KeyVerb::Rewrap { account, stop: false, place } => rewrap(account, &place),
        KeyVerb::VerifyBackup { recovery_key_file, place } => {
            let place = Place::find(&place)?;
            let recovery_key = match recovery_key_file {
                Some(path) => secrets::from_file(&path)?,
                None => secrets::ask("Recovery key: ")?,
            };
            store_access::verify_recovery_key(&place.directory, &recovery_key)?;
            println!("the recovery key opens {}", place.directory.display());
            Ok(())
        }
    }
}

fn request(request: KeyRequest) -> Request {
    Request::Key { request }
}

fn backup(place: &PlaceArguments) -> Result<(), Failure> {
    let place = Place::find(place)?;
    let shown = match Connection::running(&place.directory)? {
        Some(mut server) => {
            let asked = request(KeyRequest::Backup);
            let Answer::RecoveryKey { text } = server.call(&asked, b"", &mut |_, _| {})? else {
                return Err(unexpected());
            };
            text.0
        }
        None => store_access::key_backup(&place.directory, &place.key()?)?.expose().to_owned(),
    };
    println!("New recovery key, shown only now; earlier ones open nothing any more:");
    println!();
    println!("    {shown}");
    println!();
    println!("Write it down, then prove that you did with 'pillarbox key verify-backup'.");
    Ok(())
}

/// Puts a new key in the place of the one that opens the store. A running store needs no old one.
fn change(
    new: &NewKeyArguments,
    recovery_key_file: Option<&Path>,
    place: &PlaceArguments,
) -> Result<(), Failure> {
    let place = Place::find(place)?;
    let (new, words) = new_key(new, &place.directory)?;
    match Connection::running(&place.directory)? {
        Some(mut server) => {
            server.call(&request(KeyRequest::Change { new }), b"", &mut |_, _| {})?;
        }
        None => {
            let old = match recovery_key_file {
                Some(path) => KeySource::RecoveryKey(secrets::from_file(path)?),
                None => place.key()?,
            };
            store_access::rotate_key(&place.directory, &old, &new.into())?;
        }
    }
    println!("{} opens with {words} now", place.directory.display());
    println!("set [key] in the configuration accordingly before the next start");
    Ok(())
}

fn new_key(new: &NewKeyArguments, directory: &Path) -> Result<(NewKey, String), Failure> {
    if let Some(path) = &new.new_key_file {
        refuse_inside(path, directory)?;
        // The server has another current folder.
        let path = std::path::absolute(path).map_err(|why| Failure::file("find", path, &why))?;
        let words = path.display().to_string();
        return Ok((NewKey::File { path }, words));
    }
    if let Some(name) = &new.new_credential {
        let words = format!("the credential '{name}'");
        return Ok((NewKey::Credential { name: name.clone() }, words));
    }
    let secret = match &new.new_passphrase_file {
        Some(path) if path.as_os_str() != "-" => secrets::from_file(path)?,
        _ => secrets::ask("New passphrase: ")?,
    };
    let text = secret.expose().to_owned();
    Ok((NewKey::Passphrase { text }, "the new passphrase".to_owned()))
}

fn rotate_accounts(account: Option<String>, place: &PlaceArguments) -> Result<(), Failure> {
    let whose = account.clone().unwrap_or_else(|| "every account".to_owned());
    ask(place, &request(KeyRequest::Rotate { account }))?;
    println!("what comes for {whose} from now on is sealed under a new key");
    println!(
        "older mail comes under it as space is reclaimed, or at once with 'pillarbox key rewrap'"
    );
    Ok(())
}

fn rewrap(account: Option<String>, place: &PlaceArguments) -> Result<(), Failure> {
    let asked = request(KeyRequest::Rewrap { account });
    let mut connection = Place::find(place)?.connect(asked.mode())?;
    let bar = progress::bar("Rewriting segments", 0);
    let answer = connection.call(&asked, b"", &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    connection.close();
    let Answer::Rewrapped { keys } = answer? else { return Err(unexpected()) };
    if keys.is_empty() {
        println!("there are no retired keys; 'pillarbox key rotate --account USER' retires one");
    }
    keys.iter().for_each(|key| println!("{}", sentence(key)));
    Ok(())
}

/// What became of a retired key.
fn sentence(key: &RetiredLine) -> String {
    let RetiredLine { account, generation, .. } = key;
    if key.destroyed {
        return format!("{account}, key {generation}: destroyed, nothing needed it any more");
    }
    let holders = [
        (key.record_segments, "segments have records under it: run this command again"),
        (key.header_segments, "segments have messages under it: run this command again"),
        (key.value_count, "values of state are under it: run this command again"),
        (key.unread_segments, "segments cannot be read: run 'pillarbox check'"),
    ];
    let holders = holders.iter().filter(|(count, _)| *count > 0);
    let holders: Vec<String> = holders.map(|(count, what)| format!("{count} {what}")).collect();
    format!("{account}, key {generation}: kept; {}", holders.join("; "))
}
