//! Rows of state that are not what was changed: no base image is made of them, so the log can still
//! make them anew.

use super::house::{ANNA, BERT, House, inbox};
use super::world::World;
use crate::ids::AccountNumber;
use crate::mailbox::with_flag_in_first_row;
use crate::state::{Table, Usage};
use crate::store::Store;

/// How a row is altered: nothing if it is not the one, else its new value, or none.
type Alter = fn(key: &[u8], value: &[u8]) -> Option<Option<Vec<u8>>>;

/// The first row of the first page is \Flagged: heads do not count that.
fn other_flag(_: &[u8], value: &[u8]) -> Option<Option<Vec<u8>>> {
    Some(Some(with_flag_in_first_row(value)))
}

fn lost(_: &[u8], _: &[u8]) -> Option<Option<Vec<u8>>> {
    Some(None)
}

fn one_more(key: &[u8], value: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut usage =
        Usage::decode(value).ok().filter(|_| key.len() == crate::state::USAGE_KEY_BYTES)?;
    usage.message_count += 1;
    Some(Some(usage.encode()))
}

/// A house whose tables are not what they should be, opened again.
fn altered(table: Table, alter: Alter) -> (World, Store) {
    let house = House::new(9, 0);
    house.append(ANNA, 0..60).unwrap();
    house.append(BERT, 60..70).unwrap();
    house.expunge(ANNA, |uid| uid % 5 == 0);
    assert!(house.store.checkpoint());
    let anna = house.number(ANNA);
    assert!(house.store.alter_row(table, anna, alter), "a row was altered");
    let world = house.world.after_kill();
    let (store, report) = world.open().unwrap();
    assert_eq!(report.damage, []);
    (world, store)
}

fn has_image(store: &Store, name: &str) -> bool {
    let account = store.account(name).unwrap().unwrap().number();
    store.base_begun(account).is_some()
}

#[test]
fn an_account_whose_rows_are_not_what_was_changed_gets_no_image_and_is_made_anew_from_the_log() {
    let kinds: [(&str, Table, Alter); 3] = [
        ("a page", Table::Page, other_flag),
        ("a reference", Table::Reference, lost),
        ("a counter", Table::Account, one_more),
    ];
    for (what, table, alter) in kinds {
        let (world, store) = altered(table, alter);
        let house = House { world, store };
        house.make_images();
        assert_eq!(house.store.status().images_refused, 1, "{what}");
        assert!(!has_image(&house.store, ANNA), "{what}");
        assert!(has_image(&house.store, BERT), "{what}: only of those that it concerns");
        assert_ne!(house.store.check(&mut |_| {}).unwrap().problems, [], "{what}");
        house.reclaim_all();
        let (anew, _) = house.world.after_kill().without_tables().open().unwrap();
        assert_eq!(anew.check(&mut |_| {}).unwrap().problems, [], "{what}");
        let texts = inbox(&anew, ANNA).unwrap();
        assert_eq!(texts.len(), 48, "{what}");
        assert_eq!(inbox(&anew, BERT).unwrap().len(), 10);
        let house = House { world: house.world, store: anew };
        house.make_images();
        assert_eq!(house.store.status().images_refused, 0, "{what}");
        assert!(has_image(&house.store, ANNA), "{what}");
    }
}

#[test]
fn the_volume_has_an_image_whoever_is_refused() {
    let (world, store) = altered(Table::Page, other_flag);
    let house = House { world, store };
    house.make_images();
    assert!(house.store.base_begun(AccountNumber::VOLUME).is_some());
    assert!(!has_image(&house.store, ANNA));
}

/// Seed 400870: not all of its rows had been read when its key went, and that was taken for damage.
#[test]
fn an_account_that_is_deleted_while_images_are_made_raises_no_alarm() {
    let mut in_time = 0;
    for steps in 0..40 {
        let house = House::new(10, 0);
        house.append(ANNA, 0..30).unwrap();
        house.append(BERT, 30..40).unwrap();
        house.store.steps().want_images();
        for _ in 0..steps {
            house.store.steps().commit();
            house.store.steps().checkpoint();
            house.store.steps().reclaim().unwrap();
        }
        in_time += u64::from(house.store.status().image_rounds == 0);
        house.store.delete_account(house.number(ANNA)).unwrap();
        house.reclaim_all();
        assert_eq!(house.store.status().images_refused, 0, "after {steps} steps");
    }
    assert!(in_time > 5, "{in_time} deletions came before the images were made");
}
