//! ESEARCH (RFC 7377): one search through many mailboxes, an answer for each where something is
//! found.
//!
//! The selected mailbox is searched as the client knows it, the others as they are now: those of
//! the client's own account, and those of other accounts that it may see and read. What it may not
//! is passed over in silence, as if it were not there.

use engine::error::ReadError;
use engine::ids::MailboxId;
use engine::{Account, Listing, Mailbox};

use super::context::{self, Kept};
use super::progress::Progress;
use super::scan::Scope;
use super::{Answer, Answers, Talk, compile, gather, modseq_asked, refuse_charset, settled};
use crate::codec::command::{Access, ReturnOptions, SearchRequest, Source};
use crate::codec::mailbox_name::WireName;
use crate::codec::put;
use crate::command::rights::may_read;
use crate::session::{Reach, Selected};
use crate::stream::{Ended, blocking};

/// ESEARCH
pub(in crate::command) async fn multi_search(
    talk: &mut Talk,
    sources: &[Source],
    request: &SearchRequest,
) -> Result<Answer, Ended> {
    let sources = if sources.is_empty() { &[Source::Selected] } else { sources };
    if let Some(answer) = refused(talk, sources, request) {
        return Ok(answer);
    }
    let answer = search_mailboxes(talk, sources, request).await?;
    Ok(settled(talk, request, answer))
}

/// The rules of RFC 7377 section 2.2.
fn refused(talk: &Talk, sources: &[Source], request: &SearchRequest) -> Option<Answer> {
    let options = request.returns.unwrap_or_default();
    let selected = talk.session.selected.as_ref();
    let only_selected = sources.iter().all(|source| *source == Source::Selected);
    if selected.is_none() && (sources.contains(&Source::Selected) || options.update) {
        return Some(Answer::bad("Select a mailbox first"));
    }
    if options.save && !only_selected {
        return Some(Answer::bad("Only a search in the selected mailbox can be saved"));
    }
    let tag_in_use = selected.is_some_and(|selected| selected.contexts.has(&talk.tag));
    (options.update && tag_in_use)
        .then(|| Answer::bad("A search with this tag is kept current already"))
}

/// A mailbox to search in.
enum Place {
    Selected,
    Other(Box<Selected>),
}

async fn search_mailboxes(
    talk: &mut Talk,
    sources: &[Source],
    request: &SearchRequest,
) -> Result<Answer, Ended> {
    if let Err(answer) = refuse_charset(request) {
        return Ok(answer);
    }
    let account = match talk.account() {
        Ok(account) => account,
        Err(answer) => return Ok(answer),
    };
    let selected = talk.session.selected.as_ref();
    let places = match blocking(|| places(talk, &account, sources)) {
        Ok(places) => places,
        Err(error) => return Ok(Answer::unreadable(&talk.session, &error)),
    };
    let count = |place: &Place| match place {
        Place::Selected => selected.map_or(0, Selected::count),
        Place::Other(other) => other.count(),
    };
    let goal = places.iter().map(|place| u64::from(count(place))).sum();
    let mut progress = Progress::new(talk, goal);
    // All mailboxes are looked at as of now, before the index is asked: it answers once for all of
    // an account.
    let mut answers = Answers::shared();
    for place in &places {
        let found = search_place(talk, place, request, &mut answers, &mut progress);
        if let Some(answer) = found.await? {
            return Ok(answer);
        }
    }
    Ok(Answer::ok("Searched"))
}

/// Searches one mailbox and tells what is there. An answer, if something is wrong.
async fn search_place(
    talk: &mut Talk,
    place: &Place,
    request: &SearchRequest,
    answers: &mut Answers,
    progress: &mut Progress,
) -> Result<Option<Answer>, Ended> {
    let all = ReturnOptions { all: true, ..ReturnOptions::default() };
    let options = request.returns.unwrap_or(all);
    let looked_at = match place {
        Place::Other(other) => Some(&**other),
        Place::Selected => talk.session.selected.as_ref(),
    };
    let Some(mailbox) = looked_at else { return Ok(None) };
    let test = match compile(talk, &request.key, mailbox) {
        Ok(test) => test,
        Err(answer) => return Ok(Some(answer)),
    };
    let scope = Scope::of(mailbox);
    let mut correlator = format!("TAG \"{}\" MAILBOX ", talk.tag).into_bytes();
    put::mailbox(&mut correlator, &mailbox.name, talk.session.dialect.names());
    let validity = scope.view.uid_validity().0;
    correlator.extend_from_slice(format!(" UIDVALIDITY {validity}").as_bytes());
    let within = (&test, &test.domain());
    let found = gather(talk, &scope, within, (request, &options), answers, progress).await?;
    progress.advance(scope.view.message_count());
    let gathered = match found {
        Ok(gathered) => gathered,
        Err(error) => return Ok(Some(Answer::unreadable(&talk.session, &error))),
    };
    let kept = options.update.then(|| gathered.uids());
    let results = gathered.results();
    let modseq = match modseq_asked(request, &results, &options, &scope) {
        Ok(modseq) => modseq,
        Err(error) => return Ok(Some(Answer::unreadable(&talk.session, &error))),
    };
    if options.save {
        let saved = results.saved(&options);
        if saved.ranges().len() > talk.session.config.limits.saved_ranges_max {
            return Ok(Some(Answer::no("NOTSAVED", "The result is too large to be saved")));
        }
        if let Some(selected) = &mut talk.session.selected {
            selected.saved_result = saved;
        }
    }
    if !results.is_empty() && !options.tells_nothing() {
        results.put_extended(&mut talk.wire, &correlator, &options, modseq).await?;
    }
    if let (Some(uids), Place::Selected) = (kept, place) {
        context::begin(talk, request, test, Kept::Set(uids));
    }
    Ok(None)
}

/// The mailboxes that sources name, each once, as they come.
fn places(talk: &Talk, account: &Account, sources: &[Source]) -> Result<Vec<Place>, ReadError> {
    let (listing, owners) = (talk.visible(account)?, talk.owners(account)?);
    let selected_id = talk.session.selected.as_ref().map(|selected| selected.view.mailbox());
    let is_own = |id: &MailboxId| !owners.contains_key(id);
    let mut ids: Vec<MailboxId> = Vec::new();
    for source in sources {
        match source {
            Source::Selected => ids.extend(selected_id),
            _ => ids.extend(named(&listing, source, &is_own)),
        }
    }
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(*id));
    let mut places = Vec::with_capacity(ids.len());
    for id in ids {
        if Some(id) == selected_id {
            places.push(Place::Selected);
            continue;
        }
        let entry = listing.mailboxes.iter().find(|entry| entry.id == id);
        let owner = owners.get(&id).unwrap_or(account);
        if !may_read(owner, id, account.number()) {
            continue;
        }
        let found = owner.mailbox_by_id(id)?;
        let reach = Reach { owner: owner.clone(), viewer: account.number() };
        if let (Some(entry), Some(mailbox)) = (entry, found)
            && let Some(other) = opened((mailbox, reach), &entry.name)?
        {
            places.push(Place::Other(Box::new(other)));
        }
    }
    Ok(places)
}

/// A mailbox as it is now; `None` if it was deleted meanwhile.
fn opened(of: (Mailbox, Reach), name: &str) -> Result<Option<Selected>, ReadError> {
    let view = of.0.view()?;
    Ok(view.map(|view| Selected::new(of, name.to_owned(), Access::ReadOnly, view)))
}

/// The mailboxes that a source names. A name that is none is passed over: the client learns from
/// the answers where it was searched.
fn named(
    listing: &Listing,
    source: &Source,
    is_own: &dyn Fn(&MailboxId) -> bool,
) -> Vec<MailboxId> {
    let all = listing.mailboxes.iter();
    let chosen = |choose: &dyn Fn(&str) -> bool| {
        all.clone().filter(|entry| choose(&entry.name)).map(|entry| entry.id).collect()
    };
    let decoded =
        |names: &[WireName]| -> Vec<String> { names.iter().filter_map(WireName::decode).collect() };
    match source {
        Source::Selected => Vec::new(),
        // Rules and addresses with a detail can put mail into any mailbox, and then RFC 5465
        // section 6.3 has this mean the same.
        Source::Inboxes | Source::Personal => {
            all.map(|entry| entry.id).filter(|id| is_own(id)).collect()
        }
        Source::Subscribed => {
            chosen(&|name| listing.subscribed.iter().any(|subscribed| subscribed == name))
        }
        Source::Mailboxes(names) => {
            let names = decoded(names);
            chosen(&|name| names.iter().any(|wanted| wanted == name))
        }
        Source::Subtree(names) => {
            let names = decoded(names);
            chosen(&|name| names.iter().any(|top| below(name, top).is_some()))
        }
        Source::SubtreeOne(names) => {
            let names = decoded(names);
            let is_near =
                |name: &str, top: &str| below(name, top).is_some_and(|rest| !rest.contains('/'));
            chosen(&|name| names.iter().any(|top| is_near(name, top)))
        }
    }
}

/// What a name adds to that of a mailbox above it; nothing for the mailbox itself.
fn below<'a>(name: &'a str, top: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(top)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}
