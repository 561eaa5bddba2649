//! The session: what a client may say when, and what it is answered (RFC 5321 section 4.1.4).
//!
//! ```text
//! connected ── EHLO/LHLO ──► greeted ── MAIL ──► sender ── RCPT… ──► recipients ── DATA ─► content
//!                              ▲                                         └─ BDAT… ─► content
//!                              └──── RSET, EHLO, end of content (answered), failure ────┘
//! ```
//!
//! Knows no socket and no clock: times come with the steps, replies go into a buffer.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use engine::ids::{AccountNumber, UnixSeconds};
use engine::limits;
use engine::width::u64_of;
use engine::{DeliverTo, Resolution};
use tracing::{info, warn};

use crate::codec::address::{Address, ReversePath};
use crate::codec::command::{Chunk, Command, CommandError, Hello, MailParameters};
use crate::config::{BareNewline, Config};
use crate::dialect::Dialect;
use crate::extension::{self, Tls};
use crate::mailroom::{INBOX, Mailroom, mailbox_of_detail};
use crate::receive::{ReceiveError, Received, Receiver};
use crate::recipient::{Outcome, Recipients, worst};
use crate::reply::{self, Reply};
use crate::trace::{Trace, hop_count};

/// What the driver does after a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// The next step.
    Continue,
    /// A message follows, ended by a dot.
    Data,
    /// The first chunk of a message follows.
    FirstChunk(u64),
    /// A further chunk follows.
    Chunk(u64),
    /// After the reply, TLS.
    StartTls,
    /// After the reply, the end.
    Close,
}

/// A message on its way to the store.
pub(crate) struct Delivery {
    /// With its trace.
    pub(crate) message: Received,
    /// When it arrived.
    pub(crate) received: UnixSeconds,
    /// Where its copies go.
    pub(crate) copies: Vec<DeliverTo>,
    /// What the answer needs.
    pub(crate) pending: Pending,
}

/// A delivery that is not answered yet.
pub(crate) struct Pending {
    id: String,
    sender: ReversePath,
    byte_count: u64,
    recipients: Recipients,
}

struct Transaction {
    id: String,
    sender: ReversePath,
    parameters: MailParameters,
    recipients: Recipients,
    content: Content,
}

enum Content {
    NotBegun,
    Arriving(Receiver, UnixSeconds),
    /// It failed; the rest is read past.
    Failed(ReceiveError),
}

/// One conversation's state.
pub(crate) struct Session<M> {
    mailroom: M,
    config: Arc<Config>,
    dialect: Dialect,
    peer: SocketAddr,
    tls: Tls,
    id: String,
    hello: Option<(Hello, String)>,
    transaction: Option<Transaction>,
    transaction_count: u64,
    /// The chunk that is arriving, or why its bytes are read past.
    chunk: Option<Result<Chunk, &'static Reply>>,
    error_count: u32,
}

impl<M: Mailroom> Session<M> {
    /// A new conversation; `id` names it in the log and in Received.
    pub(crate) fn new(
        mailroom: M,
        config: Arc<Config>,
        dialect: Dialect,
        peer: SocketAddr,
        tls: Tls,
        id: String,
    ) -> Session<M> {
        Session {
            mailroom,
            config,
            dialect,
            peer,
            tls,
            id,
            hello: None,
            transaction: None,
            transaction_count: 0,
            chunk: None,
            error_count: 0,
        }
    }

    /// The greeting.
    pub(crate) fn greet(&self, out: &mut Vec<u8>) {
        // Writing into memory does not fail.
        let _ = write!(out, "220 {} {} Pillarbox\r\n", self.config.hostname, self.dialect.name());
    }

    /// TLS is active: all that was said before is forgotten (RFC 3207 section 4.2).
    pub(crate) fn secured(&mut self) {
        self.tls = Tls::Active;
        self.hello = None;
        self.transaction = None;
        self.chunk = None;
    }

    /// The store.
    pub(crate) fn mailroom(&self) -> &M {
        &self.mailroom
    }

    /// Obeys a command, or answers a line that is none.
    pub(crate) fn command(
        &mut self,
        command: Result<Command, CommandError>,
        now: UnixSeconds,
        out: &mut Vec<u8>,
    ) -> Next {
        if let Err(error @ (CommandError::ForeignProtocol | CommandError::ChunkSize)) = command {
            // What follows are not commands but somebody's content.
            reply::for_command_error(error).write_to(out);
            return Next::Close;
        }
        let done = match command {
            Err(error) => Err(reply::for_command_error(error)),
            Ok(Command::Hello(hello, name)) => self.hello(hello, name, out),
            Ok(Command::Mail(sender, parameters)) => self.mail(sender, parameters, out),
            Ok(Command::Rcpt(recipient)) => return self.rcpt(recipient, out),
            Ok(Command::Data) => self.data(now, out),
            Ok(Command::Bdat(chunk)) => return self.bdat(chunk, now),
            Ok(Command::Rset) => {
                self.transaction = None;
                say(&reply::DONE, out)
            }
            Ok(Command::Noop) => say(&reply::DONE, out),
            Ok(Command::Help) => say(&reply::HELP, out),
            Ok(Command::Vrfy) => say(&reply::NOT_VERIFIED, out),
            Ok(Command::Expn) => Err(&reply::NOT_EXPANDED),
            Ok(Command::StartTls) => self.start_tls(out),
            Ok(Command::Quit) => {
                reply::GOODBYE.write_to(out);
                return Next::Close;
            }
        };
        match done {
            Ok(next) => next,
            Err(failure) => self.refuse(failure, out),
        }
    }

    /// Takes a piece of the message.
    pub(crate) fn content(&mut self, bytes: &[u8]) {
        if matches!(self.chunk, Some(Err(_))) {
            return;
        }
        let Some(transaction) = &mut self.transaction else { return };
        let Content::Arriving(receiver, _) = &mut transaction.content else { return };
        if let Err(error) = receiver.push(bytes, || self.mailroom.open_spool()) {
            // The receiver goes, and its memory with it.
            transaction.content = Content::Failed(error);
        }
    }

    /// The message or the chunk has arrived. Answers it, unless there is something to deliver
    /// first.
    pub(crate) fn content_end(
        &mut self,
        bare_newline_count: u64,
        out: &mut Vec<u8>,
    ) -> Option<Delivery> {
        match self.chunk.take() {
            Some(Err(refusal)) => {
                self.error_count += 1;
                refusal.write_to(out);
                return None;
            }
            Some(Ok(Chunk { last: false, .. })) => {
                self.chunk_end(out);
                return None;
            }
            Some(Ok(Chunk { last: true, .. })) | None => {}
        }
        let Transaction { id, sender, mut recipients, content, .. } = self.transaction.take()?;
        let (message, received) = match self.check_content(content, bare_newline_count) {
            Ok(whole) => whole,
            Err(failure) => {
                info!(rip = %self.peer.ip(), id, from = %sender, code = failure.code,
                    why = failure.text, "message refused");
                self.answer_all(&recipients, failure, out);
                return None;
            }
        };
        let copies = recipients.take_copies();
        let byte_count = message.byte_count();
        let pending = Pending { id, sender, byte_count, recipients };
        Some(Delivery { message, received, copies, pending })
    }

    /// The store has answered, and so do we.
    pub(crate) fn delivered(&mut self, pending: &Pending, outcome: &Outcome, out: &mut Vec<u8>) {
        let Pending { id, sender, byte_count, recipients } = pending;
        let answers = recipients.answers(outcome, self.config.over_quota);
        let worst = match self.dialect {
            Dialect::Lmtp => {
                let mut failures = Vec::new();
                for (address, failure) in answers {
                    match failure {
                        None => reply::STORED_FOR.write_for(address, id, out),
                        Some(failure) => failure.write_for(address, "", out),
                    }
                    failures.extend(failure);
                }
                worst(failures.into_iter())
            }
            Dialect::Smtp => {
                // One answer for all: a failure of one is the failure of the message, because the
                // sender could not be told of it in another way.
                let worst = worst(answers.filter_map(|(_, failure)| failure));
                match worst {
                    None => reply::STORED.write_with(id, out),
                    Some(failure) => failure.write_to(out),
                }
                worst
            }
        };
        let rip = self.peer.ip();
        match worst {
            None => info!(rip = %rip, id, from = %sender, bytes = byte_count,
                to = %AddressList(recipients), "delivered"),
            Some(reply) => warn!(rip = %rip, id, from = %sender, bytes = byte_count,
                to = %AddressList(recipients), code = reply.code, why = %Reasons(outcome),
                "not delivered to everybody"),
        }
    }

    fn hello(
        &mut self,
        hello: Hello,
        name: String,
        out: &mut Vec<u8>,
    ) -> Result<Next, &'static Reply> {
        if !self.dialect.speaks(hello) {
            return Err(match self.dialect {
                Dialect::Smtp => &reply::OTHER_DIALECT_SMTP,
                Dialect::Lmtp => &reply::OTHER_DIALECT_LMTP,
            });
        }
        self.transaction = None;
        self.hello = Some((hello, name));
        let hostname = &self.config.hostname;
        match hello {
            Hello::Helo => {
                let _ = write!(out, "250 {hostname}\r\n");
            }
            Hello::Ehlo | Hello::Lhlo => {
                extension::announce(hostname, self.config.size_limit(), self.tls, out);
            }
        }
        Ok(Next::Continue)
    }

    fn start_tls(&mut self, out: &mut Vec<u8>) -> Result<Next, &'static Reply> {
        match self.tls {
            Tls::Unavailable => Err(&reply::NO_TLS),
            Tls::Active => Err(&reply::TLS_ACTIVE),
            Tls::Offered => {
                reply::READY_FOR_TLS.write_to(out);
                Ok(Next::StartTls)
            }
        }
    }

    fn mail(
        &mut self,
        sender: ReversePath,
        parameters: MailParameters,
        out: &mut Vec<u8>,
    ) -> Result<Next, &'static Reply> {
        if self.hello.is_none() {
            return Err(&reply::GREET_FIRST);
        }
        if self.transaction.is_some() {
            return Err(&reply::NESTED_MAIL);
        }
        if let ReversePath::Address(address) = &sender
            && !address.is_ascii()
            && !parameters.smtputf8
        {
            return Err(&reply::NEEDS_SMTPUTF8);
        }
        if parameters.declared_bytes.is_some_and(|bytes| bytes > self.config.size_limit()) {
            return Err(&reply::TOO_LARGE);
        }
        self.transaction_count += 1;
        self.transaction = Some(Transaction {
            id: format!("{}.{}", self.id, self.transaction_count),
            sender,
            parameters,
            recipients: Recipients::default(),
            content: Content::NotBegun,
        });
        say(&reply::SENDER_OK, out)
    }

    fn rcpt(&mut self, recipient: Address, out: &mut Vec<u8>) -> Next {
        let failure = match self.accept(&recipient) {
            Ok(targets) => match &mut self.transaction {
                Some(transaction) => {
                    transaction.recipients.add(recipient, targets);
                    reply::RECIPIENT_OK.write_to(out);
                    return Next::Continue;
                }
                None => &reply::MAIL_FIRST,
            },
            Err(failure) => failure,
        };
        info!(rip = %self.peer.ip(), id = self.id, to = %recipient, code = failure.code,
            why = failure.text, "recipient refused");
        // A server in front passes on what it was sent; the world guesses names.
        let is_fault = match self.dialect {
            Dialect::Smtp => !failure.is_transient(),
            Dialect::Lmtp => failure.code == reply::MAIL_FIRST.code,
        };
        if is_fault {
            return self.refuse(failure, out);
        }
        failure.write_to(out);
        Next::Continue
    }

    /// Where mail for a recipient goes, or why nowhere.
    fn accept(&self, recipient: &Address) -> Result<Vec<(AccountNumber, String)>, &'static Reply> {
        let transaction = self.transaction.as_ref().ok_or(&reply::MAIL_FIRST)?;
        if !matches!(transaction.content, Content::NotBegun) {
            return Err(&reply::CHUNKS_BEGUN);
        }
        if !recipient.is_ascii() && !transaction.parameters.smtputf8 {
            return Err(&reply::NEEDS_SMTPUTF8);
        }
        if !recipient.has_domain() && !recipient.is_bare_postmaster() {
            return Err(&reply::BAD_RECIPIENT);
        }
        if transaction.recipients.count() >= self.config.recipients_max {
            return Err(&reply::TOO_MANY_RECIPIENTS);
        }
        let resolution = self.mailroom.resolve(&recipient.key());
        let (accounts, detail) = match resolution.map_err(|error| self.trouble(&error))? {
            Resolution::Accounts { accounts, detail } => (accounts, detail),
            Resolution::NoSuchUser => return Err(&reply::NO_SUCH_USER),
            Resolution::NoSuchDomain => {
                return Err(match self.dialect {
                    Dialect::Smtp => &reply::NO_RELAY,
                    Dialect::Lmtp => &reply::NO_SUCH_DOMAIN,
                });
            }
        };
        if accounts.is_empty() {
            return Err(&reply::NO_SUCH_USER);
        }
        if transaction.recipients.copy_count_with(&accounts) > limits::BLOB_ACCOUNTS_MAX {
            return Err(&reply::TOO_MANY_RECIPIENTS);
        }
        let declared_bytes = transaction.parameters.declared_bytes.unwrap_or(0);
        let mut targets = Vec::with_capacity(accounts.len());
        for account in accounts {
            // Asked now, because after the message SMTP has one answer for all recipients.
            let quota = self.mailroom.quota(account).map_err(|error| self.trouble(&error))?;
            if quota.exceeded_by(declared_bytes) {
                return Err(reply::for_over_quota(self.config.over_quota));
            }
            targets.push((account, self.mailbox_for(account, detail.as_deref())?));
        }
        Ok(targets)
    }

    fn mailbox_for(
        &self,
        account: AccountNumber,
        detail: Option<&str>,
    ) -> Result<String, &'static Reply> {
        match detail {
            Some(detail) if self.config.detail_mailboxes => {
                let mailbox = mailbox_of_detail(&self.mailroom, account, detail);
                mailbox.map_err(|error| self.trouble(&error))
            }
            _ => Ok(INBOX.to_owned()),
        }
    }

    fn trouble(&self, error: &engine::error::ReadError) -> &'static Reply {
        warn!(rip = %self.peer.ip(), id = self.id, %error, "a recipient could not be looked up");
        &reply::TROUBLE
    }

    fn data(&mut self, now: UnixSeconds, out: &mut Vec<u8>) -> Result<Next, &'static Reply> {
        if matches!(&self.transaction, Some(Transaction { content, .. })
            if !matches!(content, Content::NotBegun))
        {
            return Err(&reply::CHUNKS_BEGUN);
        }
        self.begin_content(now)?;
        reply::SEND_MESSAGE.write_to(out);
        Ok(Next::Data)
    }

    /// The chunk follows in any case, so a refusal waits for its end.
    fn bdat(&mut self, chunk: Chunk, now: UnixSeconds) -> Next {
        let begun = match &self.transaction {
            Some(transaction) => !matches!(transaction.content, Content::NotBegun),
            None => false,
        };
        if begun {
            self.chunk = Some(Ok(chunk));
            return Next::Chunk(chunk.byte_count);
        }
        self.chunk = Some(self.begin_content(now).map(|()| chunk));
        Next::FirstChunk(chunk.byte_count)
    }

    /// A receiver for the message, with the trace in it.
    fn begin_content(&mut self, now: UnixSeconds) -> Result<(), &'static Reply> {
        let Some((hello, hello_name)) = &self.hello else { return Err(&reply::GREET_FIRST) };
        let Some(transaction) = &mut self.transaction else { return Err(&reply::MAIL_FIRST) };
        if transaction.recipients.count() == 0 {
            return Err(match self.dialect {
                Dialect::Smtp => &reply::NO_RECIPIENTS,
                Dialect::Lmtp => &reply::NO_RECIPIENTS_LMTP,
            });
        }
        let mut trace = Vec::with_capacity(512);
        Trace {
            sender: &transaction.sender,
            only_recipient: transaction.recipients.only(),
            hello: *hello,
            hello_name,
            peer: self.peer,
            hostname: &self.config.hostname,
            tls: self.tls,
            smtputf8: transaction.parameters.smtputf8,
            id: &transaction.id,
            received: now,
        }
        .write_to(&mut trace);
        let declared_bytes = transaction.parameters.declared_bytes;
        let limit_bytes = self.config.size_limit();
        match Receiver::new(&self.config.memory, &trace, declared_bytes, limit_bytes) {
            Ok(receiver) => {
                transaction.content = Content::Arriving(receiver, now);
                Ok(())
            }
            Err(error) => {
                self.transaction = None;
                Err(reply::for_receive_error(&error))
            }
        }
    }

    /// A chunk that is not the last. A failure ends the transaction; later chunks are refused.
    fn chunk_end(&mut self, out: &mut Vec<u8>) {
        match &self.transaction {
            Some(Transaction { content: Content::Failed(error), .. }) => {
                self.receive_failure(error).write_to(out);
                self.transaction = None;
            }
            _ => reply::CHUNK_TAKEN.write_to(out),
        }
    }

    /// The message, if it may be stored.
    fn check_content(
        &self,
        content: Content,
        bare_newline_count: u64,
    ) -> Result<(Received, UnixSeconds), &'static Reply> {
        let (receiver, received) = match content {
            Content::Arriving(receiver, received) => (receiver, received),
            Content::Failed(error) => return Err(self.receive_failure(&error)),
            Content::NotBegun => return Err(&reply::TROUBLE),
        };
        let refuses = self.config.bare_newline(self.dialect) == BareNewline::Refuse;
        if refuses && bare_newline_count > 0 {
            return Err(&reply::BARE_NEWLINE);
        }
        let message = receiver.finish().map_err(|error| self.receive_failure(&error))?;
        // One of them is ours.
        if hop_count(message.bytes()) > self.config.hops_max.saturating_add(1) {
            return Err(&reply::MAIL_LOOP);
        }
        Ok((message, received))
    }

    fn receive_failure(&self, error: &ReceiveError) -> &'static Reply {
        if let ReceiveError::Spool(error) = error {
            warn!(rip = %self.peer.ip(), id = self.id, %error, "the spool failed");
        }
        reply::for_receive_error(error)
    }

    fn answer_all(&self, recipients: &Recipients, failure: &Reply, out: &mut Vec<u8>) {
        match self.dialect {
            Dialect::Smtp => failure.write_to(out),
            Dialect::Lmtp => {
                for address in recipients.addresses() {
                    failure.write_for(address, "", out);
                }
            }
        }
    }

    /// Answers a fault of the client, and ends the conversation with one that makes too many.
    fn refuse(&mut self, failure: &Reply, out: &mut Vec<u8>) -> Next {
        self.error_count += 1;
        failure.write_to(out);
        if self.error_count < self.config.errors_max {
            return Next::Continue;
        }
        info!(rip = %self.peer.ip(), id = self.id, "too many errors");
        reply::TOO_MANY_ERRORS.write_to(out);
        Next::Close
    }
}

fn say(reply: &Reply, out: &mut Vec<u8>) -> Result<Next, &'static Reply> {
    reply.write_to(out);
    Ok(Next::Continue)
}

/// Recipients in a log line: the first few.
struct AddressList<'a>(&'a Recipients);

impl std::fmt::Display for AddressList<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 10;
        for (index, address) in self.0.addresses().take(SHOWN).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}<{address}>")?;
        }
        let hidden = u64_of(self.0.count().saturating_sub(SHOWN));
        if hidden > 0 { write!(f, " and {hidden} more") } else { Ok(()) }
    }
}

/// What the store said, once each.
struct Reasons<'a>(&'a Outcome);

impl std::fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Outcome::Refused(error) => write!(f, "{error}"),
            Outcome::Vanished => f.write_str("the store gave no answer"),
            Outcome::Answered(results) => {
                match results.iter().find_map(|result| result.as_ref().err()) {
                    Some(error) => write!(f, "{error}"),
                    None => f.write_str("the store gave too few answers"),
                }
            }
        }
    }
}
