//! What a quiet server costs: one write and one flush a mail, and nothing after it but a note.

use super::world::World;
use crate::flags::FlagList;
use crate::ids::UnixSeconds;
use crate::seal::Secret;
use crate::store::{NewAccount, NewMessage};

#[test]
fn m2_a_quiet_server_flushes_once_a_mail_and_never_for_its_note_of_what_is_durable() {
    let world = World::new(8);
    let (store, _) = world.open().unwrap();
    store.add_domain("example.org").unwrap();
    let (name, password) = ("anna@example.org".to_owned(), Secret::new("secret".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    let account = store.account("anna@example.org").unwrap().unwrap();
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    // The note of the creation.
    store.steps().commit();
    let mut notes = 0;
    // So few that no segment is closed, which costs flushes of its own.
    for number in 0..6 {
        let mail = format!("Subject: {number}\r\n\r\nquiet\r\n");
        let prepared = store.prepare(mail.as_bytes(), &[account.number()]).unwrap();
        let new = NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(7) };
        let flushes = world.disk.flushes();
        inbox.append(vec![new]).wait().unwrap();
        assert_eq!(world.disk.flushes() - flushes, 1, "mail {number}");
        // Nobody wants anything for a while, several times.
        let (writes, flushes) = (world.disk.writes(), world.disk.flushes());
        for _ in 0..3 {
            store.steps().commit();
        }
        assert_eq!(world.disk.flushes(), flushes, "after mail {number}");
        notes += world.disk.writes() - writes;
    }
    assert_eq!(notes, 6, "one note of what is durable after each");
}
