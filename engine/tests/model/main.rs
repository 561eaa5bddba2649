//! Random operations against the store and against a small map; both must agree, also after every
//! restart, kill, checkpoint, change of keys and rebuild. What fails is shrunk to few operations.
//!
//! | file | holds |
//! |--|--|
//! | `operation` | what may happen, and how often it is drawn |
//! | `expected` | what accounts should hold, and what each operation does to it |
//! | `run` | the store beside it: opening, stopping, keys, accounts |
//! | `mail` | operations on mailboxes and messages |
//! | `compare` | everything that readers see, beside what they should |
//! | `texts` | what the full-text index says, beside what the messages hold |
//!
//! A kill is an image of the data directory taken while the store is open: what the system would
//! have if the process ended now. (Un-flushed writes are lost in the tests of the log and in the
//! simulation, on the simulated disk.)
//!
//! # What is in
//! All that changes a store through its façade. `Store`: `create_account`, `delete_account`,
//! `set_password`, `set_quota`, `add_domain`, `delete_domain`, `add_alias`, `delete_alias`,
//! `set_retention`, `set_account_retention`, `deliver`, `rotate_account_keys`, `rewrap`,
//! `change_key`, `rotate_key`, `new_recovery_key`, `checkpoint`, `close`, `open`, `rebuild`.
//! `set_message_limit`. `Account`: mailboxes made, renamed, deleted, subscribed; `undelete`,
//! `purge_retained`, `set_metadata`, `set_rights`.
//! `Mailbox`: `append`, `copy`, `move_to`, `store_flags`, also with UNCHANGEDSINCE, `expunge`.
//! Reclaim comes with `rewrap`, which makes base images and rewrites segments. The full-text index
//! is made in small steps, so that after any other operation some messages are in it and some not.
//!
//! # What is not, and where it is
//! Giving damage up and `repair` (`check/`, the simulation: nothing is damaged here). `spool` and
//! `announce`, which change nothing. `finish_upgrade` (a new store has the newest level). Several
//! changes at a time, faults and full disks (the simulation). Time: what a retention of no time
//! keeps may go at any moment, what one of years keeps stays.
//!
//! # Invariants
//! 1. What was acknowledged is there, bit for bit; also what is kept after it was expunged.
//! 2. UIDs ascend and are never given twice; no UIDVALIDITY of a name comes back.
//! 3. HIGHESTMODSEQ rises with every change of its mailbox, and a message's MODSEQ with every
//!    change of it, and only then.
//! 4. Counters of mailboxes, accounts and the quota equal a recount.
//! 5. A retired key is destroyed when it is told to be, and nothing needs it.
//! 6. After every operation the full-text index says of a message what it holds, or that it is to
//!    be read; in the end its folder holds nothing that nobody names.
//!
//! `PILLARBOX_MODEL_CASES` says how many sequences are tried.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]
#![allow(missing_docs, reason = "tests")]

mod compare;
mod expected;
mod mail;
mod operation;
mod run;
mod texts;

use proptest::prelude::*;

use self::operation::operations;
use self::run::Run;

/// How many sequences are tried where nobody says.
const CASES: u32 = 12;

fn cases() -> u32 {
    let given = std::env::var("PILLARBOX_MODEL_CASES").ok();
    given.map_or(CASES, |given| given.parse().expect("a number of sequences"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn a_store_reads_like_a_map_after_any_operations_and_stops(operations in operations()) {
        let mut run = Run::new();
        for operation in &operations {
            run.step(operation);
            run.compare_texts();
            if operation.is_compared() {
                run.compare();
            }
        }
        run.compare();
        run.finish_index();
        run.compare_texts();
        let report = run.store().check(&mut |_| {}).unwrap();
        prop_assert_eq!(report.problems, []);
    }
}

/// So that the index is not left out unnoticed.
#[test]
fn the_index_takes_part_and_goes_on_after_every_stop() {
    use self::operation::{Attachment, Operation, Reopening};

    let mut run = Run::new();
    let some = |count, attachment| Operation::Append { at: (0, 0), size: 50, count, attachment };
    let stops = [
        Operation::Checkpoint,
        Operation::Kill,
        Operation::Reopen(Reopening::Plain),
        Operation::Rewrap { account: None },
        Operation::Reopen(Reopening::WithoutState),
        Operation::Kill,
        Operation::Reopen(Reopening::Rebuilt),
    ];
    for (stop, steps) in stops.into_iter().zip([1, 2, 3, 5, 8, 13, 40]) {
        let before = run.texts_seen.decided;
        let keys = Operation::RotateKeys { account: None };
        let expunge = Operation::Expunge { at: (0, 0), pick: 0x0003_0300 };
        let (plain, shared) = (some(30, Attachment::None), some(3, Attachment::Shared));
        for operation in [plain, Operation::Index { steps }, keys, shared, expunge, stop] {
            run.step(&operation);
            run.compare_texts();
        }
        assert!(run.texts_seen.decided > before || steps < 3, "{operation:?}", operation = steps);
    }
    run.compare();
    run.finish_index();
    run.compare_texts();
    let account = run.account(operation::ACCOUNTS[0]).index_status().unwrap();
    assert!(account.figures.indexed_count > 100, "{account:?}");
}
