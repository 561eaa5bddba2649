//! The sessions of `imap::fuzzing::session`, which says what is promised, with random choices.
//!
//! A seed that fails is printed; `PILLARBOX_SEED=n` runs it alone.

use imap::fuzzing::session::{Seeded, Session, round};
use imap::{Config, Limits, Transport};

use crate::support::{Served, USER, open_store};

const SESSIONS: usize = 3;
const STEPS: usize = 120;

async fn run(seed: u64) {
    println!("PILLARBOX_SEED={seed}");
    let chance = &mut Seeded(seed);
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bad_commands_max: u32::MAX, ..Limits::default() };
    let served =
        Served::new(open_store(folder.path()), Config::new(limits, "test".into(), None, true));
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let mut session = Session::new(served.connect(Transport::Plain, 1 << 20)).await;
        session.enable(chance).await;
        sessions.push(session);
    }
    for _ in 0..STEPS {
        round(&mut sessions, chance).await;
    }
    let mut pictures = Vec::new();
    for mut session in sessions {
        pictures.push(session.picture().await);
        session.end().await;
    }
    let account = served.store().account(USER).unwrap().unwrap();
    let view = account.mailbox("INBOX").unwrap().unwrap().view().unwrap().unwrap();
    let stored: Vec<u32> =
        (0..view.message_count()).map(|rank| view.uid_at(rank).unwrap().unwrap().0).collect();
    for picture in pictures {
        assert_eq!(picture, stored, "a session sees what is stored");
    }
    let report = served.store().check(&mut |_| {}).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_which_anything_is_said_see_one_mailbox() {
    let seed = std::env::var("PILLARBOX_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = seed.map_or(1..=10, |seed: u64| seed..=seed);
    for seed in seeds {
        run(seed).await;
    }
}
