//! What the link can do on this machine: bytes a second, and the way there and back.
//!
//! Question: does the link hold up a primary at full delivery load? Data: groups of 1 MiB of noise,
//! as sealed mail is, over loopback with TLS; then one small message at a time, answered by the
//! host's thread. `cargo test --profile fast -p pillarbox-replication --test link -- --ignored
//! --nocapture measured` prints MB/s and microseconds.

use std::time::Instant;

use replication::pair::host::SendError;
use replication::pair::message::Message;

use crate::node::{MAIN, PATIENCE, lsn, pair};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a promise"]
async fn measured() {
    const GROUPS: u64 = 1000;
    let (mut a, mut b, to_b, to_a) = pair().await;
    let mut noise = vec![0; 1 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let begin = Instant::now();
    let sender = std::sync::Arc::clone(&to_b);
    let sending = tokio::task::spawn_blocking(move || {
        for group in 1..=GROUPS {
            let mut bytes = noise.clone();
            loop {
                match sender.send_groups(MAIN, lsn(group), bytes) {
                    Ok(()) => break,
                    Err(SendError::Full(back)) => {
                        sender.wait_for_room(back.payload_bytes(), PATIENCE);
                        let Message::Groups(back) = *back else { panic!("groups come back") };
                        bytes = back;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    });
    for _ in 0..GROUPS {
        b.received().await;
    }
    let rate = GROUPS as f64 * (1 << 20) as f64 / 1e6 / begin.elapsed().as_secs_f64();
    sending.await.unwrap();
    let mut times = Vec::new();
    for number in 0..5000 {
        let begin = Instant::now();
        to_b.send(MAIN, Message::Committed(lsn(number))).unwrap();
        b.received().await;
        to_a.send(MAIN, Message::Committed(lsn(number))).unwrap();
        a.received().await;
        times.push(begin.elapsed());
    }
    times.sort();
    println!(
        "groups of 1 MiB: {rate:.0} MB/s; there and back p50 {:?} p99 {:?}",
        times[2500], times[4950]
    );
}
