//! What an operator decides about IMAP, and every bound that keeps one client from hurting others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_rustls::rustls::ServerConfig;

use crate::codec::cursor::SearchBounds;
use crate::command::Compared;
use crate::connection::Bounds;
use crate::login::{Door, Introspection, TokenOptions, TokenOptionsError};

/// Bounds on what one client may ask for; each has a default that no mail program meets by itself.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a command's lines, without literals; 64 KiB. A longer one is answered BAD.
    pub line_bytes_max: usize,
    /// Bytes of all literals of a command that is not APPEND; 64 KiB.
    pub literal_bytes_max: u64,
    /// Bytes of a literal before login; 4 KiB, as LITERAL- (RFC 7888) announces.
    pub literal_bytes_max_before_login: u64,
    /// Bytes of one appended message; 64 MiB. A larger one is answered NO `[TOOBIG]`.
    pub append_bytes_max: u64,
    /// Bytes of appended messages held in memory, all connections together; 256 MiB. Beyond it NO
    /// `[LIMIT]` asks to try again.
    pub append_budget_bytes: u64,
    /// Messages that one FETCH, STORE, SEARCH, MOVE or UID EXPUNGE deals with (MESSAGELIMIT, RFC
    /// 9738), at least 1; no limit. The rest is left for another command: clients that do not know
    /// the extension will miss it.
    pub messages_per_command: Option<u32>,
    /// Messages that one APPEND or COPY takes (SAVELIMIT); as `messages_per_command`. More are
    /// refused.
    pub messages_per_save: Option<u32>,
    /// Bytes of refused lines and literals that are read and thrown away so that the connection
    /// survives; 16 MiB. Beyond it the connection is closed.
    pub skip_bytes_max: u64,
    /// How deep NOT, OR, FUZZY and parentheses of a search may nest; 100. What recurses over a
    /// search has a stack for 500.
    pub search_depth_max: usize,
    /// Keys of one search; 2,000.
    pub search_keys_max: usize,
    /// Bytes of a command line of POP3 that is not AUTH, without its CRLF; 1,024 (RFC 2449 section
    /// 4 has 255 with it; names are longer today).
    pub pop3_line_bytes_max: usize,
    /// Commands in a row that are not understood before the connection is closed; 20.
    pub bad_commands_max: u32,
    /// Failed logins before the connection is closed; 5.
    pub login_failures_max: u32,
    /// How long a failed login is answered late; 2 s, growing with each failure on the connection
    /// or from its address, up to eightfold.
    pub login_failure_delay: Duration,
    /// Connections of one account at once, whatever their protocol; 200. A household with several
    /// devices that watch several folders each needs dozens.
    pub connections_per_user: u32,
    /// How long a client may be silent before login, and a TLS handshake may take; 60 s.
    pub login_timeout: Duration,
    /// How long a client may be silent after login; 30 min, the least that RFC 3501 section 5.4
    /// allows.
    pub idle_timeout: Duration,
    /// How long IDLE lasts; 29 min (RFC 2177 asks clients to renew within that).
    pub idle_command_timeout: Duration,
    /// How long a client may leave answers unread; 5 min.
    pub write_timeout: Duration,
    /// Bytes of memory that the keys of one SORT or THREAD may take; 128 MiB, which is enough for
    /// a million messages. Beyond it NO `[LIMIT]`.
    pub sort_bytes_max: usize,
    /// Bytes of memory in which what SORT and THREAD compared is kept for the next time, all
    /// mailboxes together; 64 MiB, which is enough for the subjects and threads of half a million
    /// messages. With 0 nothing is kept.
    pub sort_kept_bytes_max: usize,
    /// Ranges of UIDs in a saved result (RFC 5182); 250,000, which are 2 MB. Beyond it NO
    /// `[NOTSAVED]`.
    pub saved_ranges_max: usize,
    /// Searches of one session that are kept current (RFC 5267); 8. Beyond it `[NOUPDATE]`.
    pub contexts_max: usize,
    /// Mailboxes that one session watches by NOTIFY (RFC 5465); 1,000. Beyond it
    /// `[NOTIFICATIONOVERFLOW]`.
    pub notify_mailboxes_max: usize,
    /// Private entries of metadata that an account has in one mailbox of somebody else.
    pub metadata_guest_entries: usize,
    /// How often a search that goes on tells so (RFC 9585); 10 s.
    pub progress_interval: Duration,
}

impl Limits {
    /// What bounds a search.
    pub(crate) fn search_bounds(&self) -> SearchBounds {
        SearchBounds { depth_max: self.search_depth_max, keys_max: self.search_keys_max }
    }

    /// What bounds a connection's input.
    pub(crate) fn input_bounds(&self) -> Bounds {
        Bounds { line_bytes_max: self.line_bytes_max, skip_bytes_max: self.skip_bytes_max }
    }
}

impl Default for SearchBounds {
    fn default() -> SearchBounds {
        Limits::default().search_bounds()
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line_bytes_max: 64 << 10,
            literal_bytes_max: 64 << 10,
            literal_bytes_max_before_login: 4 << 10,
            append_bytes_max: 64 << 20,
            append_budget_bytes: 256 << 20,
            messages_per_command: None,
            messages_per_save: None,
            skip_bytes_max: 16 << 20,
            search_depth_max: 100,
            search_keys_max: 2000,
            pop3_line_bytes_max: 1024,
            bad_commands_max: 20,
            login_failures_max: 5,
            login_failure_delay: Duration::from_secs(2),
            connections_per_user: 200,
            login_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30 * 60),
            idle_command_timeout: Duration::from_secs(29 * 60),
            write_timeout: Duration::from_secs(5 * 60),
            sort_bytes_max: 128 << 20,
            sort_kept_bytes_max: 64 << 20,
            saved_ranges_max: 250_000,
            contexts_max: 8,
            notify_mailboxes_max: 1000,
            metadata_guest_entries: engine::limits::METADATA_GUEST_ENTRIES,
            progress_interval: Duration::from_secs(10),
        }
    }
}

/// What all connections of the server share.
pub struct Config {
    /// Bounds.
    pub limits: Limits,
    /// The name in the greeting.
    pub hostname: String,
    /// Certificate and key for STARTTLS and implicit TLS; without it neither is offered.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whether a password may cross a connection without TLS if the client is on this machine
    /// (loopback). Never from elsewhere.
    pub allow_plaintext_login: bool,
    /// The account whose mailboxes are shared folders: shown below `Shared/`, as far as their
    /// access control lists say.
    pub shared_account: Option<String>,
    /// Bytes of appended messages that may still be taken into memory, in units of 1 KiB.
    pub(crate) append_budget: Arc<Semaphore>,
    /// Bytes that may still be read from the spool to be stored, in the same units. Apart from the
    /// other budget, so that who waits for this one holds up nobody who has it.
    pub(crate) spooled_budget: Arc<Semaphore>,
    /// What connections share about logins.
    pub(crate) door: Door,
    /// What SORT and THREAD compared.
    pub(crate) compared: Compared,
    /// Who knows about tokens; without it no mechanism with tokens is offered.
    pub(crate) tokens: Option<Introspection>,
}

impl Config {
    /// All connections of a server share one of these, because the memory budget lies in it.
    pub fn new(
        limits: Limits,
        hostname: String,
        tls: Option<Arc<ServerConfig>>,
        allow_plaintext_login: bool,
    ) -> Config {
        let units = engine::width::usize_of(limits.append_budget_bytes / BUDGET_UNIT_BYTES);
        let budget = || Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)));
        let (append_budget, spooled_budget) = (budget(), budget());
        Config {
            compared: Compared::new(limits.sort_kept_bytes_max),
            limits,
            hostname,
            tls,
            allow_plaintext_login,
            shared_account: None,
            append_budget,
            spooled_budget,
            door: Door::new(),
            tokens: None,
        }
    }

    /// The same, with tokens checked by an endpoint: OAUTHBEARER and XOAUTH2 are offered.
    ///
    /// # Errors
    /// [`TokenOptionsError`], if the endpoint's address is none, or would be asked unencrypted.
    pub fn with_tokens(mut self, options: TokenOptions) -> Result<Config, TokenOptionsError> {
        self.tokens = Some(Introspection::new(options)?);
        Ok(self)
    }
}

/// What one permit of the budget stands for.
const BUDGET_UNIT_BYTES: u64 = 1 << 10;

/// Permits for that many bytes.
pub(crate) fn budget_units(byte_count: u64) -> u32 {
    u32::try_from(byte_count.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX)
}
