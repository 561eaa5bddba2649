//! `init`, `serve`, `config check`, `check`, `status`: the store as a whole.

use std::path::Path;

use crate::admin::{Answer, Request};
use crate::cli::{CheckArguments, InitArguments, PlaceArguments};
use crate::command::{Place, ask, unexpected};
use crate::config::{CertificateSource, Config, LogFormat};
use crate::failure::{Exit, Failure};
use crate::store_access::{self, KeySource, StoreStatus};
use crate::{extract, logging, progress, secrets, serve};

/// `pillarbox init DIR`
pub(crate) fn init(arguments: &InitArguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let key = init_key(arguments)?;
    let recovery_key = store_access::init(directory, key)?;
    println!("made a store in {}", directory.display());
    println!();
    println!("Recovery key, shown only now. Write it down and keep it away from this machine:");
    println!();
    println!("    {}", recovery_key.expose());
    println!();
    println!(
        "It opens the store when the key is lost. 'pillarbox key verify-backup --data {}' proves \
         that you wrote it down rightly.",
        directory.display()
    );
    Ok(())
}

/// What will open a store that is made.
pub(crate) fn init_key(arguments: &InitArguments) -> Result<KeySource, Failure> {
    if let Some(file) = &arguments.new_key_file {
        refuse_inside(file, &arguments.directory)?;
        if file.exists() {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "{} exists already, and a store may depend on it; give it with --key-file to \
                     use it for this one too",
                    file.display()
                ),
            ));
        }
        return Ok(KeySource::KeyFile(file.clone()));
    }
    if let Some(file) = &arguments.key_file {
        refuse_inside(file, &arguments.directory)?;
        return Ok(KeySource::KeyFile(file.clone()));
    }
    if let Some(name) = &arguments.credential {
        return Ok(KeySource::Credential(name.clone()));
    }
    if let Some(file) = &arguments.passphrase_file {
        return Ok(KeySource::Passphrase(secrets::from_file(file)?));
    }
    if let Some(passphrase) = secrets::from_environment(secrets::PASSPHRASE_VARIABLE) {
        return Ok(KeySource::Passphrase(passphrase));
    }
    let first = secrets::ask("Passphrase for the new store: ")?;
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let second = secrets::ask("Once more: ")?;
        if first.expose() != second.expose() {
            return Err(Failure::new(Exit::Refused, "the two differ; nothing was made"));
        }
    }
    Ok(KeySource::Passphrase(first))
}

/// A key that lies in the directory that it protects protects nothing.
pub(crate) fn refuse_inside(file: &Path, directory: &Path) -> Result<(), Failure> {
    if file.starts_with(directory) {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{} would lie inside the data directory, where whoever steals the disk finds it; \
                 choose another place",
                file.display()
            ),
        ));
    }
    Ok(())
}

/// `pillarbox serve --config FILE`
pub(crate) fn serve(file: &Path, is_alone: bool) -> Result<(), Failure> {
    let config = Config::read(file)?;
    let options = config.server_options()?;
    logging::start(&config.log.level, config.log.format)?;
    serve::serve_perhaps_alone(options, &serve::Plain, is_alone)
}

/// `pillarbox config check FILE`
pub(crate) fn config_check(file: &Path) -> Result<(), Failure> {
    let config = Config::read(file)?;
    let options = config.server_options()?;
    if let CertificateSource::Files(..) = options.certificate {
        let (source, name) = (&options.certificate, &options.host_name);
        let certificate = crate::tls::server_config(source, name, &options.client_ca_file)?;
        crate::service::mail_config(&options, &certificate)?;
    }
    if let KeySource::KeyFile(key) = &options.key {
        std::fs::File::open(key).map_err(|cause| Failure::file("read", key, &cause))?;
    }
    if let [program, ..] = options.store.documents.missing_programs()[..] {
        return Err(Failure::new(
            Exit::Configuration,
            format!(
                "[[extractor]] command: there is no program {program:?} in {}",
                extract::PROGRAM_FOLDERS
            ),
        ));
    }
    for address in options.lmtp.addresses.iter().filter(|address| !address.ip().is_loopback()) {
        eprintln!(
            "warning: LMTP on {address} takes mail from everybody who can reach it, without \
             asking for a password"
        );
    }
    println!("{} is a valid configuration", file.display());
    if let Some(promise) = options.pair.promise() {
        println!("{promise}");
    }
    Ok(())
}

/// `pillarbox check`, after what it was asked to mend
pub(crate) fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let place = Place::find(&arguments.place)?;
    if arguments.repair {
        logging::start("warn", LogFormat::Text)?;
        let from = arguments.from.as_deref();
        let sentences = store_access::repair(&place.directory, place.key()?, from)?;
        sentences.iter().for_each(|sentence| println!("{sentence}"));
        let is_all_mended = !sentences.iter().any(|sentence| sentence.starts_with("left"));
        if arguments.give_up || !is_all_mended {
            give_up(&place, arguments.give_up)?;
        }
    }
    if arguments.rebuild {
        logging::start("warn", LogFormat::Text)?;
        let bar = progress::bar("Verifying the log", 0);
        let sentences =
            store_access::rebuild(&place.directory, place.key()?, &mut |done, total| {
                bar.set_length(total);
                bar.set_position(done);
            });
        bar.finish_and_clear();
        sentences?.iter().for_each(|sentence| println!("{sentence}"));
    }
    let mut connection = place.connect(Request::Check.mode())?;
    let bar = progress::bar("Checking messages and segments", 0);
    let answer = connection.call(&Request::Check, b"", &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    connection.close();
    let Answer::Checked(outcome) = answer? else { return Err(unexpected()) };
    println!("{}", outcome.summary);
    outcome.problems.iter().for_each(|sentence| println!("{sentence}"));
    match outcome.problem_count {
        0 => Ok(()),
        count => Err(Failure::new(
            Exit::Damage,
            format!(
                "{count} things in {} are not as they should be; keep a copy of the directory and \
                 see docs/operate.md",
                place.directory.display()
            ),
        )),
    }
}

/// Says what is lost; and gives it up, if that was said.
fn give_up(place: &Place, is_wanted: bool) -> Result<(), Failure> {
    let bar = progress::bar("Reading messages", 0);
    let sentences =
        store_access::give_up(&place.directory, place.key()?, is_wanted, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
    bar.finish_and_clear();
    sentences?.iter().for_each(|sentence| println!("{sentence}"));
    Ok(())
}

/// `pillarbox status`
pub(crate) fn status(place: &PlaceArguments) -> Result<(), Failure> {
    let status = ask_status(place)?;
    let width = status.lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in &status.lines {
        println!("{name:width$}  {value}");
    }
    match status.stopped {
        None => Ok(()),
        Some(why) => Err(Failure::new(Exit::Later, format!("the store takes no changes: {why}"))),
    }
}

/// `pillarbox status --json`
pub(crate) fn status_json(place: &PlaceArguments) -> Result<(), Failure> {
    let status = ask_status(place)?;
    let lines = status.lines.into_iter().map(|(name, value)| match value.parse::<u64>() {
        Ok(number) => (name, number.into()),
        Err(_) => (name, value.into()),
    });
    let mut object: serde_json::Map<String, serde_json::Value> = lines.collect();
    object.insert("stopped".to_owned(), status.stopped.into());
    println!("{}", serde_json::Value::Object(object));
    Ok(())
}

fn ask_status(place: &PlaceArguments) -> Result<StoreStatus, Failure> {
    match ask(place, &Request::Status)? {
        Answer::Status(status) => Ok(status),
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_inside_its_own_store_is_refused() {
        let inside = refuse_inside(Path::new("data/key"), Path::new("data/"));
        assert!(inside.unwrap_err().sentence.contains("inside the data directory"));
        assert!(refuse_inside(Path::new("data.key"), Path::new("data")).is_ok());
    }
}
