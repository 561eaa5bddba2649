//! `demo`, behind `make run`: a store with one account whose password everybody knows, on loopback.
//!
//! Killed at any moment, the next start goes on: the key file is written whole before the store is
//! made, the store is made beside its place and renamed into it, and the account is made if
//! missing.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use engine::seal::Secret;
use engine::{NewAccount, Store};

use crate::config::{Config, LogFormat, beside};
use crate::failure::{Exit, Failure};
use crate::logging;
use crate::serve::{DEMO_ACCOUNT, DEMO_PASSWORD, Occasion, serve};
use crate::store_access::{self, KeySource};

/// The standard ports that the demo shifts.
const IMAP_PORT: u16 = 143;
const IMAP_TLS_PORT: u16 = 993;
const POP3_PORT: u16 = 110;
const POP3_TLS_PORT: u16 = 995;
const LMTP_PORT: u16 = 24;
const SMTP_PORT: u16 = 25;
/// The demo account's domain.
const DEMO_DOMAIN: &str = "example.org";

/// What `demo` was asked for.
pub(crate) struct DemoOptions {
    /// The data directory.
    pub(crate) directory: PathBuf,
    /// Added to each standard port.
    pub(crate) port_base: u16,
    /// The address to listen on.
    pub(crate) listen: IpAddr,
}

/// Makes what is missing, serves, and prints how to connect.
pub(crate) fn run(options: &DemoOptions) -> Result<(), Failure> {
    logging::start("info", LogFormat::Text)?;
    let config = config(options)?;
    let key_file = beside(&options.directory, ".key");
    let parent = match options.directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(|cause| Failure::file("make", parent, &cause))?;
    // Two starts at once take turns here; the second then finds the store in use.
    let turn = std::fs::File::open(parent)
        .and_then(|folder| folder.lock().map(|()| folder))
        .map_err(|cause| Failure::file("lock", parent, &cause))?;
    let recovery_key = make_store(&options.directory, &key_file)?;
    drop(turn);
    let mut server = config.server_options()?;
    server.key = KeySource::KeyFile(key_file.clone());
    let words = words(options, &key_file, recovery_key.as_ref());
    serve(server, &Demo { words })
}

struct Demo {
    words: String,
}

impl Occasion for Demo {
    fn opened(&self, store: &Store) -> Result<(), Failure> {
        if store.account(DEMO_ACCOUNT)?.is_some() {
            return Ok(());
        }
        if !store.domains()?.iter().any(|domain| domain == DEMO_DOMAIN) {
            store.add_domain(DEMO_DOMAIN)?;
        }
        let password = Secret::new(DEMO_PASSWORD.to_owned());
        store.create_account(NewAccount {
            name: DEMO_ACCOUNT.to_owned(),
            password,
            quota_bytes: None,
        })?;
        Ok(())
    }

    fn ready(&self) {
        println!("{}", self.words);
    }
}

/// The demo's addresses and files, as a configuration file would say it.
fn config(options: &DemoOptions) -> Result<Config, Failure> {
    let address = |port: u16| -> Result<Vec<String>, Failure> {
        let shifted = options.port_base.checked_add(port).ok_or_else(|| {
            let highest = u16::MAX - POP3_TLS_PORT;
            Failure::new(Exit::Usage, format!("the port base must lie between 0 and {highest}"))
        })?;
        Ok(vec![SocketAddr::new(options.listen, shifted).to_string()])
    };
    let mut config = Config::default();
    config.store.directory.clone_from(&options.directory);
    config.store.host_name = "localhost".to_owned();
    config.imap.listen = address(IMAP_PORT)?;
    config.imap.listen_tls = address(IMAP_TLS_PORT)?;
    config.pop3.listen = address(POP3_PORT)?;
    config.pop3.listen_tls = address(POP3_TLS_PORT)?;
    config.lmtp.listen = address(LMTP_PORT)?;
    config.smtp.listen = address(SMTP_PORT)?;
    config.key.file = beside(&options.directory, ".key");
    Ok(config)
}

/// Makes the store unless it is there; gives the recovery key of a new one.
fn make_store(directory: &Path, key_file: &Path) -> Result<Option<Secret>, Failure> {
    let nothing_there = match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => true,
        Err(cause) => return Err(Failure::file("read", directory, &cause)),
    };
    if !nothing_there {
        return Ok(None);
    }
    let making = beside(directory, ".making");
    if making.exists() {
        // A start that was killed while it made the store; it never held mail.
        std::fs::remove_dir_all(&making)
            .map_err(|cause| Failure::file("remove", &making, &cause))?;
    }
    let recovery_key = store_access::init(&making, KeySource::KeyFile(key_file.to_path_buf()))?;
    std::fs::rename(&making, directory)
        .map_err(|cause| Failure::file("make", directory, &cause))?;
    Ok(Some(recovery_key))
}

/// What a person reads when the demo is ready.
fn words(options: &DemoOptions, key_file: &Path, recovery_key: Option<&Secret>) -> String {
    let host = options.listen;
    let data = options.directory.display();
    let key = key_file.display();
    let port = |standard: u16| options.port_base.saturating_add(standard);
    let (imap, imap_tls) = (port(IMAP_PORT), port(IMAP_TLS_PORT));
    let (pop3, pop3_tls) = (port(POP3_PORT), port(POP3_TLS_PORT));
    let (lmtp, smtp) = (port(LMTP_PORT), port(SMTP_PORT));
    let url_host = match host {
        IpAddr::V4(host) => host.to_string(),
        IpAddr::V6(host) => format!("[{host}]"),
    };
    let recovery = recovery_key.map_or_else(String::new, |recovery_key| {
        format!(
            "\n  Recovery key (opens the store if {key} is lost; shown only now):\n    {}\n",
            recovery_key.expose()
        )
    });
    format!(
        "
Pillarbox is ready. Data: {data}, key: {key}. Stop it with Ctrl-C.
{recovery}
  Settings for a mail client (in Thunderbird: 'Configure manually')
    Your name, email      Demo, {DEMO_ACCOUNT}
    Username, password    {DEMO_ACCOUNT}, {DEMO_PASSWORD}
    Incoming server       IMAP, {host}, port {imap}, STARTTLS, normal password
                      or  IMAP, {host}, port {imap_tls}, SSL/TLS, normal password
                      or  POP3, {host}, port {pop3} (STARTTLS) or {pop3_tls} (SSL/TLS)
    Outgoing server       SMTP, {host}, port {smtp}, no encryption, no authentication
                          (takes mail for {DEMO_DOMAIN} only)
    The certificate is self-signed: the client asks once whether to trust it.

  Send a message, and see it arrive:
    swaks --server {url_host}:{smtp} --from you@example.net --to {DEMO_ACCOUNT} \\
      --header 'Subject: First light' --body 'It works.'

  The same by LMTP, as a Postfix would:
    swaks --protocol LMTP --server {url_host}:{lmtp} --from you@example.net --to {DEMO_ACCOUNT}

  Read without a mail client:
    curl -s --user {DEMO_ACCOUNT}:{DEMO_PASSWORD} 'imap://{url_host}:{imap}/INBOX;MAILINDEX=*'

  Look inside from another terminal:
    pillarbox status --data {data}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> DemoOptions {
        DemoOptions {
            directory: PathBuf::from("data"),
            port_base: 10_000,
            listen: "127.0.0.1".parse().unwrap(),
        }
    }

    #[test]
    fn the_demo_listens_on_the_standard_ports_plus_ten_thousand() {
        let config = config(&options()).unwrap();
        assert_eq!(config.imap.listen, ["127.0.0.1:10143"]);
        assert_eq!(config.imap.listen_tls, ["127.0.0.1:10993"]);
        assert_eq!(config.pop3.listen, ["127.0.0.1:10110"]);
        assert_eq!(config.pop3.listen_tls, ["127.0.0.1:10995"]);
        assert_eq!(config.lmtp.listen, ["127.0.0.1:10024"]);
        assert_eq!(config.smtp.listen, ["127.0.0.1:10025"]);
    }

    #[test]
    fn a_port_base_that_leaves_no_room_is_refused() {
        let failure = config(&DemoOptions { port_base: 65_000, ..options() }).unwrap_err();
        assert!(failure.sentence.contains("between 0 and 64540"), "{}", failure.sentence);
    }

    #[test]
    fn the_words_name_what_a_person_needs_to_connect() {
        let key = Secret::new("abcd-efgh".to_owned());
        let words = words(&options(), Path::new("data.key"), Some(&key));
        for needed in [
            "10143",
            "10993",
            "10110",
            "10995",
            "demo@example.org",
            "swaks --server 127.0.0.1:10025",
        ] {
            assert!(words.contains(needed), "{needed} is missing in: {words}");
        }
        assert!(words.contains("abcd-efgh"));
    }
}
