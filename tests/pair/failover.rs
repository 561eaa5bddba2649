//! Failover by Debian's etcd: the other node takes over by itself, nothing that was acknowledged is
//! lost, and the first one follows when it is back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::site::{Site, USER};
use crate::support::smtp::{Dialect, Smtp};
use crate::support::tool::wait_until;
use crate::{DEADLINE, Two, await_held, await_merged, deliver, numbers, status, text};

/// An etcd of one member.
struct Etcd {
    child: Child,
    addresses: [SocketAddr; 2],
    folder: tempfile::TempDir,
}

impl Etcd {
    fn start(addresses: [SocketAddr; 2]) -> Etcd {
        let folder = tempfile::tempdir().unwrap();
        let child = Etcd::spawn(folder.path(), addresses);
        Etcd { child, addresses, folder }
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// It comes back with what it knew.
    fn start_again(&mut self) {
        self.child = Etcd::spawn(self.folder.path(), self.addresses);
    }

    fn spawn(folder: &Path, [client, peer]: [SocketAddr; 2]) -> Child {
        let [own, other] = [client, peer].map(|address| format!("http://{address}"));
        let child = Command::new("etcd")
            .args(["--data-dir", &folder.join("data").display().to_string()])
            .args(["--listen-client-urls", &own, "--advertise-client-urls", &own])
            .args(["--listen-peer-urls", &other, "--initial-advertise-peer-urls", &other])
            .args(["--initial-cluster", &format!("default={other}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("etcd listens", DEADLINE, || std::net::TcpStream::connect(client).ok());
        child
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two nodes that an etcd knows, of which the second may take over.
fn known(mode: &str) -> (Two, Etcd) {
    let mut ports = Site::empty();
    let addresses = [ports.ports.next(), ports.ports.next()];
    let etcd = Etcd::start(addresses);
    let etcd_section = format!("[pair.etcd]\nendpoints = [\"http://{}\"]\n", addresses[0]);
    let mut two = Two::joined(&format!("{mode}\n{etcd_section}"));
    for site in [&mut two.first, &mut two.second] {
        for expected in ["as primary", "was made primary", "THIS NODE ALONE"] {
            site.announce_error(expected);
        }
    }
    wait_until("the second node is marked in sync", DEADLINE, || {
        status(&two.first)?["etcd"].as_str()?.contains(", node ").then_some(())
    });
    [&two.first, &two.second].into_iter().for_each(await_held);
    (two, etcd)
}

/// Delivers until it is refused; answers what was accepted.
fn deliver_on(site: &Site, from: usize) -> BTreeSet<usize> {
    let mut accepted = BTreeSet::new();
    let Ok(mut smtp) = Smtp::connect(site.lmtp, Dialect::Lmtp) else { return accepted };
    for number in from.. {
        match smtp.deliver("s@example.net", &[USER], &text(number)) {
            Ok(replies) if replies[0].is_ok() => drop(accepted.insert(number)),
            _ => break,
        }
    }
    accepted
}

/// Everything that was accepted is there once, on both.
fn compare(two: &Two, accepted: &BTreeSet<usize>) {
    let [mut here, mut there] = [&two.first, &two.second].map(Site::imap);
    here.select("INBOX").unwrap();
    there.select("INBOX").unwrap();
    wait_until("both nodes show the same", DEADLINE, || {
        here.ok("NOOP").unwrap();
        there.ok("NOOP").unwrap();
        (numbers(&mut here) == numbers(&mut there)).then_some(())
    });
    let shown: Vec<usize> = numbers(&mut here).into_iter().map(|(_, number)| number).collect();
    let once: BTreeSet<usize> = shown.iter().copied().collect();
    assert_eq!(once.len(), shown.len(), "nothing came twice");
    let lost: Vec<&usize> = accepted.difference(&once).collect();
    assert_eq!(lost, [] as [&usize; 0], "what was accepted is there");
}

/// The first node stands still in the middle of deliveries, and goes on when the other one has
/// taken over; answers what was accepted in all.
fn fail_over(two: &Two) -> BTreeSet<usize> {
    let Two { first, second, .. } = two;
    let began = status(second).unwrap()["volumes"][0]["last"].clone();
    let mut accepted = std::thread::scope(|scope| {
        let sender = scope.spawn(|| deliver_on(first, 100));
        wait_until("some mail goes over", DEADLINE, || {
            (status(second)?["volumes"][0]["last"] != began).then_some(())
        });
        // A machine that is gone says nothing any more, and its connections stay open.
        first.pause();
        let gone = Instant::now();
        wait_until("the second node takes over", DEADLINE, || {
            (status(second)?["volumes"][0]["role"] == "primary").then_some(())
        });
        println!("primary {:?} after the other's last sign of life", gone.elapsed());
        wait_until("the second node takes mail", DEADLINE, || deliver(second, 50).then_some(()));
        first.resume();
        sender.join().unwrap()
    });
    accepted.insert(50);
    accepted
}

#[test]
fn s14_in_durable_mode_the_other_node_takes_over_and_a_paused_primary_acknowledges_nothing() {
    let mode = "acknowledge = \"durable\"\naway = \"degrade\"\ndegrade_seconds = 1";
    let (mut two, _etcd) = known(mode);
    let mut accepted = fail_over(&two);
    await_merged(&two.first);
    two.await_second();
    assert!(deliver(&two.first, 60) && deliver(&two.second, 61));
    accepted.extend([60, 61]);
    compare(&two, &accepted);
    wait_until("the first node is marked in sync", DEADLINE, || {
        status(&two.second)?["etcd"].as_str()?.contains(", node ").then_some(())
    });
    // And back again: now the second one is killed.
    let Two { first, second, .. } = &mut two;
    second.kill9();
    wait_until("the first node takes over", DEADLINE, || {
        (status(first)?["volumes"][0]["role"] == "primary").then_some(())
    });
    wait_until("the first node takes mail", DEADLINE, || deliver(first, 70).then_some(()));
    second.start();
    await_merged(second);
    two.await_there();
    assert!(deliver(&two.second, 71));
    accepted.extend([70, 71]);
    compare(&two, &accepted);
}

#[test]
fn in_local_mode_the_other_node_takes_over_when_the_lease_has_run_out_and_mail_is_merged() {
    let (two, _etcd) = known("acknowledge = \"local\"");
    let accepted = fail_over(&two);
    await_merged(&two.first);
    compare(&two, &accepted);
}

#[test]
fn while_etcd_is_away_mail_goes_on_and_nobody_goes_on_alone() {
    let mode = "acknowledge = \"durable\"\naway = \"degrade\"\ndegrade_seconds = 1";
    let (mut two, mut etcd) = known(mode);
    let mut accepted: BTreeSet<usize> = [1, 2, 3].into();
    etcd.stop();
    assert!(deliver(&two.first, 10) && deliver(&two.second, 11), "both nodes see each other");
    accepted.extend([10, 11]);
    // The follower is lost, and nobody can be told that it lacks mail: so there is none.
    two.second.kill9();
    wait_until("the first node is told that etcd is away", DEADLINE, || {
        let word = status(&two.first)?["etcd"].as_str()?.to_owned();
        (!word.contains(", node ")).then_some(())
    });
    assert!(!deliver(&two.first, 12), "it would be on one node alone");
    let status_now = status(&two.first).unwrap();
    assert_eq!(status_now["volumes"][0]["is_degraded"], false, "{status_now}");
    etcd.start_again();
    wait_until("the first node goes on alone", DEADLINE, || deliver(&two.first, 13).then_some(()));
    accepted.insert(13);
    two.second.start();
    two.await_there();
    wait_until("the second node is marked in sync", DEADLINE, || {
        status(&two.first)?["etcd"].as_str()?.contains(", node ").then_some(())
    });
    // And now the primary is lost while etcd is away: nobody is promoted until it is back.
    etcd.stop();
    let Two { first, second, .. } = &mut two;
    first.kill9();
    wait_until("the second node notices", DEADLINE, || {
        (status(second)?["is_connected"] == false).then_some(())
    });
    let refused = second.pillarbox(&["replica", "promote"]);
    assert_eq!(refused.code, Some(1), "without etcd nobody is promoted: {}", refused.output());
    etcd.start_again();
    wait_until("the second node takes over", DEADLINE, || {
        (status(second)?["volumes"][0]["role"] == "primary").then_some(())
    });
    wait_until("the second node takes mail", DEADLINE, || deliver(second, 14).then_some(()));
    accepted.insert(14);
    first.start();
    two.await_second();
    compare(&two, &accepted);
}

#[test]
fn b9_a_primary_that_was_not_closed_asks_its_follower_first_or_is_told_to_serve_alone() {
    let mut two = Two::joined("");
    let Two { first, second, .. } = &mut two;
    second.kill9();
    wait_until("the first node notices", DEADLINE, || {
        (status(first)?["is_connected"] == false).then_some(())
    });
    assert!(deliver(first, 4));
    first.kill9();
    first.start();
    assert!(!deliver(first, 5), "the other node may have more");
    let trouble = status(first).unwrap()["volumes"][0]["trouble"].clone();
    assert!(trouble.as_str().unwrap().contains("serve --alone"), "{trouble}");
    second.start();
    two.await_there();
    let Two { first, second, .. } = &mut two;
    assert!(deliver(first, 6), "it was asked, and has no more");
    second.kill9();
    first.kill9();
    first.start_with(&["--alone"]);
    assert!(deliver(first, 7));
    let last = status(first).unwrap()["volumes"][0]["last"].clone();
    assert!(last.as_str().unwrap().starts_with("3."), "in an epoch of its own: {last}");
    first.stop();
    first.start();
    assert!(deliver(first, 8), "it was closed");
    second.start();
    two.await_there();
    compare(&two, &[1, 2, 3, 4, 6, 7, 8].into_iter().collect());
    // The other one is lost for good: there is nobody to ask any more.
    let Two { first, second, .. } = &mut two;
    second.kill9();
    first.kill9();
    first.start();
    assert!(!deliver(first, 9));
    first.pillarbox(&["replica", "forget"]).well("forget");
    assert!(deliver(first, 10));
}
