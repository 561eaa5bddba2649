//! `search`: what an account's mailboxes hold, found as its mail program would find it.

use crate::admin::{Answer, FoundAnswer, HitLine, Request};
use crate::cli::SearchArguments;
use crate::command::{ask, unexpected, when};
use crate::failure::Failure;

/// `pillarbox search USER QUERY`
pub(crate) fn search(arguments: SearchArguments) -> Result<(), Failure> {
    let SearchArguments { user, query, limit, explain, place } = arguments;
    let request = Request::Search { account: user, query: query.join(" "), hits_max: limit };
    let Answer::Found(found) = ask(&place, &request)? else { return Err(unexpected()) };
    let FoundAnswer { hits, found_count, plan } = found;
    if explain {
        plan.iter().for_each(|line| println!("{line}"));
    }
    hits.iter().for_each(|hit| println!("{}", words(hit)));
    let shown = engine::width::u64_of(hits.len());
    match found_count {
        0 => println!("nothing found"),
        count if count > shown => println!("{count} found; --limit shows more than {shown}"),
        count => println!("{count} found"),
    }
    Ok(())
}

/// One line for a person; what a sender put there does not move the terminal's cursor.
fn words(hit: &HitLine) -> String {
    let plain = |text: &str| text.replace(char::is_control, " ");
    let HitLine { mailbox, uid, received, from, subject } = hit;
    let day = when::show(*received);
    format!("{day}  {} {uid}  {}  {}", plain(mailbox), plain(from), plain(subject))
}
