//! One POP3 client: its state, its commands and their answers.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::Store;
use engine::error::ReadError;
use engine::ids::Uid;
use engine::mailbox::Row;
use engine::seal::Secret;
use tokio::sync::watch;
use zeroize::{Zeroize, Zeroizing};

use super::command::{Command, parse};
use super::maildrop::Maildrop;
use super::stuffing::{Stuffing, Wanted};
use crate::codec::put::mask_nul;
use crate::command::printable;
use crate::config::Config;
use crate::driver::Transport;
use crate::login::{Admitted, Outcome, Seat, TlsFacts, Visitor, offer};
use crate::sasl::{Mechanism, Offer};
use crate::stream::{Ended, Wire, blocking};

const NO_SUCH_MESSAGE: &str = "-ERR There is no message of that number, or it is marked";
const TAKEN_OVER_TLS_ONLY: &str = "-ERR [AUTH] Passwords are taken over TLS only";

/// One client's state.
pub(super) struct Session {
    store: Store,
    config: Arc<Config>,
    peer: SocketAddr,
    shutdown: watch::Receiver<bool>,
    tls: Option<Box<TlsFacts>>,
    /// From USER.
    name: Option<String>,
    login_failures: u32,
    /// Lines in a row that were not understood.
    bad_commands: u32,
    /// After login.
    maildrop: Option<Maildrop>,
    /// Its place among the connections of the account.
    seat: Option<Seat>,
}

impl Session {
    /// Before login.
    pub(super) fn new(
        store: Store,
        config: Arc<Config>,
        peer: SocketAddr,
        shutdown: watch::Receiver<bool>,
    ) -> Session {
        Session {
            store,
            config,
            peer,
            shutdown,
            tls: None,
            name: None,
            login_failures: 0,
            bad_commands: 0,
            maildrop: None,
            seat: None,
        }
    }

    /// From the greeting to the end.
    pub(super) async fn converse(&mut self, wire: &mut Wire, transport: Transport) -> Ended {
        match self.converse_until_error(wire, transport).await {
            Ok(()) => Ended::Said,
            Err(ended) => ended,
        }
    }

    async fn converse_until_error(
        &mut self,
        wire: &mut Wire,
        transport: Transport,
    ) -> Result<(), Ended> {
        if transport == Transport::ImplicitTls {
            self.handshake(wire).await?;
        }
        wire.line(&format!("+OK {} Pillarbox ready", printable(&self.config.hostname)));
        loop {
            let mut line = self.next_line(wire).await?;
            let parsed = parse(&line, self.config.limits.pop3_line_bytes_max);
            line.zeroize();
            match parsed {
                Ok(Command::Quit) => return self.quit(wire).await,
                Ok(command) => {
                    self.bad_commands = 0;
                    Box::pin(self.carry_out(wire, command)).await?;
                }
                Err(why) => {
                    wire.line(&format!("-ERR {why}"));
                    self.bad_commands = self.bad_commands.saturating_add(1);
                    if self.bad_commands >= self.config.limits.bad_commands_max {
                        return Err(Ended::Said);
                    }
                }
            }
            wire.relieve().await?;
        }
    }

    async fn handshake(&mut self, wire: &mut Wire) -> Result<(), Ended> {
        let facts = wire.handshake(&self.config, self.peer).await?;
        self.tls = Some(Box::new(facts));
        Ok(())
    }

    /// The next line; sends what waits before it waits itself.
    async fn next_line(&mut self, wire: &mut Wire) -> Result<Vec<u8>, Ended> {
        loop {
            match wire.connection.plain_line(wire.bounds) {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => {}
                Err(_) => {
                    wire.line("-ERR The line is far too long");
                    return Err(Ended::Said);
                }
            }
            wire.flush().await?;
            let limits = &self.config.limits;
            let timeout = match self.maildrop {
                Some(_) => limits.idle_timeout,
                None => limits.login_timeout,
            };
            let received = tokio::select! {
                _ = self.shutdown.wait_for(|stop| *stop) => {
                    wire.line("-ERR [SYS/TEMP] The server is stopping");
                    return Err(Ended::Said);
                }
                received = wire.receive_within(timeout) => received,
            };
            match received {
                Some(received) => received?,
                // RFC 1939 section 3: closed without a word, and nothing is deleted.
                None => return Err(Ended::Closed),
            }
        }
    }

    async fn carry_out(&mut self, wire: &mut Wire, command: Command) -> Result<(), Ended> {
        match (command, self.maildrop.is_some()) {
            (Command::Capa, _) => self.capabilities(wire),
            (Command::Noop, true) => wire.line("+OK Nothing done"),
            (Command::Stls, false) => return self.start_tls(wire).await,
            (Command::User(name), false) => match self.offer().passwords {
                true => {
                    self.name = Some(name);
                    wire.line("+OK And the password?");
                }
                false => wire.line(TAKEN_OVER_TLS_ONLY),
            },
            (Command::Pass(password), false) => return self.pass(wire, password).await,
            (Command::Auth { mechanism: None, .. }, false) => {
                wire.line("+OK");
                self.offer().names().for_each(|name| wire.line(name));
                wire.line(".");
            }
            (Command::Auth { mechanism: Some(mechanism), initial }, false) => {
                return self.authenticate(wire, &mechanism, initial).await;
            }
            (command, true) => return self.transact(wire, command).await,
            (_, false) => wire.line("-ERR Log in first"),
        }
        Ok(())
    }

    /// Commands of the transaction state.
    async fn transact(&mut self, wire: &mut Wire, command: Command) -> Result<(), Ended> {
        let Some(maildrop) = &mut self.maildrop else { return Ok(()) };
        match command {
            Command::Stat => {
                let (count, bytes) = maildrop.totals();
                wire.line(&format!("+OK {count} {bytes}"));
            }
            Command::Rset => {
                maildrop.reset();
                wire.line("+OK Nothing is marked");
            }
            Command::List(None) => return self.list(wire, |_, uid| uid.size.to_string()).await,
            Command::Uidl(None) => {
                return self.list(wire, |maildrop, uid| maildrop.unique_id(uid.uid)).await;
            }
            Command::List(Some(number)) => {
                if let Some(row) = self.row(wire, number) {
                    wire.line(&format!("+OK {number} {}", row.size));
                }
            }
            Command::Uidl(Some(number)) => {
                let Some(row) = self.row(wire, number) else { return Ok(()) };
                let Some(maildrop) = &self.maildrop else { return Ok(()) };
                wire.line(&format!("+OK {number} {}", maildrop.unique_id(row.uid)));
            }
            Command::Dele(number) => {
                let Some(row) = self.row(wire, number) else { return Ok(()) };
                let Some(maildrop) = &mut self.maildrop else { return Ok(()) };
                maildrop.delete(&row);
                wire.line("+OK Marked");
            }
            Command::Retr(number) => {
                return self.send_message(wire, number, Stuffing::whole()).await;
            }
            Command::Top { number, lines } => {
                return self.send_message(wire, number, Stuffing::top(lines)).await;
            }
            _ => wire.line("-ERR You are logged in already"),
        }
        Ok(())
    }

    /// The message of a number; answers if there is none.
    fn row(&self, wire: &mut Wire, number: u32) -> Option<Row> {
        match blocking(|| self.maildrop.as_ref()?.row(number).transpose()) {
            Some(Ok(row)) => Some(row),
            None => {
                wire.line(NO_SUCH_MESSAGE);
                None
            }
            Some(Err(error)) => {
                self.unreadable(wire, &error);
                None
            }
        }
    }

    /// Stored bytes could not be read: logged here, once; the client learns only that.
    fn unreadable(&self, wire: &mut Wire, error: &ReadError) {
        tracing::error!(rip = %self.peer.ip(), %error, "stored data could not be read");
        wire.line("-ERR [SYS/PERM] Stored data could not be read; the operator has been told");
    }

    /// LIST and UIDL of all messages, some at a time.
    async fn list(
        &self,
        wire: &mut Wire,
        show: impl Fn(&Maildrop, &super::maildrop::Listed) -> String,
    ) -> Result<(), Ended> {
        let Some(maildrop) = &self.maildrop else { return Ok(()) };
        let mut next = Some((Uid(1), 1));
        let mut listed = Vec::new();
        let mut begun = false;
        while let Some(from) = next {
            next = match blocking(|| maildrop.list(from, &mut listed)) {
                Ok(next) => next,
                Err(error) if begun => {
                    tracing::error!(rip = %self.peer.ip(), %error, "stored data unreadable");
                    return Err(Ended::CutShort);
                }
                Err(error) => {
                    self.unreadable(wire, &error);
                    return Ok(());
                }
            };
            if !begun {
                let (count, bytes) = maildrop.totals();
                wire.line(&format!("+OK {count} messages ({bytes} octets)"));
                begun = true;
            }
            for entry in listed.drain(..) {
                wire.line(&format!("{} {}", entry.number, show(maildrop, &entry)));
            }
            wire.relieve().await?;
        }
        wire.line(".");
        Ok(())
    }

    /// RETR and TOP: a chunk at a time, as fast as the client takes it.
    async fn send_message(
        &mut self,
        wire: &mut Wire,
        number: u32,
        mut stuffing: Stuffing,
    ) -> Result<(), Ended> {
        let Some(row) = self.row(wire, number) else { return Ok(()) };
        let Some(maildrop) = &mut self.maildrop else { return Ok(()) };
        let mut chunk = Vec::new();
        let opened = blocking(|| {
            let mut reader = maildrop.message(&row)?;
            reader.append_from(0, u64::MAX, &mut chunk)?;
            Ok(reader)
        });
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(_) if !blocking(|| maildrop.is_there(row.uid)) => {
                wire.line("-ERR Another session has expunged the message");
                return Ok(());
            }
            Err(error) => {
                self.unreadable(wire, &error);
                return Ok(());
            }
        };
        wire.line(&format!("+OK {} octets", row.size));
        let mut position = 0;
        while !chunk.is_empty() {
            position += engine::width::u64_of(chunk.len());
            // What no line of text may hold; as in IMAP, whose sizes are the same.
            mask_nul(&mut chunk, 0);
            if stuffing.put(&chunk, &mut wire.out) == Wanted::Nothing {
                break;
            }
            wire.relieve().await?;
            chunk.clear();
            if let Err(error) = blocking(|| reader.append_from(position, u64::MAX, &mut chunk)) {
                tracing::error!(uid = row.uid.0, %error, "message unreadable");
                return Err(Ended::CutShort);
            }
        }
        stuffing.end(&mut wire.out);
        if stuffing.is_whole() {
            maildrop.retrieved(row.uid);
        }
        Ok(())
    }

    fn offer(&self) -> Offer {
        offer(&self.config, self.peer, self.tls.as_deref())
    }

    /// CAPA (RFC 2449)
    fn capabilities(&self, wire: &mut Wire) {
        let offer = self.offer();
        wire.line("+OK This is what we can do");
        for capability in
            ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"]
        {
            wire.line(capability);
        }
        if self.maildrop.is_some() {
            wire.line("IMPLEMENTATION Pillarbox");
        }
        if offer.passwords {
            wire.line("USER");
        }
        let mechanisms: Vec<_> = offer.names().collect();
        if !mechanisms.is_empty() {
            wire.line(&format!("SASL {}", mechanisms.join(" ")));
        }
        if self.can_start_tls() {
            wire.line("STLS");
        }
        wire.line(".");
    }

    fn can_start_tls(&self) -> bool {
        self.tls.is_none() && self.config.tls.is_some() && self.maildrop.is_none()
    }

    /// STLS (RFC 2595 section 4)
    async fn start_tls(&mut self, wire: &mut Wire) -> Result<(), Ended> {
        if !self.can_start_tls() {
            wire.line("-ERR There is no TLS to begin");
            return Ok(());
        }
        wire.line("+OK Begin the TLS handshake now");
        wire.flush().await?;
        self.name = None;
        self.handshake(wire).await
    }

    async fn pass(&mut self, wire: &mut Wire, password: Secret) -> Result<(), Ended> {
        if !self.offer().passwords {
            wire.line(TAKEN_OVER_TLS_ONLY);
            return Ok(());
        }
        let Some(name) = self.name.take().map(Zeroizing::new) else {
            wire.line("-ERR The name comes first: USER");
            return Ok(());
        };
        let outcome = self.visitor().password(&name, password).await;
        self.conclude(wire, outcome)
    }

    /// AUTH (RFC 5034)
    async fn authenticate(
        &mut self,
        wire: &mut Wire,
        mechanism: &str,
        initial: Option<Vec<u8>>,
    ) -> Result<(), Ended> {
        let offer = self.offer();
        let mechanism = match Mechanism::named(mechanism) {
            Some(mechanism) if offer.has(mechanism) => mechanism,
            Some(mechanism) if mechanism.wants_password() && !offer.passwords => {
                wire.line(TAKEN_OVER_TLS_ONLY);
                return Ok(());
            }
            _ => {
                wire.line("-ERR That mechanism is not offered here");
                return Ok(());
            }
        };
        let outcome = self.visitor().converse(wire, mechanism, initial).await?;
        self.conclude(wire, outcome)
    }

    fn visitor(&mut self) -> Visitor<'_> {
        Visitor {
            offer: self.offer(),
            store: &self.store,
            config: &self.config,
            peer: self.peer,
            protocol: "pop3",
            tls: self.tls.as_deref(),
            failures: &mut self.login_failures,
        }
    }

    /// The table from outcomes to answers (RFC 3206).
    fn conclude(&mut self, wire: &mut Wire, outcome: Outcome) -> Result<(), Ended> {
        let answer = match outcome {
            Outcome::In(admitted) => return self.enter(wire, admitted),
            Outcome::Refused | Outcome::RefusedForGood => {
                "-ERR [AUTH] The name or the password is wrong"
            }
            Outcome::Full => "-ERR [SYS/TEMP] This account has too many connections",
            Outcome::NotPermitted => "-ERR [AUTH] Nobody may act as somebody else",
            Outcome::Cancelled => "-ERR Cancelled",
            Outcome::Malformed(why) => {
                wire.line(&format!("-ERR {why}"));
                return Ok(());
            }
            Outcome::Unavailable => "-ERR [SYS/TEMP] The token cannot be checked now",
            Outcome::Unreadable(error) => {
                self.unreadable(wire, &error);
                return Ok(());
            }
            Outcome::Broken => "-ERR [SYS/PERM] The login could not be checked",
        };
        wire.line(answer);
        match outcome {
            Outcome::RefusedForGood => Err(Ended::Said),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, wire: &mut Wire, admitted: Admitted) -> Result<(), Ended> {
        let Admitted { account, seat } = admitted;
        match blocking(|| Maildrop::open(account)) {
            Ok(Some(maildrop)) => {
                let (count, bytes) = maildrop.totals();
                self.maildrop = Some(maildrop);
                self.seat = Some(seat);
                wire.line(&format!("+OK {count} messages ({bytes} octets)"));
            }
            Ok(None) => wire.line("-ERR [SYS/TEMP] There is no INBOX"),
            Err(error) => self.unreadable(wire, &error),
        }
        Ok(())
    }

    /// QUIT: the update state (RFC 1939 section 6).
    async fn quit(&mut self, wire: &mut Wire) -> Result<(), Ended> {
        let updated = match self.maildrop.take() {
            Some(maildrop) => maildrop.update().await,
            None => Ok(()),
        };
        self.seat = None;
        match updated {
            Ok(()) => wire.line("+OK Good-bye"),
            Err(error) => {
                tracing::error!(rip = %self.peer.ip(), %error, "change refused");
                wire.line("-ERR [SYS/TEMP] Some messages were not removed; try again later");
            }
        }
        Ok(())
    }
}
