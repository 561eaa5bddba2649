//! Refused logins by address, across connections, so that guessing does not get faster by
//! connecting anew.
//!
//! # Invariants
//! 1. At most [`ADDRESSES_MAX`] addresses are known; the one that was quiet the longest goes first.
//! 2. An address that was quiet for [`FORGOTTEN_AFTER`] counts as new.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Some hundred bytes each.
const ADDRESSES_MAX: usize = 10_000;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// The table.
#[derive(Default)]
pub(super) struct Failures {
    known: Mutex<HashMap<IpAddr, Known>>,
}

#[derive(Clone, Copy)]
struct Known {
    count: u32,
    last: Instant,
}

impl Failures {
    /// Notes a failure; how many there were from that address lately. None from this machine: one
    /// user's failures are not the others'.
    pub(super) fn note(&self, address: IpAddr, now: Instant) -> u32 {
        let Some(network) = network_of(address) else { return 0 };
        let mut known = self.known.lock();
        let quiet = |known: &Known| now.saturating_duration_since(known.last);
        let before = known.get(&network).filter(|known| quiet(known) < FORGOTTEN_AFTER);
        let count = before.map_or(0, |known| known.count).saturating_add(1);
        if known.len() >= ADDRESSES_MAX && !known.contains_key(&network) {
            known.retain(|_, known| quiet(known) < FORGOTTEN_AFTER);
            if known.len() >= ADDRESSES_MAX
                && let Some((&oldest, _)) = known.iter().max_by_key(|(_, known)| quiet(known))
            {
                known.remove(&oldest);
            }
        }
        known.insert(network, Known { count, last: now });
        count
    }
}

/// Whom something is counted for that comes from an address: an IPv4 address, or the IPv6 /64 that
/// one customer has. None from this machine: a web mail or a mail server in front is many.
pub fn network_of(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => Some(IpAddr::V6((address.to_bits() >> 64 << 64).into())),
        address => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_add_up_across_connections_and_are_forgotten() {
        let failures = Failures::default();
        let now = Instant::now();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!((failures.note(address, now), failures.note(mapped, now)), (1, 2));
        assert_eq!(failures.note("192.0.2.2".parse().unwrap(), now), 1, "another one");
        assert_eq!(failures.note("127.0.0.1".parse().unwrap(), now), 0, "a web mail");
        let (host, neighbour) = ("2001:db8::1", "2001:db8::2");
        assert_eq!(failures.note(host.parse().unwrap(), now), 1);
        assert_eq!(failures.note(neighbour.parse().unwrap(), now), 2, "one customer");
        assert_eq!(failures.note(address, now + FORGOTTEN_AFTER), 1);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_who_came_last() {
        let failures = Failures::default();
        let begin = Instant::now();
        for number in 0..ADDRESSES_MAX as u32 + 3 {
            let address = IpAddr::V4((0x0b00_0000 + number).into());
            failures.note(address, begin + Duration::from_millis(u64::from(number)));
        }
        let known = failures.known.lock();
        assert_eq!(known.len(), ADDRESSES_MAX);
        assert!(!known.contains_key(&IpAddr::V4(0x0b00_0000.into())), "the quietest is gone");
    }
}
