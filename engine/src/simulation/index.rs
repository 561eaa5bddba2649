//! What the full-text index answers, compared with what the messages say.

use crate::error::ReadError;
use crate::ids::Uid;
use crate::message::text::SearchText;
use crate::search::{Needle, Scope, Verdict};
use crate::store::{Account, Store};

/// What is sought in every account. Texts are those of `model.rs`.
fn needles() -> [Needle; 5] {
    let needle =
        |text: &str, scope| Needle { text: text.to_owned(), scope, reads_addresses: false };
    [
        needle("mail 1", Scope::Header("subject".into())),
        needle("1", Scope::Header("subject".into())),
        needle("3@x", Scope::Text),
        needle("same again", Scope::Body),
        needle("a", Scope::Body),
    ]
}

/// Asks the index of every account that has one; answers how many messages it decided.
pub(super) fn compare(store: &Store) -> Result<u64, ReadError> {
    let mut decided = 0;
    for entry in store.accounts()? {
        let account = store.account(&entry.name)?.expect("an account that is listed has a name");
        decided += compare_account(&account)?;
    }
    Ok(decided)
}

fn compare_account(account: &Account) -> Result<u64, ReadError> {
    let mut rows = Vec::new();
    for mailbox in &account.listing()?.mailboxes {
        let mailbox = account.mailbox_by_id(mailbox.id)?;
        let view = mailbox.map(|mailbox| mailbox.view()).transpose()?.flatten();
        if let Some(view) = view {
            rows.extend(view.rows_from(Uid(1), usize::MAX)?);
        }
    }
    let answers: Vec<_> = needles()
        .into_iter()
        .map(|needle| account.find_text(&needle).map(|answer| (needle, answer)))
        .collect::<Result<_, _>>()?;
    let mut decided = 0;
    for row in rows {
        let known = answers.iter().filter(|(_, answer)| answer.verdict(row.blob) != Verdict::Ask);
        let known: Vec<_> = known.collect();
        if known.is_empty() {
            continue;
        }
        let structure = account.summary(&row)?.structure_tree();
        let text = SearchText::new(&account.message(&row)?.read_all()?, &structure);
        for (needle, answer) in known {
            let contains = match &needle.scope {
                Scope::Body => text.body_contains(&needle.text),
                Scope::Text => text.text_contains(&needle.text),
                Scope::Header(name) => text.header_contains(name, &needle.text),
            };
            let is_in = answer.verdict(row.blob) == Verdict::Contains;
            assert_eq!(is_in, contains, "{needle:?} in {} of {}", row.blob, account.login_name());
            decided += 1;
        }
    }
    Ok(decided)
}
