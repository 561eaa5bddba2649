//! What the full-text index answers, compared with what the messages say.

use super::house::{ANNA, BERT, House};
use crate::error::{CommitError, ReadError};
use crate::flags::FlagList;
use crate::ids::{Uid, UnixSeconds};
use crate::message::text::SearchText;
use crate::search::{Needle, Scope, Verdict};
use crate::store::{Account, NewMessage, Store};

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

/// Appends messages that have one of the words that are sought.
fn append(house: &House, name: &str, numbers: std::ops::Range<u64>) -> Result<(), CommitError> {
    let account = house.store.account(name)?.expect("the account is there");
    let inbox = account.mailbox("INBOX")?.expect("it has an INBOX");
    for number in numbers {
        let noise = blake3::hash(&number.to_le_bytes()).to_hex().repeat(5);
        let text = format!("Subject: mail {number}\r\n\r\nsame again {noise} {number}@x\r\n");
        let prepared = house.store.prepare(text.as_bytes(), &[account.number()])?;
        let (flags, received) = (FlagList::default(), UnixSeconds(7));
        inbox.append(vec![NewMessage { prepared, flags, received }]).wait()?;
    }
    Ok(())
}

/// Splits are written, merged, and written anew without what is dead.
fn script(house: &House) -> Result<(), CommitError> {
    for part in 0..5 {
        append(house, ANNA, part * 10..part * 10 + 5)?;
        append(house, BERT, part * 10 + 5..part * 10 + 9)?;
        house.store.make_index(100);
    }
    Ok(())
}

/// After whatever stop: the index is right as it is, and when it was made whole; nothing is left.
fn examine(world: &super::world::World, when: &str) -> u64 {
    let (store, _) = world.open().unwrap_or_else(|error| panic!("{when}: {error}"));
    let decided = compare(&store).unwrap();
    while store.make_index(100) > 0 {}
    compare(&store).unwrap();
    store.compare_index_files();
    assert_eq!(store.check(&mut |_| {}).unwrap().problems, [], "{when}");
    decided
}

#[test]
fn whenever_the_power_fails_the_index_is_right_and_leaves_no_file_behind() {
    let (mut cuts, mut decided) = (0, 0);
    for ahead in (1..).step_by(3) {
        let house = House::new(21, 0);
        house.world.disk.cut_power_at_call(house.world.disk.calls() + ahead);
        let ended = script(&house);
        if !house.world.disk.is_off() {
            ended.expect("it had power all the time");
            break;
        }
        cuts += 1;
        let mut worlds = house.world.after_power_loss(3);
        worlds.push(house.world.after_kill());
        for world in worlds {
            decided += examine(&world, &format!("cut {ahead} calls after"));
        }
    }
    assert!(cuts > 40 && decided > 1000, "{cuts} cuts, {decided} answers by the index alone");
}

#[test]
fn whenever_a_removal_or_a_rename_fails_the_index_is_right() {
    use crate::disk::simulated::Fault;

    for ahead in 1..16 {
        for is_rename in [false, true] {
            let house = House::new(22, 0);
            let [removes, renames, ..] = house.world.disk.other_calls();
            let fault = match is_rename {
                true => Fault::Rename(renames + ahead),
                false => Fault::Remove(removes + ahead),
            };
            house.world.disk.inject(fault);
            // It may have been the log's, which then takes nothing more.
            let _ = script(&house);
            house.world.disk.forget_faults();
            compare(&house.store).unwrap();
            examine(&house.world.after_kill(), &format!("{fault:?}"));
        }
    }
}
