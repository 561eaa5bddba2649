//! The command line: verbs, and what each needs. Exit codes are in `failure.rs`.

mod replica;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::admin::{LimitChange, Setting};
use crate::command;
use crate::demo::{self, DemoOptions};
use crate::extract::{self, ConfinedArguments};
use crate::failure::Failure;

pub(crate) use self::replica::{JoinArguments, ReplicaVerb};

/// Printed below `pillarbox --help`.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused, 2 wrong usage, 3 damage found, \
    67 no such user, 74 file error, 75 try again later, 77 not allowed, 78 wrong configuration";

#[derive(Parser)]
#[command(name = "pillarbox", version, about = "A mail store", after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a store in a new or empty directory, and show its recovery key once
    Init(InitArguments),
    /// Serve mail as configured, in the foreground
    Serve {
        /// The configuration file
        #[arg(long, env = "PILLARBOX_CONFIG")]
        config: PathBuf,
        /// After a crash, do not ask the other node of the pair first
        #[arg(long)]
        alone: bool,
    },
    /// Serve a store with a demo account on loopback ports (what 'make run' does)
    Demo {
        /// The data directory; made if it is missing
        directory: PathBuf,
        /// Added to the standard ports: 10000 gives IMAP on 10143
        #[arg(long, default_value_t = 10_000)]
        port_base: u16,
        /// The address to listen on; other than loopback only once the password was changed
        #[arg(long, default_value = "127.0.0.1")]
        listen: IpAddr,
    },
    /// Work on a configuration file
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Work on accounts
    #[command(subcommand)]
    Account(AccountVerb),
    /// Work on the domains that mail is taken for
    #[command(subcommand)]
    Domain(DomainVerb),
    /// Work on aliases and catch-alls
    #[command(subcommand)]
    Alias(AliasVerb),
    /// Work on keys: what opens the store, the recovery key, the keys of accounts
    #[command(subcommand)]
    Key(KeyVerb),
    /// Deliver a message from standard input, as LMTP would
    Deliver(DeliverArguments),
    /// Read everything that is stored and say what is wrong with it; changes nothing by itself
    Check(CheckArguments),
    /// Bring in mail from elsewhere
    #[command(subcommand)]
    Import(ImportVerb),
    /// Write an account's mail out, for elsewhere; 'import' reads it back byte by byte
    #[command(subcommand)]
    Export(ExportVerb),
    /// Search an account's mailboxes, as its mail program would
    Search(SearchArguments),
    /// Show or set for how long the store keeps expunged mail
    Retention(RetentionArguments),
    /// Bring back expunged mail that is kept, or deleted mailboxes
    Undelete(UndeleteArguments),
    /// Show how far the full-text index is, or make it anew
    #[command(subcommand)]
    Index(IndexVerb),
    /// Limit itself, and become an extractor
    #[command(hide = true)]
    Confined(ConfinedArguments),
    /// Work on the pair: a second node that holds the same mail
    #[command(subcommand)]
    Replica(ReplicaVerb),
    /// End an upgrade of Pillarbox
    #[command(subcommand)]
    Upgrade(UpgradeVerb),
    /// Show how the store is
    Status {
        #[command(flatten)]
        place: PlaceArguments,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which store, and what opens it if it is not running.
#[derive(Args, Clone, Default)]
pub(crate) struct PlaceArguments {
    /// The data directory
    #[arg(long, env = "PILLARBOX_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// The configuration file, which names the data directory and the key
    #[arg(long, env = "PILLARBOX_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The key file; else PILLARBOX_PASSPHRASE, else DATA.key
    #[arg(long)]
    pub(crate) key_file: Option<PathBuf>,
}

/// What `search` looks for.
#[derive(Args)]
pub(crate) struct SearchArguments {
    /// Whose mailboxes
    pub(crate) user: String,
    /// Words to look for, or keys of IMAP's SEARCH in capitals: FROM ann SINCE 1-Jan-2026. Words
    /// are found with other endings and with typing errors, too, and the best message comes first
    #[arg(required = true)]
    pub(crate) query: Vec<String>,
    /// Look for the text to the letter, anywhere in a message; the newest message comes first
    #[arg(long)]
    pub(crate) exact: bool,
    /// Show passages of the text, as is done anyway where the best message comes first
    #[arg(long)]
    pub(crate) snippets: bool,
    /// Show so many of the messages that were found
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show how it was done
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// What `check` looks at, and what it may mend.
#[derive(Args)]
pub(crate) struct CheckArguments {
    /// First mend what is damaged from what is there twice; the store must be stopped
    #[arg(long, group = "change")]
    pub(crate) repair: bool,
    /// With --repair: a copy of the data directory, or of its log's folder, to mend from
    #[arg(long, requires = "repair", value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// With --repair: what no copy mends is given up, after it was named: damaged messages go, and
    /// where changes are lost the store goes on without them
    #[arg(long, requires = "repair")]
    pub(crate) give_up: bool,
    /// First make the state anew from the log; the store must be stopped
    #[arg(long, group = "change")]
    pub(crate) rebuild: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// What `init` needs.
#[derive(Args)]
pub(crate) struct InitArguments {
    /// The data directory to make
    pub(crate) directory: PathBuf,
    /// Make this key file and lock the store with it
    #[arg(long, group = "key")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// Lock the store with this key file, which exists
    #[arg(long, group = "key")]
    pub(crate) key_file: Option<PathBuf>,
    /// Lock the store with the passphrase in this file; else PILLARBOX_PASSPHRASE, else it is asked
    /// for
    #[arg(long, group = "key")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Lock the store with this systemd credential
    #[arg(long, group = "key")]
    pub(crate) credential: Option<String>,
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Check a configuration file without opening the store
    Check {
        /// The file
        file: PathBuf,
    },
}

/// What can be done to accounts.
#[derive(Subcommand)]
pub(crate) enum AccountVerb {
    /// Make an account; the domain must exist
    Add {
        /// Login name and first address: user@domain
        name: String,
        /// A file with the password in its first line; else PILLARBOX_PASSWORD, else it is asked
        /// for
        #[arg(long)]
        password_file: Option<PathBuf>,
        /// Bytes that the account may hold, such as 5000000000 or 5G (K, M, G: times 1024)
        #[arg(long, value_parser = byte_count)]
        quota: Option<u64>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// List accounts
    List {
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Replace a password
    Passwd {
        /// The account
        name: String,
        /// A file with the password in its first line; else PILLARBOX_PASSWORD, else it is asked
        /// for
        #[arg(long)]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Show or set how much mail an account may hold
    Quota {
        /// The account
        name: String,
        /// Bytes, such as 5000000000 or 5G, or none
        #[arg(long, value_parser = byte_limit)]
        bytes: Option<LimitChange>,
        /// A number of messages, or none
        #[arg(long, value_parser = message_limit)]
        messages: Option<LimitChange>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Show or set for how long an account's expunged mail is kept
    Retention {
        /// The account
        name: String,
        /// A number of days, off, hold (until it is lifted), or store (as the store's setting says)
        #[arg(value_parser = command::retention::setting)]
        setting: Option<Setting>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Delete an account and destroy its key: its mail is unreadable at once
    Delete {
        /// The account
        name: String,
        /// Really: nothing brings the mail back
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// What can be done to domains.
#[derive(Subcommand)]
pub(crate) enum DomainVerb {
    /// Take mail for a domain
    Add {
        /// The domain
        domain: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// List domains
    List {
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Take no more mail for a domain; it must have neither accounts nor aliases
    Delete {
        /// The domain
        domain: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// What can be done to aliases.
#[derive(Subcommand)]
pub(crate) enum AliasVerb {
    /// Make or replace an alias
    Add {
        /// name@domain, or @domain for everything else in the domain
        address: String,
        /// Addresses here, accounts or aliases
        #[arg(required = true)]
        targets: Vec<String>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// List aliases
    List {
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Remove an alias
    Delete {
        /// name@domain or @domain
        address: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// What can be asked of the full-text index.
#[derive(Subcommand)]
pub(crate) enum IndexVerb {
    /// Show how far it is
    Status {
        /// This account alone
        account: Option<String>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Make it anew, while the store serves; searches read the messages until it is there
    Rebuild {
        /// This account alone
        account: Option<String>,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// What can be done to keys.
#[derive(Subcommand)]
pub(crate) enum KeyVerb {
    /// Make and show a new recovery key; the old one opens nothing any more
    Backup {
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Put a new key in the place of the one that opens the store, or begin new keys of accounts
    Rotate {
        #[command(flatten)]
        new: NewKeyArguments,
        /// Open a stopped store with the recovery key in the first line of this file: the old key
        /// is lost
        #[arg(long)]
        recovery_key_file: Option<PathBuf>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Bring all mail under the newest keys of its accounts, and destroy older ones that nothing
    /// needs any more
    Rewrap {
        /// This account alone
        #[arg(long)]
        account: Option<String>,
        /// End what a running store is at
        #[arg(long, conflicts_with = "account")]
        stop: bool,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Prove that a recovery key opens the store
    VerifyBackup {
        /// A file with the recovery key in its first line; else it is asked for
        #[arg(long)]
        recovery_key_file: Option<PathBuf>,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// Which key is to be replaced, and by what.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct NewKeyArguments {
    /// The new key file of the store; made if it does not exist
    #[arg(long)]
    pub(crate) new_key_file: Option<PathBuf>,
    /// A file with the store's new passphrase in its first line; '-' asks for it
    #[arg(long)]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// The systemd credential that will open the store
    #[arg(long)]
    pub(crate) new_credential: Option<String>,
    /// Begin a new key of this account instead
    #[arg(long)]
    pub(crate) account: Option<String>,
    /// Begin new keys of all accounts instead
    #[arg(long)]
    pub(crate) all_accounts: bool,
}

/// What an upgrade of Pillarbox needs.
#[derive(Subcommand)]
pub(crate) enum UpgradeVerb {
    /// Let the store hold what this version writes; older versions refuse it from then on, for ever
    Finish {
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// What `deliver` needs.
#[derive(Args)]
pub(crate) struct DeliverArguments {
    /// An address here: an account, user+detail, an alias, or what a catch-all takes
    pub(crate) user: String,
    /// The envelope's sender, for Return-Path
    #[arg(long)]
    pub(crate) sender: Option<String>,
    /// The mailbox; made if it does not exist
    #[arg(long)]
    pub(crate) mailbox: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// Where mail can come from.
#[derive(Subcommand)]
pub(crate) enum ImportVerb {
    /// A Maildir with all its folders (Maildir++ or folders in folders); it is only read
    Maildir(ImportArguments),
    /// An mbox file, or a folder of files NAME.mbox; it is only read
    Mbox(ImportArguments),
    /// A server that speaks IMAP, such as Dovecot, and goes on serving; nothing is changed there.
    /// UIDs, flags and dates stay, so that mail programs do not download again. Run it again and
    /// again: it takes what has changed since
    Imap(Box<LiveArguments>),
}

/// What an import from a running server needs.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("privacy"))]
pub(crate) struct LiveArguments {
    /// The account here, and the server; with --users the server alone
    #[arg(required = true, num_args = 1..=2, value_names = ["ACCOUNT", "HOST"])]
    pub(crate) places: Vec<String>,
    /// Its port; else 993, and 143 with --starttls or --plain-on-loopback
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// The user there; else called as the account here
    #[arg(long, conflicts_with = "users")]
    pub(crate) user: Option<String>,
    /// A list of accounts, a line each: ACCOUNT USER [PASSWORD]
    #[arg(long, value_name = "FILE")]
    pub(crate) users: Option<PathBuf>,
    /// Who logs in there to read the mail of all: Dovecot's master user
    #[arg(long, value_name = "USER")]
    pub(crate) master: Option<String>,
    /// A file with the password in its first line, of the user there, or of the master user
    #[arg(long, value_name = "FILE", conflicts_with = "ask_password")]
    pub(crate) password_file: Option<PathBuf>,
    /// Ask for the password, as is done anyway where no file is given
    #[arg(long)]
    pub(crate) ask_password: bool,
    /// TLS from the first byte, as is done anyway
    #[arg(long, group = "privacy")]
    pub(crate) tls: bool,
    /// TLS by STARTTLS
    #[arg(long, group = "privacy")]
    pub(crate) starttls: bool,
    /// No TLS; to this machine only
    #[arg(long, group = "privacy")]
    pub(crate) plain_on_loopback: bool,
    /// Trust the authorities in this file (PEM) in the place of the machine's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Trust the certificate with this SHA-256 alone, as 'openssl x509 -fingerprint -sha256' shows
    /// it
    #[arg(long, value_name = "HEX", conflicts_with = "ca")]
    pub(crate) fingerprint: Option<String>,
    /// These mailboxes alone, by their names here; '*' stands for anything, '%' for anything within
    /// a level
    #[arg(long, value_name = "PATTERN")]
    pub(crate) include: Vec<String>,
    /// Not these mailboxes
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Accounts at a time; more than one only while the store serves
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) jobs: u16,
    /// Messages to fetch in a second, at most, of each account
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages_per_second: Option<u64>,
    /// Bytes to fetch in a second, at most, of each account; such as 500K or 10M
    #[arg(long, value_parser = byte_count)]
    pub(crate) bytes_per_second: Option<u64>,
    /// Say what there is on both sides, and change nothing
    #[arg(long, conflicts_with = "last")]
    pub(crate) dry_run: bool,
    /// The last run before the switch: compare both sides afterwards, and fail unless they are
    /// equal
    #[arg(long = "final")]
    pub(crate) last: bool,
    /// Where the numbers of both sides have parted, put what is here aside and take the mailbox
    /// again
    #[arg(long)]
    pub(crate) allow_reset: bool,
    /// Leave out messages that the source does not give or the store does not take, for ever
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Set flags as they are there, also where they were changed here since the last run
    #[arg(long)]
    pub(crate) overwrite_flags: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// What an import needs.
#[derive(Args)]
pub(crate) struct ImportArguments {
    /// The account
    pub(crate) user: String,
    /// The Maildir, the mbox file or the folder of them
    pub(crate) path: PathBuf,
    /// Put everything into or below this mailbox, made if it does not exist; else into INBOX and
    /// the mailboxes that the folders name
    #[arg(long)]
    pub(crate) into: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// What mail can be written as.
#[derive(Subcommand)]
pub(crate) enum ExportVerb {
    /// A Maildir++ with all mailboxes, as Dovecot, mutt and notmuch read it
    Maildir {
        #[command(flatten)]
        arguments: ExportArguments,
    },
    /// A folder with a file NAME.mbox for each mailbox (mboxrd), or one file
    Mbox {
        /// This mailbox alone, into one file
        #[arg(long)]
        mailbox: Option<String>,
        #[command(flatten)]
        arguments: ExportArguments,
    },
}

/// What an export needs.
#[derive(Args)]
pub(crate) struct ExportArguments {
    /// The account
    pub(crate) user: String,
    /// What to make; nothing that exists is written over, but a folder may be there if it is empty
    pub(crate) path: PathBuf,
    /// Keep line ends as stored, which is CRLF. Else they become LF, as Unix programs want them,
    /// except in messages that have other line ends too. 'import' gives the stored bytes back
    /// either way
    #[arg(long)]
    pub(crate) crlf: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// What `retention` needs.
#[derive(Args)]
pub(crate) struct RetentionArguments {
    /// A number of days, or off; for accounts without a setting of their own
    #[arg(value_parser = command::retention::setting)]
    pub(crate) setting: Option<Setting>,
    /// Whether low space shortens what is kept, oldest first, before mail is refused; never a hold
    #[arg(long, value_parser = ["keep", "shorten"])]
    pub(crate) low_space: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// What `undelete` needs.
#[derive(Args)]
pub(crate) struct UndeleteArguments {
    /// The account
    pub(crate) user: String,
    /// Only of mailboxes that were called so when the mail was expunged
    #[arg(long)]
    pub(crate) mailbox: Option<String>,
    /// Only what was expunged from then on: 2026-11-24, 2026-11-24T10:00 (UTC), or 3d, 12h, 30m ago
    #[arg(long, value_parser = command::when::time)]
    pub(crate) since: Option<i64>,
    /// Show what is kept, and bring nothing back
    #[arg(long)]
    pub(crate) list: bool,
    /// Say how many messages would come back, and bring nothing back
    #[arg(long, conflicts_with = "list")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// A count of bytes, with or without a unit.
fn byte_count(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 10),
        Some((at, 'm' | 'M')) => (text.get(..at), 20),
        Some((at, 'g' | 'G')) => (text.get(..at), 30),
        _ => (Some(text), 0),
    };
    let count = digits.and_then(|digits| digits.parse::<u64>().ok());
    let bytes = count.and_then(|count| count.checked_mul(1 << shift));
    bytes.ok_or_else(|| "write a number of bytes, such as 5000000000, 500M or 5G".to_owned())
}

/// A limit of bytes, or none.
fn byte_limit(text: &str) -> Result<LimitChange, String> {
    if text == "none" { Ok(LimitChange::Lift) } else { byte_count(text).map(LimitChange::Set) }
}

/// A limit of messages, or none.
fn message_limit(text: &str) -> Result<LimitChange, String> {
    match text {
        "none" => Ok(LimitChange::Lift),
        count => count
            .parse()
            .map(LimitChange::Set)
            .map_err(|_| "write a number of messages, or none".to_owned()),
    }
}

/// Does what the command line says.
pub(crate) fn run() -> Result<(), Failure> {
    match CommandLine::parse().verb {
        Verb::Init(arguments) => command::store::init(&arguments),
        Verb::Serve { config, alone } => command::store::serve(&config, alone),
        Verb::Confined(arguments) => extract::confined(arguments),
        Verb::Demo { directory, port_base, listen } => {
            demo::run(&DemoOptions { directory, port_base, listen })
        }
        Verb::Config(ConfigVerb::Check { file }) => command::store::config_check(&file),
        Verb::Account(verb) => command::people::account(verb),
        Verb::Domain(verb) => command::people::domain(verb),
        Verb::Alias(verb) => command::people::alias(verb),
        Verb::Key(verb) => command::key::key(verb),
        Verb::Deliver(arguments) => command::mail::deliver(&arguments),
        Verb::Check(arguments) => command::store::check(&arguments),
        Verb::Import(verb) => command::mail::import(&verb),
        Verb::Export(verb) => command::mail::export(&verb),
        Verb::Search(arguments) => command::search::search(arguments),
        Verb::Retention(arguments) => command::retention::store(&arguments),
        Verb::Index(verb) => command::index::run(verb),
        Verb::Replica(verb) => command::replica::run(verb),
        Verb::Undelete(arguments) => command::retention::undelete(arguments),
        Verb::Upgrade(UpgradeVerb::Finish { place }) => command::upgrade::finish(&place),
        Verb::Status { place, json: true } => command::store::status_json(&place),
        Verb::Status { place, json: false } => command::store::status(&place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_in_itself() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn the_documented_verbs_are_understood() {
        for line in [
            "init DIR --new-key-file K",
            "serve --config F",
            "config check F",
            "account add u@example.org --data D",
            "account list",
            "account passwd u@example.org",
            "account delete u@example.org --yes",
            "domain add example.org",
            "domain list",
            "domain delete example.org",
            "alias add @example.org u@example.org",
            "alias list",
            "alias delete @example.org",
            "key backup",
            "key verify-backup --recovery-key-file F",
            "key rotate --new-key-file N --recovery-key-file F",
            "key rotate --new-passphrase-file P",
            "key rotate --new-credential pillarbox",
            "key rotate --account u@example.org",
            "key rotate --all-accounts",
            "key rewrap",
            "key rewrap --account u@example.org",
            "key rewrap --stop",
            "deliver u@example.org --sender s@example.net",
            "check",
            "check --repair --from D",
            "check --repair --from D --give-up",
            "check --rebuild",
            "upgrade finish",
            "import maildir u@example.org Maildir",
            "import mbox u@example.org mail.mbox --into Old",
            "import imap u@example.org old.example.org --user u --password-file P",
            "import imap --users FILE old.example.org --master admin --jobs 4 --final",
            "import imap u@example.org localhost --plain-on-loopback --port 1143 --dry-run",
            "import imap u@example.org old --starttls --include INBOX --exclude Junk --ca FILE",
            "export maildir u@example.org Maildir --crlf",
            "export mbox u@example.org Folder",
            "export mbox u@example.org mail.mbox --mailbox INBOX",
            "replica invite --address a.example.org:4190",
            "replica join TOKEN DIR --new-key-file K --address b.example.org:4190",
            "replica status --json",
            "replica promote --data D",
            "replica compare --json",
            "replica forget",
            "search u@example.org hello --explain",
            "search u@example.org FROM ann SINCE 1-Jan-2026 --limit 5",
            "retention 30 --low-space shorten",
            "account retention u@example.org hold",
            "account quota u@example.org",
            "account quota u@example.org --bytes 5G --messages none",
            "undelete u@example.org --mailbox Old --since 3d --dry-run",
            "undelete u@example.org --list",
            "status --json",
        ] {
            let words = std::iter::once("pillarbox").chain(line.split(' '));
            CommandLine::try_parse_from(words)
                .map(drop)
                .unwrap_or_else(|why| panic!("{line}: {why}"));
        }
    }

    #[test]
    fn a_quota_is_a_number_of_bytes_with_or_without_a_unit() {
        let table = [
            ("0", Some(0), "nothing"),
            ("5000000000", Some(5_000_000_000), "bytes"),
            ("10M", Some(10 << 20), "a unit"),
            ("2g", Some(2 << 30), "in any case"),
            ("M", None, "no number"),
            ("", None, "nothing at all"),
            ("-1", None, "less than nothing"),
            ("1.5G", None, "no whole number"),
            ("99999999999G", None, "more than 64 bits"),
            ("5é", None, "a letter of two bytes"),
        ];
        for (text, expected, reason) in table {
            assert_eq!(byte_count(text).ok(), expected, "{reason}: {text:?}");
        }
    }

    #[test]
    fn two_keys_for_one_store_are_refused() {
        let line = ["pillarbox", "init", "D", "--new-key-file", "a", "--key-file", "b"];
        assert!(CommandLine::try_parse_from(line).is_err());
    }
}
