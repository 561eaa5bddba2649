//! `search`: what an account's mailboxes hold, found as its mail program would find it.

use std::io::IsTerminal;

use crate::admin::{Answer, FoundAnswer, HitLine, Request, SearchAsked, SegmentLine};
use crate::cli::SearchArguments;
use crate::command::{ask, unexpected, when};
use crate::failure::Failure;

/// How hits are marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Marks {
    /// Bold, on a terminal.
    Bold,
    /// Not at all, where a program reads it.
    None,
}

/// `pillarbox search USER QUERY`
pub(crate) fn search(arguments: SearchArguments) -> Result<(), Failure> {
    let SearchArguments { user, query, exact, snippets, limit, json, explain, place } = arguments;
    let query = query.join(" ");
    let asked = SearchAsked { query, exact, passages: snippets, hits_max: limit };
    let request = Request::Search { account: user, asked };
    let Answer::Found(found) = ask(&place, &request)? else { return Err(unexpected()) };
    if json {
        println!("{}", serde_json::to_string(&found).map_err(|_| unexpected())?);
        return Ok(());
    }
    let marks = if std::io::stdout().is_terminal() { Marks::Bold } else { Marks::None };
    let FoundAnswer { hits, found_count, plan } = found;
    if explain {
        plan.iter().for_each(|line| println!("{line}"));
    }
    hits.iter().for_each(|hit| println!("{}", words(hit, marks)));
    let shown = engine::width::u64_of(hits.len());
    match found_count {
        0 => println!("nothing found"),
        count if count > shown => println!("{count} found; --limit shows more than {shown}"),
        count => println!("{count} found"),
    }
    Ok(())
}

/// One line for a person, and one more of the text; what a sender put there does not move the
/// terminal's cursor.
fn words(hit: &HitLine, marks: Marks) -> String {
    let HitLine { mailbox, uid, received, from, subject, relevancy, marked_subject, passage } = hit;
    let day = when::show(*received);
    let relevancy = relevancy.map_or(String::new(), |relevancy| format!("{relevancy:3}  "));
    let subject = match marked_subject.as_slice() {
        [] => plain(subject),
        marked => segments(marked, marks),
    };
    let line = format!("{relevancy}{day}  {} {uid}  {}  {subject}", plain(mailbox), plain(from));
    match passage.as_slice() {
        [] => line,
        passage => format!("{line}\n     {}", segments(passage, marks)),
    }
}

fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn segments(all: &[SegmentLine], marks: Marks) -> String {
    let shown = |segment: &SegmentLine| match (segment.is_hit, marks) {
        (true, Marks::Bold) => format!("\x1b[1m{}\x1b[0m", plain(&segment.text)),
        _ => plain(&segment.text),
    };
    all.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_bold_and_senders_do_not_move_the_cursor() {
        let segment = |text: &str, is_hit| SegmentLine { text: text.to_owned(), is_hit };
        let hit = HitLine {
            mailbox: "INBOX".to_owned(),
            uid: 7,
            received: 0,
            from: "Ann\x1b[2J".to_owned(),
            subject: "hello".to_owned(),
            relevancy: Some(9),
            marked_subject: vec![segment("hello", false)],
            passage: vec![segment("the ", false), segment("harbour\x1b", true)],
        };
        let bold = words(&hit, Marks::Bold);
        assert!(bold.starts_with("  9  ") && bold.contains("Ann [2J  hello"), "{bold}");
        assert!(bold.ends_with("the \x1b[1mharbour \x1b[0m"), "{bold}");
        assert!(!words(&hit, Marks::None).contains('\x1b'));
    }
}
