//! A result that is kept current is what the same search finds: random changes by two clients, each
//! update applied as RFC 5267 section 4.3 says, against a fresh search after every step.

use engine::message::generator::Generator;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, open_store};

const STEPS: usize = 400;

/// A result as a client keeps it, in UIDs or sequence numbers.
struct Kept {
    tag: &'static str,
    search: &'static str,
    result: Vec<u32>,
}

fn numbers(set: &str) -> Vec<u32> {
    let range = |range: &str| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse::<u32>().unwrap()
    };
    set.split(',').filter(|range| !range.is_empty()).flat_map(range).collect()
}

impl Kept {
    /// Applies a line of the server, if it concerns this result.
    fn apply(&mut self, line: &str) {
        let number = line.strip_prefix("* ").and_then(|rest| rest.strip_suffix(" EXPUNGE"));
        if let Some(number) = number
            && !self.search.starts_with("UID")
        {
            let number: u32 = number.parse().unwrap();
            assert!(!self.result.contains(&number), "removed before it is expunged: {line}");
            self.result.iter_mut().filter(|other| **other > number).for_each(|other| *other -= 1);
        }
        let Some(rest) = line.strip_prefix(&format!("* ESEARCH (TAG \"{}\") ", self.tag)) else {
            assert!(!line.contains("NOUPDATE"), "{line}");
            return;
        };
        let rest = rest.strip_prefix("UID ").unwrap_or(rest);
        let (name, list) = rest.split_once(" (").unwrap();
        let words: Vec<&str> = list.strip_suffix(')').unwrap().split(' ').collect();
        for pair in words.chunks(2) {
            let (place, changed) = (pair[0].parse::<usize>().unwrap(), numbers(pair[1]));
            match (name, place) {
                ("ADDTO", 0) => {
                    self.result.extend(changed);
                    self.result.sort_unstable();
                }
                ("ADDTO", place) => drop(self.result.splice(place - 1..place - 1, changed)),
                ("REMOVEFROM", 0) => {
                    let before = self.result.len();
                    self.result.retain(|number| !changed.contains(number));
                    assert_eq!(self.result.len(), before - changed.len(), "{line}");
                }
                ("REMOVEFROM", place) => {
                    let removed = self.result.drain(place - 1..place - 1 + changed.len());
                    assert_eq!(removed.collect::<Vec<u32>>(), changed, "{line}");
                }
                _ => panic!("{line}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_kept_is_what_a_fresh_search_finds() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    let mut other = Client::new(served.connect(Transport::Plain, 1 << 16));
    for client in [&mut client, &mut other] {
        client.log_in().await;
        client.ok("SELECT INBOX").await;
    }
    let mut kept = Vec::new();
    for (tag, search) in [
        ("c1", "UID SEARCH RETURN (UPDATE ALL) FLAGGED"),
        ("c2", "SEARCH RETURN (UPDATE ALL) OR UNSEEN SUBJECT b"),
        ("c3", "UID SORT RETURN (UPDATE ALL) (SUBJECT REVERSE SIZE) UTF-8 UNDELETED"),
        ("c4", "SORT RETURN (UPDATE ALL) (REVERSE SUBJECT) UTF-8 NOT SEEN"),
    ] {
        client.send(format!("{tag} {search}\r\n").as_bytes()).await;
        while !client.line().await.unwrap().starts_with(tag) {}
        kept.push(Kept { tag, search, result: Vec::new() });
    }
    let mut dice = Generator::new(5267);
    let mut below = move |bound: u64| dice.number() % bound;
    let mut hits = 0;
    for step in 0..STEPS {
        let by_other = below(2) == 0;
        let (sign, silent) = (["+", "-"][below(2) as usize], ["", ".SILENT"][below(2) as usize]);
        let flag = ["Flagged", "Seen", "Deleted"][below(3) as usize];
        let (first, last) = (1 + below(60), 1 + below(60));
        let command = match below(10) {
            0..3 => {
                let subject = ["a", "b", "Re: b", "c", "ab"][below(5) as usize];
                let message =
                    format!("Subject: {subject}\r\n\r\n{}", "x".repeat(below(3) as usize));
                format!("APPEND INBOX (\\{flag}) {{{}+}}\r\n{message}", message.len())
            }
            3 => "EXPUNGE".to_owned(),
            _ => format!("UID STORE {first}:{last} {sign}FLAGS{silent} (\\{flag})"),
        };
        // A FETCH by number holds expunges back.
        let rest = ["NOOP", "FETCH 1:* (UID)"][below(2) as usize];
        let mut lines = Vec::new();
        if by_other {
            other.ok(&command).await;
            client.send(format!("t {rest}\r\n").as_bytes()).await;
            loop {
                let line = client.line().await.unwrap();
                if line.starts_with("t ") {
                    break;
                }
                lines.push(line);
            }
        } else {
            lines.extend(client.ok(&command).await);
        }
        if step % 3 == 0 {
            lines.extend(client.ok("NOOP").await);
        }
        for kept in &mut kept {
            lines.iter().for_each(|line| kept.apply(line));
        }
        for index in 0..kept.len() {
            let fresh = kept[index].search.replace("UPDATE ", "");
            client.send(format!("f {fresh}\r\n").as_bytes()).await;
            let found = client.line().await.unwrap();
            let found = found.strip_prefix("* ESEARCH (TAG \"f\")").expect("an answer");
            let found = numbers(found.split("ALL ").nth(1).unwrap_or_default());
            let result = &kept[index].result;
            assert_eq!(*result, found, "step {step}, {command:?}, {fresh}: {lines:#?}");
            hits += usize::from(!found.is_empty());
            // A search by UID tells expunges that were held back.
            loop {
                let line = client.line().await.unwrap();
                if line.starts_with("f OK") {
                    break;
                }
                kept.iter_mut().for_each(|kept| kept.apply(&line));
            }
        }
    }
    assert!(hits > STEPS, "results were empty most of the time: {hits}");
}
