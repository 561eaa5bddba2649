//! The sections of the configuration file and their defaults, one typed struct each.
//!
//! The comments of the fields are those of `docs/config.example.toml`.

use std::path::PathBuf;

use engine::width::u64_of;
use serde::{Deserialize, Serialize};

use super::within::Within;

/// Connections at once.
pub(crate) type Connections = Within<1, 1_000_000>;
/// Octets of a command line.
type LineBytes<const MIN: u64> = Within<MIN, { 16 << 20 }>;
/// Seconds, up to a day.
type Seconds = Within<1, 86_400>;

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
    /// Memory in bytes for opened blocks of the full-text index, and as much again for its files
    /// that are open: what is sought again is found without the disk. 0: a sixteenth of the
    /// machine's memory, 64 MiB at least and 1 GiB at most. The index of a million messages has
    /// more than 1 GiB.
    pub(crate) index_cache_bytes: u64,
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
    /// Minutes for which a password that was right is checked again without the slow hash, from
    /// memory, so that web mailers log in quickly; 0: never.
    pub(crate) password_memory_minutes: Within<0, 1440>,
    /// Bytes of a segment of the log; a checkpoint is made at every half of it.
    /// Space comes back by segments, so a small disk wants small ones. May be changed at any time.
    pub(crate) segment_bytes: Within<{ 1 << 20 }, { 1 << 30 }>,
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
            index_cache_bytes: 0,
            reserve_bytes: 512 << 20,
            reclaim_bytes_per_second: 32 << 20,
            recount_hours: 24,
            scrub_bytes_per_second: 4 << 20,
            password_memory_minutes: Within::of(10),
            segment_bytes: Within::of(128 << 20),
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
    pub(crate) connections: Connections,
    /// Connections at once from one IPv4 address or IPv6 /64 network; loopback is not counted. A
    /// household behind one address with several devices and several folders watched by each needs
    /// dozens.
    pub(crate) connections_per_address: Connections,
    /// Connections at once of one account, those of POP3 included.
    pub(crate) connections_per_user: Connections,
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
    /// Bytes of a command's lines, without literals. A longer one is answered BAD.
    pub(crate) command_bytes: LineBytes<8192>,
    /// Bytes of all literals of a command that is not APPEND, once somebody is logged in. More are
    /// answered BAD.
    pub(crate) literal_bytes: LineBytes<4096>,
    /// Bytes of commands and messages too large to be taken that are read and thrown away in a row,
    /// so that the connection survives; beyond it, it is closed.
    pub(crate) skip_bytes: Within<0, { 1 << 40 }>,
    /// How deep NOT, OR, FUZZY and parentheses of a search may nest.
    pub(crate) search_depth: Within<1, 500>,
    /// Keys of one search, such as FROM or SEEN.
    pub(crate) search_keys: Within<1, 100_000>,
    /// Bytes of memory for the keys of one SORT or THREAD; the default is enough for a million
    /// messages. Beyond it NO [LIMIT].
    pub(crate) sort_bytes: Within<1024, { 1 << 40 }>,
    /// Bytes of memory in which what SORT and THREAD compared is kept for the next time, all
    /// mailboxes together: some 20 to 120 a message and criterion. With 0 nothing is kept.
    pub(crate) sort_kept_bytes: Within<0, { 1 << 40 }>,
    /// Ranges of UIDs in a result that SEARCH saves (RFC 5182), 8 bytes each. Beyond it NO
    /// [NOTSAVED].
    pub(crate) saved_ranges: Within<1, 100_000_000>,
    /// Searches of one session that are kept current (CONTEXT, RFC 5267). Beyond it
    /// [NOUPDATE].
    pub(crate) search_contexts: Within<0, 1000>,
    /// Mailboxes that one session watches by NOTIFY (RFC 5465). Beyond it
    /// [NOTIFICATIONOVERFLOW].
    pub(crate) notify_mailboxes: Within<1, 1_000_000>,
    /// Private entries of metadata that an account may keep in one mailbox of somebody else; all
    /// such entries of a mailbox are at most 500, and half of what its owner may have in bytes.
    pub(crate) guest_metadata_entries: Within<0, 500>,
    /// Seconds after which a search that goes on tells how far it is (INPROGRESS, RFC 9585).
    pub(crate) progress_seconds: Seconds,
    /// Seconds after which an IDLE is ended with the connection; programs renew it after 29
    /// minutes, as RFC 2177 asks.
    pub(crate) idle_command_seconds: Seconds,
}

impl Default for ImapSection {
    fn default() -> ImapSection {
        ImapSection {
            listen: vec!["127.0.0.1:143".to_owned()],
            listen_tls: vec!["127.0.0.1:993".to_owned()],
            connections: Within::of(20_000),
            connections_per_address: Within::of(500),
            connections_per_user: Within::of(200),
            plain_passwords: PlainPasswords::Loopback,
            messages_per_command: 0,
            messages_per_save: 0,
            shared_account: String::new(),
            command_bytes: Within::of(64 << 10),
            literal_bytes: Within::of(64 << 10),
            skip_bytes: Within::of(16 << 20),
            search_depth: Within::of(100),
            search_keys: Within::of(2000),
            sort_bytes: Within::of(128 << 20),
            sort_kept_bytes: Within::of(64 << 20),
            saved_ranges: Within::of(250_000),
            search_contexts: Within::of(8),
            notify_mailboxes: Within::of(1000),
            guest_metadata_entries: Within::of(20),
            progress_seconds: Within::of(10),
            idle_command_seconds: Within::of(29 * 60),
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
    pub(crate) connections: Connections,
    /// Connections at once from one IPv4 address or IPv6 /64 network; loopback is not counted.
    pub(crate) connections_per_address: Connections,
    /// Bytes of a command line; an AUTH line may be as long as imap.command_bytes.
    pub(crate) command_bytes: LineBytes<255>,
}

impl Default for Pop3Section {
    fn default() -> Pop3Section {
        Pop3Section {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            connections: Within::of(2000),
            connections_per_address: Within::of(100),
            command_bytes: Within::of(1024),
        }
    }
}

/// What mail programs may do, over IMAP and POP3 alike.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClientsSection {
    /// Seconds that a client may be silent before it is logged in, and that a TLS handshake takes.
    pub(crate) login_seconds: Seconds,
    /// Seconds that a client may be silent afterwards. RFC 9051 asks for 30 minutes at least.
    pub(crate) idle_seconds: Seconds,
    /// Seconds that a client may leave answers unread.
    pub(crate) write_seconds: Seconds,
    /// Failed logins after which the connection is closed.
    pub(crate) failed_logins: Within<1, 1000>,
    /// Seconds that the answer to a failed login is held back, growing up to eightfold with each
    /// failure on the connection or from its address.
    pub(crate) failed_login_delay_seconds: Within<0, 60>,
    /// Commands in a row that are none, after which the connection is closed.
    pub(crate) bad_commands: Within<1, 1_000_000>,
}

impl Default for ClientsSection {
    fn default() -> ClientsSection {
        ClientsSection {
            login_seconds: Within::of(60),
            idle_seconds: Within::of(30 * 60),
            write_seconds: Within::of(5 * 60),
            failed_logins: Within::of(5),
            failed_login_delay_seconds: Within::of(2),
            bad_commands: Within::of(20),
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
    pub(crate) timeout_seconds: Seconds,
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
            timeout_seconds: Within::of(5),
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
    pub(crate) connections: Connections,
    /// What happens to lines that end without a carriage return: "normalise" (they get one; a
    /// server in front has taken the message already, and a refusal would bounce it) or "refuse".
    pub(crate) bare_newlines: BareNewlines,
}

impl Default for LmtpSection {
    fn default() -> LmtpSection {
        LmtpSection {
            listen: vec!["127.0.0.1:24".to_owned()],
            connections: Within::of(500),
            bare_newlines: BareNewlines::Normalise,
        }
    }
}

/// SMTP from the world.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SmtpSection {
    /// Addresses. Empty: no SMTP, because filters against spam come with a later version.
    pub(crate) listen: Vec<String>,
    /// Connections at once.
    pub(crate) connections: Connections,
    /// Connections at once from one IPv4 address or IPv6 /64 network; loopback is not counted.
    pub(crate) connections_per_address: Connections,
    /// As lmtp.bare_newlines. From the world, "refuse": real servers send both, and what does not
    /// may be half of a smuggled message.
    pub(crate) bare_newlines: BareNewlines,
}

impl Default for SmtpSection {
    fn default() -> SmtpSection {
        SmtpSection {
            listen: Vec::new(),
            connections: Within::of(1000),
            connections_per_address: Within::of(50),
            bare_newlines: BareNewlines::Refuse,
        }
    }
}

/// How mail is taken, over LMTP and SMTP alike, and what happens to it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DeliverySection {
    /// Whether mail for user+detail goes to the mailbox "detail" where that exists. Off: otherwise
    /// anybody who knows an address chooses the mailbox.
    pub(crate) detail_mailboxes: bool,
    /// What a sender is told when an account is over its quota: "retry" (452, it keeps the message)
    /// or "refuse" (552, its author is told at once).
    pub(crate) over_quota: OverQuota,
    /// Bytes of a command line; RFC 5321 asks for 512, and parameters and names beyond ASCII take
    /// more.
    pub(crate) command_bytes: LineBytes<512>,
    /// Refused commands after which the connection is closed.
    pub(crate) refused_commands: Within<1, 1_000_000>,
    /// Received fields above which a message is taken for one that goes in circles.
    pub(crate) received_fields: Within<2, 10_000>,
    /// Seconds that a sender may be silent between commands, and leave replies unread.
    pub(crate) command_seconds: Seconds,
    /// Seconds that a sender may be silent within a message.
    pub(crate) data_seconds: Seconds,
}

impl Default for DeliverySection {
    fn default() -> DeliverySection {
        DeliverySection {
            detail_mailboxes: false,
            over_quota: OverQuota::Retry,
            command_bytes: Within::of(2048),
            refused_commands: Within::of(20),
            received_fields: Within::of(100),
            command_seconds: Within::of(300),
            data_seconds: Within::of(180),
        }
    }
}

/// What a sender is told when an account is over its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OverQuota {
    /// To come back.
    Retry,
    /// That it will not be.
    Refuse,
}

/// What happens to a line that ends without a carriage return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BareNewlines {
    /// It gets one.
    Normalise,
    /// The message is refused.
    Refuse,
}

/// Text of attached documents, which extractors make of them: see below.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DocumentsSection {
    /// Extractors that work at once.
    pub(crate) at_once: Within<1, 64>,
    /// Seconds that one search waits for them, in all, where mail has come that is not indexed yet;
    /// what a document holds for which they do not suffice is not found by it, and is logged.
    pub(crate) search_seconds: Within<0, 600>,
}

impl Default for DocumentsSection {
    fn default() -> DocumentsSection {
        DocumentsSection { at_once: Within::of(2), search_seconds: Within::of(10) }
    }
}

/// A second node that holds the same mail; see docs/replication.md.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PairSection {
    /// The address where the other node reaches this one. Empty: this node only dials.
    pub(crate) listen: String,
    /// Host and port where the other node listens. Empty: what it said when it joined.
    pub(crate) peer: String,
    /// When a change is acknowledged: "local", when it is on the disk of this node; "durable", when
    /// it is on both.
    pub(crate) acknowledge: Acknowledge,
    /// With "durable", while the other node is away: "refuse" changes, so that none is on one node
    /// alone; or "degrade" to "local" after 'degrade_seconds', which the log says as an error.
    pub(crate) away: OtherAway,
    /// Seconds without the other node after which to degrade.
    pub(crate) degrade_seconds: Within<1, 86400>,
    /// Seconds that the other node may be behind before the log says so as an error. 0: never.
    pub(crate) lag_alarm_seconds: Within<0, 86400>,
    /// Hours after which both nodes are compared again, whole, by the primary; what differs is said
    /// in the log as an error. 0: only when 'pillarbox replica compare' asks.
    pub(crate) compare_every_hours: Within<0, 8760>,
    /// Bytes of disk that may be kept so that this node can go back to what the other one has, and
    /// that one can be sent what it lacks; beyond, it takes a full copy. 0: no bound.
    pub(crate) log_keep_bytes: Within<0, { 1 << 50 }>,
    /// Bytes a second that the other node may be sent of a full copy. 0: as many as there are.
    pub(crate) copy_bytes_per_second: Within<0, { 1 << 40 }>,
    /// Merge mode, where no etcd is asked: seconds without the other node after which one goes on
    /// by itself. If only the line between both was cut, both take changes then, which are merged
    /// when they meet. 0: never, only by command.
    pub(crate) merge_mode_seconds: Within<0, 3600>,
    /// A program, with arguments, that is told this node's role at the start and when it changes,
    /// in PILLARBOX_ROLE: "primary" or "follower"; also PILLARBOX_EPOCH, PILLARBOX_VOLUME. Empty:
    /// none.
    pub(crate) role_command: Vec<String>,
    /// Who is primary, said by an etcd: then a node takes over by itself.
    pub(crate) etcd: EtcdSection,
}

/// An etcd that says which node is primary.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EtcdSection {
    /// Its members, "http://HOST:PORT" or "https://HOST:PORT". None: no node takes over by itself.
    pub(crate) endpoints: Vec<String>,
    /// What its keys begin with.
    pub(crate) prefix: String,
    /// A file with the certificates, in PEM, of the authorities that signed etcd's. For https.
    pub(crate) ca_file: String,
    /// A name, where etcd asks for one.
    pub(crate) user: String,
    /// A file with its password, readable by this user alone.
    pub(crate) password_file: String,
    /// Milliseconds without the primary after which the other node takes over.
    pub(crate) failover_milliseconds: Within<100, 600_000>,
    /// Seconds of the primary's lease, with acknowledge = "local"; etcd may make them more.
    pub(crate) lease_seconds: Within<2, 60>,
}

impl Default for EtcdSection {
    fn default() -> EtcdSection {
        EtcdSection {
            endpoints: Vec::new(),
            prefix: "pillarbox".into(),
            ca_file: String::new(),
            user: String::new(),
            password_file: String::new(),
            failover_milliseconds: Within::of(300),
            lease_seconds: Within::of(2),
        }
    }
}

impl Default for PairSection {
    fn default() -> PairSection {
        PairSection {
            listen: String::new(),
            peer: String::new(),
            acknowledge: Acknowledge::Local,
            away: OtherAway::Refuse,
            degrade_seconds: Within::of(30),
            lag_alarm_seconds: Within::of(60),
            compare_every_hours: Within::of(24),
            log_keep_bytes: Within::of(64 << 30),
            copy_bytes_per_second: Within::of(0),
            merge_mode_seconds: Within::of(0),
            role_command: Vec::new(),
            etcd: EtcdSection::default(),
        }
    }
}

/// When a change is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Acknowledge {
    Local,
    Durable,
}

/// What becomes of changes while the other node is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OtherAway {
    Refuse,
    Degrade,
}

/// Bounds that all parts share.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsSection {
    /// Bytes of the largest message that is taken. 64 MiB is above what the large providers send.
    pub(crate) message_bytes: Within<1024, { u64_of(engine::limits::MESSAGE_BYTES_MAX) }>,
    /// Recipients of one message.
    pub(crate) recipients: Within<1, { u64_of(engine::limits::BLOB_ACCOUNTS_MAX) }>,
    /// Bytes of all messages that are being received at once; past it, senders are told to come
    /// back.
    pub(crate) receiving_bytes: u64,
    /// Seconds that open sessions get to finish their command when the server stops.
    pub(crate) shutdown_seconds: u64,
}

impl Default for LimitsSection {
    fn default() -> LimitsSection {
        LimitsSection {
            message_bytes: Within::of(64 << 20),
            recipients: Within::of(1000),
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
