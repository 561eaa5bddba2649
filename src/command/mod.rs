//! What each verb does: words for a person around a request to the store.

pub(crate) mod index;
pub(crate) mod key;
pub(crate) mod mail;
pub(crate) mod people;
pub(crate) mod replica;
pub(crate) mod retention;
pub(crate) mod search;
pub(crate) mod store;
pub(crate) mod upgrade;
pub(crate) mod when;

use std::path::PathBuf;

use crate::admin::{Answer, Connection, Request};
use crate::cli::PlaceArguments;
use crate::config::{Config, LogFormat, default_key_source};
use crate::failure::{Exit, Failure};
use crate::logging;
use crate::store_access::{KeySource, OpenMode};

/// The configuration file where a packaged server keeps it.
const USUAL_CONFIG: &str = "/etc/pillarbox.toml";

/// Which store a command is about.
struct Place {
    directory: PathBuf,
    config: Option<Config>,
    key_file: Option<PathBuf>,
}

impl Place {
    /// From `--data`, else from `--config`, else from the usual configuration file.
    fn find(arguments: &PlaceArguments) -> Result<Place, Failure> {
        let usual = PathBuf::from(USUAL_CONFIG);
        let config = match (&arguments.config, &arguments.data) {
            (Some(path), _) => Some(Config::read(path)?),
            (None, Some(_)) => None,
            (None, None) if usual.exists() => Some(Config::read(&usual)?),
            (None, None) => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!(
                        "which store? Give --data DIR or --config FILE (or PILLARBOX_DATA, or \
                         PILLARBOX_CONFIG, or make {USUAL_CONFIG})"
                    ),
                ));
            }
        };
        let configured = config.as_ref().map(|config| config.store.directory.clone());
        let directory = arguments.data.clone().or(configured).unwrap_or_default();
        Ok(Place { directory, config, key_file: arguments.key_file.clone() })
    }

    fn key(&self) -> Result<KeySource, Failure> {
        match (&self.key_file, &self.config) {
            (Some(file), _) => Ok(KeySource::KeyFile(file.clone())),
            (None, Some(config)) => config.key_source(),
            (None, None) => default_key_source(&self.directory),
        }
    }

    /// Connects for requests that change something or, by `mode`, change nothing.
    fn connect(&self, mode: OpenMode) -> Result<Connection, Failure> {
        self.begin_log()?;
        self.connect_quietly(mode)
    }

    /// What opening the directory has to complain about is shown.
    fn begin_log(&self) -> Result<(), Failure> {
        logging::start("warn", LogFormat::Text)
    }

    /// Connects once more.
    fn connect_quietly(&self, mode: OpenMode) -> Result<Connection, Failure> {
        let config = self.config.clone().unwrap_or_default();
        Connection::open(&self.directory, || self.key(), &config, mode)
    }
}

impl Place {
    /// Whether the store serves.
    fn is_running(&self) -> Result<bool, Failure> {
        Ok(Connection::running(&self.directory)?.is_some())
    }
}

/// One request that changes something or reads a little, and its answer.
fn ask(arguments: &PlaceArguments, request: &Request) -> Result<Answer, Failure> {
    let mut connection = Place::find(arguments)?.connect(request.mode())?;
    let answer = connection.call(request, b"", &mut |_, _| {});
    connection.close();
    answer
}

/// An answer of another kind than asked for: a running store of another version.
pub(crate) fn unexpected() -> Failure {
    Failure::new(
        Exit::Refused,
        "the running store answered something unexpected; it may be of another version: restart it",
    )
}

/// Bytes for people.
fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}
