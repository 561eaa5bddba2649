//! What changed in metadata, told to who enabled METADATA (RFC 5464 section 4.1) and asked for
//! nothing by NOTIFY: before the answer to a command, and in IDLE.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::AccountSubscription;
use engine::error::ReadError;
use tokio::sync::Notify;

use super::super::Talk;
use super::names::{Known, changed_metadata};
use super::own::Deeds;
use super::{mark, put_metadata_names};
use crate::stream::blocking;

/// What a client that enabled METADATA was told.
pub(crate) struct MetadataWatch {
    known: Known,
    changed: Arc<AtomicBool>,
    _account: AccountSubscription,
}

/// Watches from now on, if the client has enabled it.
pub(in crate::command) fn watch_metadata(talk: &mut Talk) -> Result<(), ReadError> {
    let session = &talk.session;
    let Some(account) = session.account.clone() else { return Ok(()) };
    if session.metadata_watch.is_some() || session.dialect.metadata.is_none() {
        return Ok(());
    }
    let changed = Arc::new(AtomicBool::new(false));
    // The watch begins before the first look, so that nothing falls between them.
    let subscription = account.on_change(mark(&changed, &Arc::new(Notify::new())));
    let known = blocking(|| Known::now(talk, &account))?;
    let watch = MetadataWatch { known, changed, _account: subscription };
    talk.session.metadata_watch = Some(Box::new(watch));
    Ok(())
}

/// Rings when metadata may have changed, as long as what it gives is kept.
pub(in crate::command) fn ring_for_metadata(
    talk: &Talk,
    news: &Arc<Notify>,
) -> Option<AccountSubscription> {
    talk.session.metadata_watch.as_ref()?;
    let news = Arc::clone(news);
    Some(talk.session.account.as_ref()?.on_change(Arc::new(move || news.notify_one())))
}

/// Tells the names of entries that changed.
pub(in crate::command) fn tell_metadata(talk: &mut Talk) {
    let Some(mut watch) = talk.session.metadata_watch.take() else { return };
    let account = talk.session.account.clone();
    if watch.changed.swap(false, Ordering::AcqRel)
        && let Some(account) = account
    {
        match blocking(|| Known::now(talk, &account)) {
            Ok(now) => {
                let changed = changed_metadata(&watch.known, &now, &account, &Deeds::default());
                watch.known = now;
                let told = talk.session.dialect.metadata;
                // Who has said to NOTIFY what it wants to know is told that.
                let is_told = told.is_some() && talk.session.watching.is_none();
                for (name, entries) in changed.iter().filter(|_| is_told) {
                    if name.is_empty() || told == Some(crate::session::Metadata::All) {
                        put_metadata_names(talk, name, entries);
                    }
                }
            }
            Err(error) => tracing::error!(%error, "changes of metadata could not be told"),
        }
    }
    talk.session.metadata_watch = Some(watch);
}
