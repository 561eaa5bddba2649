//! The configuration: one TOML file with one section per part of the server.
//!
//! Reading ends in [`ServerOptions`], which cannot be invalid. Unknown keys are errors that name
//! their line and the nearest key, because a setting that is silently ignored is a setting that is
//! wrong. `docs/config.example.toml` is the default configuration with the comments of the fields
//! below; a test keeps it so.
//!
//! Only what is a node's own stands here. Domains, aliases and accounts are records in the store.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::listener::ConnectionBounds;
use crate::secrets;
use crate::store_access::{IoChoice, KeySource, StoreBounds};

/// Bytes of a configuration file that we read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The file, section by section.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) store: StoreSection,
    pub(crate) key: KeySection,
    pub(crate) tls: TlsSection,
    pub(crate) imap: ImapSection,
    pub(crate) pop3: Pop3Section,
    pub(crate) tokens: TokensSection,
    pub(crate) lmtp: LmtpSection,
    pub(crate) smtp: SmtpSection,
    pub(crate) delivery: DeliverySection,
    pub(crate) limits: LimitsSection,
    pub(crate) log: LogSection,
}

/// What a segment of the log may have.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

/// Where the mail lies and who we are.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSection {
    /// The data directory, made by 'pillarbox init'.
    pub(crate) directory: PathBuf,
    /// The name in greetings and in Received fields; empty: the machine's own name.
    pub(crate) host_name: String,
    /// Memory in bytes for opened pages of mailboxes; a message that is often looked at takes some
    /// dozens of bytes.
    pub(crate) page_cache_bytes: u64,
    /// Memory in bytes for opened summaries, from which ENVELOPE, BODYSTRUCTURE, lists, SORT and
    /// THREAD are answered. They lie there as they are stored: the default holds some tens of
    /// thousands.
    pub(crate) summary_cache_bytes: u64,
    /// Free bytes of the disk below which no new mail is taken, so that deleting always works;
    /// below a quarter of it no change is taken. All goes on by itself when space comes back. 0:
    /// the disk is not asked, and once it is full no change is taken until the store is restarted.
    pub(crate) reserve_bytes: u64,
    /// Bytes a second that are copied at most to give the space of expunged mail back; 0: never.
    pub(crate) reclaim_bytes_per_second: u64,
    /// Hours after which everything is counted anew, in the background, and compared with the
    /// running figures; a difference is logged as an error and shown by 'status', and changes
    /// nothing; 0: never.
    pub(crate) recount_hours: u32,
    /// Bytes of the log that are read and verified a second at most while nothing else asks for
    /// them, so that damage is found while there is a copy; 0: never. 4 MiB read 1 TiB in 3 days.
    pub(crate) scrub_bytes_per_second: u64,
    /// Bytes of a segment of the log, at least 1 MiB; a checkpoint is made at every half of it.
    /// Space comes back by segments, so a small disk wants small ones. May be changed at any time.
    pub(crate) segment_bytes: u64,
    /// How the log is written: "plain" (pwrite and fdatasync), "uring" (io_uring: one system call a
    /// batch, past the page cache; refused at start where it does not work, as in many containers),
    /// or "auto": what measured best so far, which is plain. The server says at start what it uses.
    pub(crate) io: Io,
}

impl Default for StoreSection {
    fn default() -> StoreSection {
        StoreSection {
            directory: PathBuf::from("/var/lib/pillarbox/store"),
            host_name: String::new(),
            page_cache_bytes: 256 << 20,
            summary_cache_bytes: 64 << 20,
            reserve_bytes: 512 << 20,
            reclaim_bytes_per_second: 32 << 20,
            recount_hours: 24,
            scrub_bytes_per_second: 4 << 20,
            segment_bytes: 128 << 20,
            io: Io::Auto,
        }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Io {
    /// What measured best.
    Auto,
    /// io_uring, or the store is not opened.
    Uring,
    /// `pwrite` and `fdatasync`.
    Plain,
}

/// What opens the store: set one of the three, or the environment variable PILLARBOX_PASSPHRASE.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeySection {
    /// A key file, as 'pillarbox init --new-key-file' writes it. Keep it off the disk that holds
    /// the store, or the encryption protects from nothing. Empty: 'DIRECTORY.key', if there is one.
    pub(crate) file: PathBuf,
    /// A file with a passphrase in its first line.
    pub(crate) passphrase_file: PathBuf,
    /// The name of a systemd credential (LoadCredentialEncrypted=) that holds a key.
    pub(crate) credential: String,
}

/// The certificate for STARTTLS and for the ports that speak TLS from the first byte.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsSection {
    /// A PEM file with the certificate and its chain. Empty: a self-signed one is made and kept in
    /// 'DIRECTORY.tls/'; mail clients will warn about it.
    pub(crate) certificate_file: PathBuf,
    /// A PEM file with its private key.
    pub(crate) key_file: PathBuf,
    /// A PEM file with authorities whose clients' certificates log in without a password, as the
    /// e-mail address in them, or else the common name (AUTH=EXTERNAL). Whoever they certify is
    /// believed. Empty: no certificate is asked for.
    pub(crate) client_ca_file: PathBuf,
}

/// IMAP.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ImapSection {
    /// Addresses for IMAP with STARTTLS. Loopback, so that nothing is open to the world unasked.
    pub(crate) listen: Vec<String>,
    /// Addresses for IMAP over TLS.
    pub(crate) listen_tls: Vec<String>,
    /// Connections at once. Ten thousand idle ones are normal and cost a few KiB each.
    pub(crate) connections: u32,
    /// Connections at once from one IPv4 address or IPv6 /64 network; loopback is not counted. A
    /// household behind one address with several devices and several folders watched by each needs
    /// dozens.
    pub(crate) connections_per_address: u32,
    /// Connections at once of one account, those of POP3 included.
    pub(crate) connections_per_user: u32,
    /// Where a password may be sent without TLS: "loopback" (from this machine alone) or "never".
    /// For POP3, too.
    pub(crate) plain_passwords: PlainPasswords,
    /// Messages that one FETCH, STORE, SEARCH, MOVE or UID EXPUNGE deals with; 0: no limit. The
    /// rest is left for another command, as the answer says (MESSAGELIMIT, RFC 9738): mail programs
    /// that do not know it will miss messages.
    pub(crate) messages_per_command: u32,
    /// Messages that one APPEND or COPY takes, more are refused (SAVELIMIT); 0: as
    /// messages_per_command.
    pub(crate) messages_per_save: u32,
    /// The account whose mailboxes are shared folders: each user sees below "Shared/" what their
    /// access control lists allow. Empty: there are none.
    pub(crate) shared_account: String,
}

impl Default for ImapSection {
    fn default() -> ImapSection {
        ImapSection {
            listen: vec!["127.0.0.1:143".to_owned()],
            listen_tls: vec!["127.0.0.1:993".to_owned()],
            connections: 20_000,
            connections_per_address: 500,
            connections_per_user: 200,
            plain_passwords: PlainPasswords::Loopback,
            messages_per_command: 0,
            messages_per_save: 0,
            shared_account: String::new(),
        }
    }
}

/// POP3, for programs that know nothing better.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pop3Section {
    /// Addresses for POP3 with STLS, such as "127.0.0.1:110". Empty: none.
    pub(crate) listen: Vec<String>,
    /// Addresses for POP3 over TLS, such as "127.0.0.1:995". Empty: none.
    pub(crate) listen_tls: Vec<String>,
    /// Connections at once.
    pub(crate) connections: u32,
    /// Connections at once from one IPv4 address or IPv6 /64 network; loopback is not counted.
    pub(crate) connections_per_address: u32,
}

impl Default for Pop3Section {
    fn default() -> Pop3Section {
        Pop3Section {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            connections: 2000,
            connections_per_address: 100,
        }
    }
}

/// Access tokens instead of passwords (AUTH=OAUTHBEARER and XOAUTH2): whoever gives them out is
/// asked about each (RFC 7662).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TokensSection {
    /// The introspection endpoint, "https://host/path"; "http://" to a loopback address alone.
    /// Empty: no tokens are taken.
    pub(crate) introspection_url: String,
    /// What the endpoint knows this server by.
    pub(crate) client_id: String,
    /// A file with the secret that goes with it, in its first line.
    pub(crate) client_secret_file: PathBuf,
    /// The field of the endpoint's answer that is the account's name, such as "email".
    pub(crate) account_claim: String,
    /// A scope that a token must have. Empty: any.
    pub(crate) scope: String,
    /// Seconds that an answer may take.
    pub(crate) timeout_seconds: u32,
    /// Seconds for which a valid token is not asked about again: so long it opens after it was
    /// revoked.
    pub(crate) cache_seconds: u32,
    /// A PEM file with authorities that the endpoint's certificate may be from.
    pub(crate) ca_file: PathBuf,
}

impl Default for TokensSection {
    fn default() -> TokensSection {
        TokensSection {
            introspection_url: String::new(),
            client_id: String::new(),
            client_secret_file: PathBuf::new(),
            account_claim: "username".to_owned(),
            scope: String::new(),
            timeout_seconds: 5,
            cache_seconds: 60,
            ca_file: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
        }
    }
}

/// Where a password may be sent without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlainPasswords {
    /// From this machine alone, where nobody listens in.
    Loopback,
    /// Nowhere.
    Never,
}

/// LMTP: mail from a Postfix or another server in front. It answers for each recipient.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LmtpSection {
    /// Addresses. LMTP has no passwords: only trusted servers may reach them.
    pub(crate) listen: Vec<String>,
    /// Connections at once; all may come from one address, that of the server in front.
    pub(crate) connections: u32,
}

impl Default for LmtpSection {
    fn default() -> LmtpSection {
        LmtpSection { listen: vec!["127.0.0.1:24".to_owned()], connections: 500 }
    }
}

/// SMTP from the world.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SmtpSection {
    /// Addresses. Empty: no SMTP, because filters against spam come with a later version.
    pub(crate) listen: Vec<String>,
    /// Connections at once.
    pub(crate) connections: u32,
    /// Connections at once from one IPv4 address or IPv6 /64 network; loopback is not counted.
    pub(crate) connections_per_address: u32,
}

impl Default for SmtpSection {
    fn default() -> SmtpSection {
        SmtpSection { listen: Vec::new(), connections: 1000, connections_per_address: 50 }
    }
}

/// What happens to mail that is taken.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DeliverySection {
    /// Whether mail for user+detail goes to the mailbox "detail" where that exists. Off: otherwise
    /// anybody who knows an address chooses the mailbox.
    pub(crate) detail_mailboxes: bool,
}

/// Bounds that all parts share.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsSection {
    /// Bytes of the largest message that is taken, at most 1 GiB. 64 MiB is above what the large
    /// providers send.
    pub(crate) message_bytes: u64,
    /// Recipients of one message, at most 1024.
    pub(crate) recipients: u32,
    /// Bytes of all messages that are being received at once; past it, senders are told to come
    /// back.
    pub(crate) receiving_bytes: u64,
    /// Seconds that open sessions get to finish their command when the server stops.
    pub(crate) shutdown_seconds: u64,
}

impl Default for LimitsSection {
    fn default() -> LimitsSection {
        LimitsSection {
            message_bytes: 64 << 20,
            recipients: 1000,
            receiving_bytes: 256 << 20,
            shutdown_seconds: 10,
        }
    }
}

/// The log, on standard error.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSection {
    /// "error", "warn", "info", "debug" or "trace", also by part: "info,imap=debug". The
    /// environment variable PILLARBOX_LOG overrides it.
    pub(crate) level: String,
    /// "text" for people, "json" for machines.
    pub(crate) format: LogFormat,
}

impl Default for LogSection {
    fn default() -> LogSection {
        LogSection { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The certificate to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificateSource {
    /// Configured PEM files: chain, key.
    Files(PathBuf, PathBuf),
    /// A self-signed certificate, made if missing and kept in this folder.
    SelfSigned(PathBuf),
}

/// One kind of listener: where, and how many connections.
#[derive(Clone, Debug)]
pub(crate) struct ListenOptions {
    /// Addresses to listen on.
    pub(crate) addresses: Vec<SocketAddr>,
    /// How many at once.
    pub(crate) bounds: ConnectionBounds,
}

/// What `serve` needs, checked.
#[derive(Debug)]
pub(crate) struct ServerOptions {
    /// The data directory.
    pub(crate) directory: PathBuf,
    /// Memory, sizes and reserves of the open store.
    pub(crate) store: StoreBounds,
    /// What opens it.
    pub(crate) key: KeySource,
    /// Our name.
    pub(crate) host_name: String,
    /// The certificate.
    pub(crate) certificate: CertificateSource,
    /// IMAP with STARTTLS.
    pub(crate) imap: ListenOptions,
    /// IMAP over TLS; shares its bounds with `imap`.
    pub(crate) imap_tls: Vec<SocketAddr>,
    /// Connections of one account.
    pub(crate) connections_per_user: u32,
    /// Where a password may be sent without TLS.
    pub(crate) plain_passwords: PlainPasswords,
    /// Of IMAP; `None` is no limit.
    pub(crate) messages_per_command: Option<u32>,
    /// Of IMAP; `None` is as above.
    pub(crate) messages_per_save: Option<u32>,
    /// The account of shared folders.
    pub(crate) shared_account: Option<String>,
    /// Whose certificates clients may log in with; empty for nobody's.
    pub(crate) client_ca_file: PathBuf,
    /// Tokens, where they are taken.
    pub(crate) tokens: Option<TokensSection>,
    /// POP3 with STLS.
    pub(crate) pop3: ListenOptions,
    /// POP3 over TLS; shares its bounds with `pop3`.
    pub(crate) pop3_tls: Vec<SocketAddr>,
    /// LMTP.
    pub(crate) lmtp: ListenOptions,
    /// SMTP.
    pub(crate) smtp: ListenOptions,
    /// What happens to mail that is taken.
    pub(crate) delivery: DeliverySection,
    /// Bounds that all parts share.
    pub(crate) limits: LimitsSection,
    /// How long open sessions get at the end.
    pub(crate) shutdown: Duration,
}

impl ServerOptions {
    /// Every address that something listens on.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let plain = [&self.imap, &self.pop3, &self.lmtp, &self.smtp];
        let plain = plain.into_iter().flat_map(|kind| kind.addresses.iter());
        plain.chain(&self.imap_tls).chain(&self.pop3_tls).copied()
    }
}

impl Config {
    /// Reads a file. Relative paths in it count from the working directory.
    pub(crate) fn read(path: &Path) -> Result<Config, Failure> {
        use std::io::Read;
        let unreadable = |cause| Failure::file("read the configuration", path, &cause);
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(CONFIG_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        Config::parse(&text).map_err(|what| {
            Failure::new(Exit::Configuration, format!("{}, {what}", path.display()))
        })
    }

    /// Parses the text of a file; the error names line and nearest key.
    pub(crate) fn parse(text: &str) -> Result<Config, String> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
            });
            format!("line {line}: {}", said_better(error.message()))
        })
    }

    /// What opens the store, from the file, the environment, or the key file beside the directory.
    pub(crate) fn key_source(&self) -> Result<KeySource, Failure> {
        let key = &self.key;
        let set = [
            !key.file.as_os_str().is_empty(),
            !key.passphrase_file.as_os_str().is_empty(),
            !key.credential.is_empty(),
        ];
        match set {
            [true, false, false] => Ok(KeySource::KeyFile(key.file.clone())),
            [false, true, false] => {
                Ok(KeySource::Passphrase(secrets::from_file(&key.passphrase_file)?))
            }
            [false, false, true] => Ok(KeySource::Credential(key.credential.clone())),
            [false, false, false] => default_key_source(&self.store.directory),
            _ => Err(Failure::new(
                Exit::Configuration,
                "[key] names more than one key; set one of file, passphrase_file and credential",
            )),
        }
    }

    /// Checks everything that can be checked without opening the store.
    pub(crate) fn server_options(&self) -> Result<ServerOptions, Failure> {
        crate::logging::level(&self.log.level)?;
        let limits = self.limits.clone();
        let largest = engine::width::u64_of(engine::limits::MESSAGE_BYTES_MAX);
        if !(1024..=largest).contains(&limits.message_bytes) {
            return Err(wrong(format!(
                "limits.message_bytes is {}, but must lie between 1024 and {largest}",
                limits.message_bytes
            )));
        }
        let recipients_max = engine::limits::BLOB_ACCOUNTS_MAX;
        if limits.recipients == 0 || engine::width::usize_of_u32(limits.recipients) > recipients_max
        {
            return Err(wrong(format!(
                "limits.recipients is {}, but must lie between 1 and {recipients_max}",
                limits.recipients
            )));
        }
        if !SEGMENT_BYTES.contains(&self.store.segment_bytes) {
            return Err(wrong(format!(
                "store.segment_bytes is {}, but must lie between 1048576 and 1073741824",
                self.store.segment_bytes
            )));
        }
        if limits.receiving_bytes < limits.message_bytes {
            return Err(wrong(
                "limits.receiving_bytes is below limits.message_bytes, so that a message of the \
                 largest size could never be received"
                    .to_owned(),
            ));
        }
        if self.imap.connections_per_user == 0 {
            return Err(wrong("imap.connections_per_user allows no connections at all".to_owned()));
        }
        let bounds = |total, per_address| ConnectionBounds { total, per_address };
        let imap_bounds = bounds(self.imap.connections, self.imap.connections_per_address);
        let pop3_bounds = bounds(self.pop3.connections, self.pop3.connections_per_address);
        let smtp_bounds = bounds(self.smtp.connections, self.smtp.connections_per_address);
        let lmtp_bounds = bounds(self.lmtp.connections, self.lmtp.connections);
        Ok(ServerOptions {
            directory: self.store.directory.clone(),
            store: self.store_bounds(),
            key: self.key_source()?,
            host_name: self.host_name(),
            certificate: self.certificate_source()?,
            imap: listen("imap.listen", &self.imap.listen, imap_bounds)?,
            imap_tls: listen("imap.listen_tls", &self.imap.listen_tls, imap_bounds)?.addresses,
            connections_per_user: self.imap.connections_per_user,
            plain_passwords: self.imap.plain_passwords,
            messages_per_command: Some(self.imap.messages_per_command).filter(|&max| max > 0),
            messages_per_save: Some(self.imap.messages_per_save).filter(|&max| max > 0),
            shared_account: Some(self.imap.shared_account.clone()).filter(|name| !name.is_empty()),
            client_ca_file: self.tls.client_ca_file.clone(),
            tokens: self.tokens()?,
            pop3: listen("pop3.listen", &self.pop3.listen, pop3_bounds)?,
            pop3_tls: listen("pop3.listen_tls", &self.pop3.listen_tls, pop3_bounds)?.addresses,
            lmtp: listen("lmtp.listen", &self.lmtp.listen, lmtp_bounds)?,
            smtp: listen("smtp.listen", &self.smtp.listen, smtp_bounds)?,
            delivery: self.delivery.clone(),
            shutdown: Duration::from_secs(limits.shutdown_seconds),
            limits,
        })
    }

    /// Memory, sizes and reserves of an open store.
    pub(crate) fn store_bounds(&self) -> StoreBounds {
        StoreBounds {
            message_bytes: self.limits.message_bytes,
            page_cache_bytes: self.store.page_cache_bytes,
            summary_cache_bytes: self.store.summary_cache_bytes,
            reserve_bytes: self.store.reserve_bytes,
            reclaim_bytes_per_second: self.store.reclaim_bytes_per_second,
            recount_interval: Duration::from_secs(u64::from(self.store.recount_hours) * 3600),
            scrub_bytes_per_second: self.store.scrub_bytes_per_second,
            segment_bytes: self.store.segment_bytes,
            io: match self.store.io {
                Io::Auto => IoChoice::Auto,
                Io::Uring => IoChoice::Uring,
                Io::Plain => IoChoice::Plain,
            },
        }
    }

    /// Tokens, where they are taken and everything is set for it.
    fn tokens(&self) -> Result<Option<TokensSection>, Failure> {
        let tokens = &self.tokens;
        if tokens.introspection_url.is_empty() {
            return Ok(None);
        }
        let missing = [
            ("client_id", tokens.client_id.is_empty()),
            ("client_secret_file", tokens.client_secret_file.as_os_str().is_empty()),
            ("account_claim", tokens.account_claim.is_empty()),
            ("timeout_seconds", tokens.timeout_seconds == 0),
        ];
        match missing.into_iter().find(|(_, is_missing)| *is_missing) {
            Some((key, _)) => Err(wrong(format!("[tokens] needs {key}"))),
            None => Ok(Some(tokens.clone())),
        }
    }

    fn host_name(&self) -> String {
        if !self.store.host_name.is_empty() {
            return self.store.host_name.clone();
        }
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if name.is_empty() { "localhost".to_owned() } else { name }
    }

    fn certificate_source(&self) -> Result<CertificateSource, Failure> {
        let TlsSection { certificate_file, key_file, .. } = &self.tls;
        match (certificate_file.as_os_str().is_empty(), key_file.as_os_str().is_empty()) {
            (false, false) => {
                Ok(CertificateSource::Files(certificate_file.clone(), key_file.clone()))
            }
            (true, true) => {
                Ok(CertificateSource::SelfSigned(beside(&self.store.directory, ".tls")))
            }
            _ => {
                Err(wrong("[tls] needs both certificate_file and key_file, or neither".to_owned()))
            }
        }
    }
}

/// A path beside the data directory: `DATA` and `.key` give `DATA.key`.
pub(crate) fn beside(directory: &Path, suffix: &str) -> PathBuf {
    // Without its last slash, or the file would lie inside the directory.
    let mut name = directory.components().as_path().as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What opens the store where nothing is configured: the environment, then `DIRECTORY.key`.
pub(crate) fn default_key_source(directory: &Path) -> Result<KeySource, Failure> {
    if let Some(passphrase) = secrets::from_environment(secrets::PASSPHRASE_VARIABLE) {
        return Ok(KeySource::Passphrase(passphrase));
    }
    let file = beside(directory, ".key");
    if file.exists() {
        return Ok(KeySource::KeyFile(file));
    }
    Err(Failure::new(
        Exit::NotAllowed,
        format!(
            "no key for {}: set [key] in the configuration, --key-file, or {}",
            directory.display(),
            secrets::PASSPHRASE_VARIABLE
        ),
    ))
}

fn wrong(sentence: String) -> Failure {
    Failure::new(Exit::Configuration, sentence)
}

fn listen(
    key: &str,
    addresses: &[String],
    bounds: ConnectionBounds,
) -> Result<ListenOptions, Failure> {
    if bounds.total == 0 || bounds.per_address == 0 {
        let section = key.split('.').next().unwrap_or(key);
        return Err(wrong(format!("[{section}] allows no connections at all; raise its bounds")));
    }
    let parsed = addresses.iter().map(|text| {
        text.parse().map_err(|_| {
            wrong(format!("{key}: {text:?} is not an address; write \"127.0.0.1:143\""))
        })
    });
    Ok(ListenOptions { addresses: parsed.collect::<Result<_, _>>()?, bounds })
}

/// Turns "unknown field `x`, expected one of `a`, `b`" into a sentence that names the nearest key.
fn said_better(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.trim_end().to_owned();
    };
    let mut quoted = rest.split('`');
    let unknown = quoted.next().unwrap_or("");
    // Between two back quotes lies a key, then ", ", then a key: every second piece.
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    match known.iter().min_by_key(|key| distance(unknown, key)) {
        Some(nearest) => {
            format!("there is no key {unknown:?}; did you mean {nearest:?}? Known here: {}", {
                known.join(", ")
            })
        }
        None => format!("there is no key {unknown:?}"),
    }
}

/// Letters to insert, delete or replace to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (other_letter, above) in other.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(letter != other_letter)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
