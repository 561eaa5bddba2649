//! The full-text index by requests: how far it is, and making it anew.

use engine::{Account, Store};
use serde::{Deserialize, Serialize};

use super::operation::{Answer, find_account};
use crate::failure::Failure;

/// A request about the full-text index.
#[derive(Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum IndexRequest {
    /// How far the indexes of all accounts are, or of one.
    Status { account: Option<String> },
    /// Makes the indexes of all accounts anew, or of one.
    Rebuild { account: Option<String> },
}

/// The index of one account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct IndexLine {
    /// Whose.
    pub(crate) account: String,
    /// Messages in it.
    pub(crate) indexed_count: u64,
    /// Messages that are read when they are sought in.
    pub(crate) waiting_count: u64,
    /// Those of them that cannot be indexed.
    pub(crate) skipped_count: u64,
    /// Its pieces.
    pub(crate) split_count: u64,
    /// Bytes of them on disk.
    pub(crate) file_bytes: u64,
    /// Documents that were looked into.
    pub(crate) document_count: u64,
    /// Those of them that gave no text, or not all.
    pub(crate) flawed_document_count: u64,
    /// Messages indexed while extractors were set otherwise.
    pub(crate) otherwise_count: u64,
}

impl IndexRequest {
    /// Whether it changes nothing.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self, IndexRequest::Status { .. })
    }
}

/// Answers a request about the index.
pub(super) fn answer(
    store: &Store,
    request: IndexRequest,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Answer, Failure> {
    let accounts = match &request {
        IndexRequest::Status { account: Some(name) }
        | IndexRequest::Rebuild { account: Some(name) } => vec![find_account(store, name)?],
        _ => all(store)?,
    };
    if let IndexRequest::Rebuild { .. } = request {
        for account in &accounts {
            store.rebuild_index(account.number(), progress)?;
        }
    }
    let lines = accounts.iter().map(line).collect::<Result<_, _>>()?;
    Ok(Answer::Index { lines })
}

fn all(store: &Store) -> Result<Vec<Account>, Failure> {
    let mut accounts = Vec::new();
    for entry in store.accounts()? {
        accounts.extend(store.account(&entry.name)?);
    }
    Ok(accounts)
}

fn line(account: &Account) -> Result<IndexLine, Failure> {
    let status = account.index_status()?;
    Ok(IndexLine {
        account: account.name(),
        indexed_count: status.figures.indexed_count,
        waiting_count: status.waiting_count,
        skipped_count: status.figures.skipped_count,
        split_count: status.figures.split_count,
        file_bytes: status.figures.file_bytes,
        document_count: status.figures.document_count,
        flawed_document_count: status.figures.flawed_document_count,
        otherwise_count: status.figures.otherwise_count,
    })
}
