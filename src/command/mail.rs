//! `deliver`, `import` and `export`: mail that comes in and goes out by command.

use std::io::Read;

use crate::admin::Request;
use crate::cli::{
    DeliverArguments, ExportArguments, ExportVerb, ImportArguments, ImportVerb, LiveArguments,
};
use crate::command::Place;
use crate::export::{self, MaildirTarget, MboxTarget, Wanted};
use crate::failure::{Exit, Failure};
use crate::import::{Options, Reach, Who, import_live, import_maildir, import_mbox, with_crlf};
use crate::mail_files::LineEnds;
use crate::store_access::OpenMode;

/// `pillarbox deliver USER < message`, also as a pipe(8) transport of Postfix.
pub(crate) fn deliver(arguments: &DeliverArguments) -> Result<(), Failure> {
    let limit = engine::width::u64_of(engine::limits::MESSAGE_BYTES_MAX);
    let mut message = Vec::new();
    std::io::stdin().lock().take(limit + 1).read_to_end(&mut message).map_err(|cause| {
        Failure::new(Exit::Later, format!("cannot read the message from the input: {cause}"))
    })?;
    if engine::width::u64_of(message.len()) > limit {
        return Err(Failure::new(
            Exit::Refused,
            format!("the message is larger than {limit} bytes"),
        ));
    }
    if message.is_empty() {
        return Err(Failure::new(Exit::Usage, "there is no message on the input"));
    }
    let body = with_envelope(&message, arguments)?;
    let request = Request::Deliver {
        recipient: arguments.user.clone(),
        mailbox: arguments.mailbox.clone(),
        body_bytes: engine::width::u64_of(body.len()),
    };
    let mut connection = Place::find(&arguments.place)?.connect(OpenMode::ReadWrite)?;
    let answer = connection.call(&request, &body, &mut |_, _| {});
    connection.close();
    answer.map(drop)
}

/// The message with CRLF line ends and the envelope's addresses on top (RFC 5321 section 4.4).
fn with_envelope(message: &[u8], arguments: &DeliverArguments) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    for address in arguments.sender.iter().chain([&arguments.user]) {
        if address.chars().any(char::is_control) {
            return Err(Failure::new(
                Exit::Usage,
                "an address cannot have line ends or control characters in it",
            ));
        }
    }
    if let Some(sender) = &arguments.sender {
        body.extend_from_slice(format!("Return-Path: <{sender}>\r\n").as_bytes());
    }
    body.extend_from_slice(format!("Delivered-To: {}\r\n", arguments.user).as_bytes());
    // Local mail programs put an mbox line on top.
    let message = match message.strip_prefix(b"From ") {
        Some(rest) => {
            let line_end = rest.iter().position(|byte| *byte == b'\n');
            line_end.and_then(|at| rest.get(at + 1..)).unwrap_or_default()
        }
        None => message,
    };
    body.extend_from_slice(&with_crlf(message));
    Ok(body)
}

/// `pillarbox import …`
pub(crate) fn import(verb: &ImportVerb) -> Result<(), Failure> {
    let arguments = match verb {
        ImportVerb::Imap(arguments) => return live(arguments),
        ImportVerb::Maildir(arguments) | ImportVerb::Mbox(arguments) => arguments,
    };
    let ImportArguments { user, path, into, place } = arguments;
    let mut connection = Place::find(place)?.connect(OpenMode::ReadWrite)?;
    let done = match verb {
        ImportVerb::Maildir(_) => import_maildir(&mut connection, user, path, into.as_deref()),
        _ => import_mbox(&mut connection, user, path, into.as_deref()),
    };
    connection.close();
    println!("{}", done?);
    Ok(())
}

/// `pillarbox import imap …`
fn live(arguments: &LiveArguments) -> Result<(), Failure> {
    let (account, host) = match (arguments.places.as_slice(), &arguments.users) {
        ([account, host], None) => (Some(account.clone()), host),
        ([host], Some(_)) => (None, host),
        ([_], None) => return Err(Failure::new(Exit::Usage, "name the account and the server")),
        _ => {
            let sentence = "with --users the accounts stand in the list: name the server alone";
            return Err(Failure::new(Exit::Usage, sentence));
        }
    };
    let user = arguments.user.clone();
    let who = Who {
        one: account.map(|account| (account.clone(), user.unwrap_or(account))),
        list: arguments.users.clone(),
        master: arguments.master.clone(),
        password_file: arguments.password_file.clone(),
    };
    let reach = Reach {
        host: host.clone(),
        port: arguments.port,
        starttls: arguments.starttls,
        plain: arguments.plain_on_loopback,
        ca_file: arguments.ca.clone(),
        fingerprint: arguments.fingerprint.clone(),
    };
    let options = Options {
        include: arguments.include.clone(),
        exclude: arguments.exclude.clone(),
        allow_reset: arguments.allow_reset,
        skip_bad: arguments.skip_bad,
        overwrite_flags: arguments.overwrite_flags,
        dry_run: arguments.dry_run,
        is_final: arguments.last,
        messages_per_second: arguments.messages_per_second,
        bytes_per_second: arguments.bytes_per_second,
    };
    let place = Place::find(&arguments.place)?;
    let mode = if options.dry_run { OpenMode::Read } else { OpenMode::ReadWrite };
    let jobs = match arguments.jobs {
        1 => 1,
        // A directory is opened once.
        _ if !place.is_running()? => 1,
        jobs => usize::from(jobs),
    };
    place.begin_log()?;
    let connect = || place.connect_quietly(mode);
    println!("{}", import_live(reach, &who, &options, jobs, &connect)?);
    Ok(())
}

/// `pillarbox export …`
pub(crate) fn export(verb: &ExportVerb) -> Result<(), Failure> {
    let (ExportVerb::Maildir { arguments } | ExportVerb::Mbox { arguments, .. }) = verb;
    let ExportArguments { user, path, crlf, place } = arguments;
    let mailbox = match verb {
        ExportVerb::Maildir { .. } => None,
        ExportVerb::Mbox { mailbox, .. } => mailbox.as_deref(),
    };
    let line_ends = if *crlf { LineEnds::Stored } else { LineEnds::Unix };
    let wanted = Wanted { account: user, mailbox, line_ends };
    let mut connection = Place::find(place)?.connect(OpenMode::Read)?;
    let done = match verb {
        ExportVerb::Maildir { .. } => {
            export::export(&mut connection, &wanted, || MaildirTarget::create(path))
        }
        ExportVerb::Mbox { mailbox: None, .. } => {
            export::export(&mut connection, &wanted, || MboxTarget::folder(path))
        }
        ExportVerb::Mbox { mailbox: Some(_), .. } => {
            export::export(&mut connection, &wanted, || MboxTarget::file(path))
        }
    };
    connection.close();
    println!("{}", done?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::PlaceArguments;

    fn arguments(sender: Option<&str>) -> DeliverArguments {
        DeliverArguments {
            user: "u@example.org".to_owned(),
            sender: sender.map(str::to_owned),
            mailbox: None,
            place: PlaceArguments::default(),
        }
    }

    #[test]
    fn a_delivered_message_carries_its_envelope_and_crlf() {
        let body =
            with_envelope(b"From x Thu\nSubject: a\n\nb\n", &arguments(Some("s@example.net")));
        assert_eq!(
            String::from_utf8(body.unwrap()).unwrap(),
            "Return-Path: <s@example.net>\r\nDelivered-To: u@example.org\r\nSubject: a\r\n\r\nb\r\n"
        );
    }

    #[test]
    fn a_sender_cannot_smuggle_header_fields_in() {
        let failure = with_envelope(b"x", &arguments(Some("a>\r\nBcc: b"))).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }
}
