//! What do searches, sorts and threads of a mailbox of 200,000 small messages cost? In seconds of
//! CPU of the process and of the clock, second time over, and messages per second of the clock;
//! printed, not judged.
//! `cargo test --release -p pillarbox-imap --test server search_pace -- --ignored --nocapture`

use std::time::Instant;

use engine::NewMessage;
use engine::flags::{FlagList, SystemFlags};
use engine::ids::UnixSeconds;
use engine::message::generator::Generator;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, USER, open_store};

const MESSAGE_COUNT: usize = 200_000;
const APPENDED_TOGETHER: usize = 500;
/// Clock ticks of `/proc/self/stat` in a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU that the process has taken.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// A message of a thread of about ten.
fn message(number: usize, dice: &mut Generator) -> Vec<u8> {
    let thread = number / 10;
    let word =
        |number: u64| ["harbour", "lantern", "quartz", "meeting", "invoice"][number as usize % 5];
    let (first, second) = (word(dice.number()), word(dice.number()));
    let (answers, references) = match number % 10 {
        0 => ("", String::new()),
        place => {
            let parent = number - 1 - dice.number() as usize % place;
            ("Re: ", format!("References: <{}@x> <{parent}@x>\r\n", thread * 10))
        }
    };
    let (day, hour) = (number % 28 + 1, number % 24);
    format!(
        "Message-ID: <{number}@x>\r\n{references}From: Ann {} <a{}@example.org>\r\nTo: \
         bob@example.org\r\nSubject: {answers}{first} {second} {thread}\r\nDate: {day} Mar 2024 \
         {hour:02}:00:00 +0000\r\n\r\nA few words about {first}.\r\n",
        dice.number() % 500,
        dice.number() % 500,
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn search_pace() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let account = store.account(USER).unwrap().unwrap();
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    let mut dice = Generator::new(1);
    for batch in 0..MESSAGE_COUNT / APPENDED_TOGETHER {
        let new = |place: usize| {
            let number = batch * APPENDED_TOGETHER + place;
            let message = message(number, &mut dice);
            let prepared = store.prepare(&message, &[account.number()]).unwrap();
            let system =
                if number.is_multiple_of(3) { SystemFlags::SEEN } else { SystemFlags::default() };
            let flags = FlagList { system, keywords: Vec::new() };
            NewMessage { prepared, flags, received: UnixSeconds(number as i64) }
        };
        inbox.append((0..APPENDED_TOGETHER).map(new).collect()).wait().unwrap();
    }
    store.checkpoint();
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 18));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    for command in [
        "SEARCH RETURN (COUNT) UNSEEN",
        "SEARCH RETURN (ALL) UNSEEN",
        "SEARCH UNSEEN",
        "SEARCH RETURN (COUNT) LARGER 250 SINCE 1-Jan-1970 UID 1:150000",
        "SEARCH RETURN (MIN) SEEN",
        "SEARCH RETURN (COUNT) SUBJECT harbour",
        "SEARCH RETURN (COUNT) FUZZY SUBJECT harbuor",
        "SORT RETURN (COUNT) (ARRIVAL) UTF-8 ALL",
        "SORT RETURN (COUNT) (REVERSE DATE) UTF-8 ALL",
        "SORT (SUBJECT DATE) UTF-8 ALL",
        "SORT RETURN (COUNT) (DISPLAYFROM SUBJECT) UTF-8 ALL",
        "THREAD REFERENCES UTF-8 ALL",
        "THREAD ORDEREDSUBJECT UTF-8 ALL",
    ] {
        for round in ["cold", "warm"] {
            let (begun, cpu) = (Instant::now(), cpu_seconds());
            client.drain(command).await;
            let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
            let rate = MESSAGE_COUNT as f64 / seconds;
            println!("{round} {cpu:6.2} s CPU {seconds:6.2} s {rate:10.0}/s  {command}");
        }
    }
}
