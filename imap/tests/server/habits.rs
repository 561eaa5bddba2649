//! What mail programs ask for by habit opens no message that it need not (`imap::habit`).

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use engine::message::generator::Generator;
use imap::habit::{Cost, HABITS};
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, deliver, open_store};

const MESSAGES: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn habits_cost_what_the_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let mut generator = Generator::new(5);
    for _ in 0..MESSAGES {
        deliver(&store, &generator.message(3000), FlagList::default(), UnixSeconds(1));
    }
    let served =
        Served::new(store.clone(), Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    let opened = || {
        let opened = store.opened();
        (opened.message_count, opened.summary_count)
    };
    for (habit, is_first) in
        HABITS.iter().zip(std::iter::once(true).chain(std::iter::repeat(false)))
    {
        let before = opened();
        client.drain(&format!("UID FETCH 1:* {}", habit.items)).await;
        let after = opened();
        let (messages, summaries) = (after.0 - before.0, after.1 - before.1);
        let program = habit.program;
        assert_eq!(messages, if habit.cost == Cost::Messages { MESSAGES } else { 0 }, "{program}");
        if habit.cost == Cost::Rows {
            assert_eq!(summaries, 0, "{program}");
        }
        assert!(!is_first || habit.cost == Cost::Rows, "before any summary is in the cache");
    }
    assert_eq!(opened().1, MESSAGES, "each summary was read once");
}
