//! The configuration: one TOML file with one section per part of the server.
//!
//! Reading ends in [`ServerOptions`], which cannot be invalid. Unknown keys are errors that name
//! their line and the nearest key, because a setting that is silently ignored is a setting that is
//! wrong. `docs/config.example.toml` is the default configuration with the comments of the fields
//! below; a test keeps it so.
//!
//! Only what is a node's own stands here. Domains, aliases and accounts are records in the store.

mod extractor;
mod sections;
mod within;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::pair::{Acknowledgement, Away};
use engine::width::usize_of;
use serde::{Deserialize, Serialize};

pub(crate) use self::extractor::{DocumentKind, ExtractorSection};
pub(crate) use self::sections::{
    Acknowledge, BareNewlines, ClientsSection, Connections, DeliverySection, DocumentsSection,
    EtcdSection, ImapSection, Io, KeySection, LimitsSection, LmtpSection, LogFormat, LogSection,
    OtherAway, OverQuota, PairSection, PlainPasswords, Pop3Section, SmtpSection, StoreSection,
    TlsSection, TokensSection,
};

use crate::extract::DocumentOptions;
use crate::failure::{Exit, Failure};
use crate::listener::ConnectionBounds;
use crate::pair::{EtcdSettings, PairOptions};
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
    pub(crate) clients: ClientsSection,
    pub(crate) tokens: TokensSection,
    pub(crate) lmtp: LmtpSection,
    pub(crate) smtp: SmtpSection,
    pub(crate) delivery: DeliverySection,
    pub(crate) documents: DocumentsSection,
    #[serde(rename = "extractor", skip_serializing_if = "Vec::is_empty")]
    pub(crate) extractors: Vec<ExtractorSection>,
    pub(crate) pair: PairSection,
    pub(crate) limits: LimitsSection,
    pub(crate) log: LogSection,
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
    /// What one mail program may do.
    pub(crate) mail_limits: imap::Limits,
    /// Where a password may be sent without TLS.
    pub(crate) plain_passwords: PlainPasswords,
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
    /// How mail is taken, and what happens to it.
    pub(crate) receiving: smtp_ingest::Config,
    /// The second node.
    pub(crate) pair: PairOptions,
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
            let key = error.span().and_then(|span| key_of_value(text, span.start));
            let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
            format!("line {line}: {key}{}", said_better(error.message()))
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
        if limits.receiving_bytes < limits.message_bytes.get() {
            return Err(wrong(
                "limits.receiving_bytes is below limits.message_bytes, so that a message of the \
                 largest size could never be received"
                    .to_owned(),
            ));
        }
        let bounds = |total: Connections, per_address: Connections| ConnectionBounds {
            total: total.count_u32(),
            per_address: per_address.count_u32(),
        };
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
            mail_limits: self.mail_limits(),
            plain_passwords: self.imap.plain_passwords,
            shared_account: Some(self.imap.shared_account.clone()).filter(|name| !name.is_empty()),
            client_ca_file: self.tls.client_ca_file.clone(),
            tokens: self.tokens()?,
            pop3: listen("pop3.listen", &self.pop3.listen, pop3_bounds)?,
            pop3_tls: listen("pop3.listen_tls", &self.pop3.listen_tls, pop3_bounds)?.addresses,
            lmtp: listen("lmtp.listen", &self.lmtp.listen, lmtp_bounds)?,
            smtp: listen("smtp.listen", &self.smtp.listen, smtp_bounds)?,
            receiving: self.receiving(),
            pair: self.pair()?,
            shutdown: Duration::from_secs(limits.shutdown_seconds),
        })
    }

    /// What one mail program may do.
    fn mail_limits(&self) -> imap::Limits {
        let (imap, pop3, clients) = (&self.imap, &self.pop3, &self.clients);
        imap::Limits {
            line_bytes_max: imap.command_bytes.count(),
            literal_bytes_max: imap.literal_bytes.get(),
            append_bytes_max: self.limits.message_bytes.get(),
            append_budget_bytes: self.limits.receiving_bytes,
            messages_per_command: Some(imap.messages_per_command).filter(|&max| max > 0),
            messages_per_save: Some(imap.messages_per_save).filter(|&max| max > 0),
            skip_bytes_max: imap.skip_bytes.get(),
            search_depth_max: imap.search_depth.count(),
            search_keys_max: imap.search_keys.count(),
            pop3_line_bytes_max: pop3.command_bytes.count(),
            bad_commands_max: clients.bad_commands.count_u32(),
            login_failures_max: clients.failed_logins.count_u32(),
            login_failure_delay: clients.failed_login_delay_seconds.seconds(),
            connections_per_user: imap.connections_per_user.count_u32(),
            login_timeout: clients.login_seconds.seconds(),
            idle_timeout: clients.idle_seconds.seconds(),
            idle_command_timeout: imap.idle_command_seconds.seconds(),
            write_timeout: clients.write_seconds.seconds(),
            sort_bytes_max: imap.sort_bytes.count(),
            sort_kept_bytes_max: imap.sort_kept_bytes.count(),
            saved_ranges_max: imap.saved_ranges.count(),
            contexts_max: imap.search_contexts.count(),
            notify_mailboxes_max: imap.notify_mailboxes.count(),
            metadata_guest_entries: imap.guest_metadata_entries.count(),
            progress_interval: imap.progress_seconds.seconds(),
            // What LITERAL- announces is not to be changed.
            literal_bytes_max_before_login: imap::Limits::default().literal_bytes_max_before_login,
        }
    }

    /// How mail is taken.
    fn receiving(&self) -> smtp_ingest::Config {
        let (delivery, limits) = (&self.delivery, &self.limits);
        let bare_newline = |choice| match choice {
            BareNewlines::Normalise => smtp_ingest::BareNewline::Normalise,
            BareNewlines::Refuse => smtp_ingest::BareNewline::Refuse,
        };
        smtp_ingest::Config {
            hostname: self.host_name(),
            message_bytes_max: limits.message_bytes.get(),
            line_bytes_max: delivery.command_bytes.count(),
            recipients_max: limits.recipients.count(),
            errors_max: delivery.refused_commands.count_u32(),
            hops_max: delivery.received_fields.count(),
            command_timeout: delivery.command_seconds.seconds(),
            data_timeout: delivery.data_seconds.seconds(),
            detail_mailboxes: delivery.detail_mailboxes,
            over_quota: match delivery.over_quota {
                OverQuota::Retry => smtp_ingest::OverQuota::Retry,
                OverQuota::Refuse => smtp_ingest::OverQuota::Refuse,
            },
            bare_newline_lmtp: bare_newline(self.lmtp.bare_newlines),
            bare_newline_smtp: bare_newline(self.smtp.bare_newlines),
            memory: Arc::new(smtp_ingest::ByteBudget::new(usize_of(limits.receiving_bytes))),
        }
    }

    /// Memory, sizes and reserves of an open store.
    pub(crate) fn store_bounds(&self) -> StoreBounds {
        StoreBounds {
            message_bytes: self.limits.message_bytes.get(),
            page_cache_bytes: self.store.page_cache_bytes,
            summary_cache_bytes: self.store.summary_cache_bytes,
            index_cache_bytes: self.store.index_cache_bytes,
            reserve_bytes: self.store.reserve_bytes,
            reclaim_bytes_per_second: self.store.reclaim_bytes_per_second,
            recount_interval: Duration::from_secs(u64::from(self.store.recount_hours) * 3600),
            scrub_bytes_per_second: self.store.scrub_bytes_per_second,
            password_memory: self.store.password_memory_minutes.seconds() * 60,
            segment_bytes: self.store.segment_bytes.get(),
            documents: DocumentOptions {
                at_once: self.documents.at_once.count(),
                search_time: self.documents.search_seconds.seconds(),
                extractors: self.extractors.clone(),
            },
            pair: None,
            begins_epoch: false,
            held_bytes: self.pair.log_keep_bytes.get(),
            io: match self.store.io {
                Io::Auto => IoChoice::Auto,
                Io::Uring => IoChoice::Uring,
                Io::Plain => IoChoice::Plain,
            },
        }
    }

    /// The second node.
    fn pair(&self) -> Result<PairOptions, Failure> {
        let PairSection { listen, peer, acknowledge, away, degrade_seconds, etcd, .. } = &self.pair;
        let address = |text: &str| {
            let why = format!("pair.listen: {text:?} is not an address; write \"0.0.0.0:4190\"");
            text.parse().map_err(|_| wrong(why))
        };
        let away = match away {
            OtherAway::Refuse => Away::Refuse,
            OtherAway::Degrade => Away::Degrade,
        };
        Ok(PairOptions {
            listen: if listen.is_empty() { None } else { Some(address(listen)?) },
            peer: peer.clone(),
            acknowledgement: match acknowledge {
                Acknowledge::Local => Acknowledgement::Local,
                Acknowledge::Durable => Acknowledgement::Durable(away),
            },
            degrade_after: degrade_seconds.seconds(),
            lag_alarm: Some(self.pair.lag_alarm_seconds.seconds()).filter(|time| !time.is_zero()),
            compare_every: Some(self.pair.compare_every_hours.get())
                .filter(|hours| *hours > 0)
                .map(|hours| Duration::from_secs(hours * 3600)),
            etcd: Config::etcd(etcd)?,
            merge_after: self.merge_after()?,
            role_command: self.pair.role_command.clone(),
            copy_bytes_per_second: self.pair.copy_bytes_per_second.get(),
        })
    }

    /// Merge mode, if that is meant and can do any good.
    fn merge_after(&self) -> Result<Option<Duration>, Failure> {
        let PairSection { acknowledge, away, etcd, merge_mode_seconds, .. } = &self.pair;
        if merge_mode_seconds.get() == 0 {
            return Ok(None);
        }
        if !etcd.endpoints.is_empty() {
            let why = "an etcd says which node is primary, and merge mode is for where nobody does";
            return Err(wrong(format!("pair.merge_mode_seconds: {why}; set it to 0")));
        }
        if matches!((acknowledge, away), (Acknowledge::Durable, OtherAway::Refuse)) {
            let why = "with acknowledge = \"durable\" and away = \"refuse\" a node that goes on \
                       alone takes nothing";
            return Err(wrong(format!("pair.merge_mode_seconds: {why}; set it to 0, or away")));
        }
        Ok(Some(merge_mode_seconds.seconds()))
    }

    /// The etcd that says who is primary, if one does.
    fn etcd(section: &EtcdSection) -> Result<Option<EtcdSettings>, Failure> {
        let EtcdSection { endpoints, prefix, ca_file, user, password_file, .. } = section;
        if endpoints.is_empty() {
            return Ok(None);
        }
        if user.is_empty() != password_file.is_empty() {
            return Err(wrong("pair.etcd: user and password_file go together".to_owned()));
        }
        Ok(Some(EtcdSettings {
            endpoints: endpoints.clone(),
            prefix: prefix.clone(),
            ca_file: Some(ca_file).filter(|file| !file.is_empty()).map(PathBuf::from),
            login: Some((user.clone(), PathBuf::from(password_file)))
                .filter(|(user, _)| !user.is_empty()),
            failover_after: Duration::from_millis(section.failover_milliseconds.get()),
            lease_seconds: u32::try_from(section.lease_seconds.get()).unwrap_or(u32::MAX),
        }))
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
    let parsed = addresses.iter().map(|text| {
        text.parse().map_err(|_| {
            wrong(format!("{key}: {text:?} is not an address; write \"127.0.0.1:143\""))
        })
    });
    Ok(ListenOptions { addresses: parsed.collect::<Result<_, _>>()?, bounds })
}

/// The key whose value begins at `at`, with its section; `None` where a key itself is wrong.
fn key_of_value(text: &str, at: usize) -> Option<String> {
    let (above, line) = text.get(..at)?.rsplit_once('\n').unwrap_or(("", text.get(..at)?));
    let key = line.split_once('=')?.0.trim();
    let header = above.lines().rev().find(|line| line.trim().starts_with('['));
    match header.and_then(|header| header.trim().trim_start_matches('[').split(']').next()) {
        Some(section) => Some(format!("{}.{key}", section.trim())),
        None => Some(key.to_owned()),
    }
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
mod tests;
