//! How many connections there are, in all and from each address; for the listener that accepts
//! them.
//!
//! # Invariants
//! 1. Every admitted connection is counted until its [`ConnectionPermit`] is dropped.
//! 2. The table holds only addresses that have a connection, so it is bounded by the total.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Config;

/// What a listener writes to a connection that was not admitted, before it closes it.
pub const REFUSED_CONNECTION: &[u8] = b"421 4.7.0 Too many connections, try again later\r\n";

#[derive(Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Counts connections. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct ConnectionCount {
    counts: Arc<Mutex<Counts>>,
    total_max: usize,
    per_address_max: usize,
}

/// One admitted connection; keep it as long as the connection lives.
pub struct ConnectionPermit {
    counts: Arc<Mutex<Counts>>,
    network: Option<IpAddr>,
}

impl ConnectionCount {
    /// With the limits of a configuration.
    pub fn new(config: &Config) -> ConnectionCount {
        ConnectionCount {
            counts: Arc::default(),
            total_max: config.connections_max,
            per_address_max: config.connections_per_address_max,
        }
    }

    /// Admits a connection, or `None`: answer [`REFUSED_CONNECTION`] and close it.
    pub fn admit(&self, address: IpAddr) -> Option<ConnectionPermit> {
        let network = network_of(address);
        let mut counts = self.counts.lock();
        if counts.total >= self.total_max {
            return None;
        }
        if let Some(network) = network {
            let count = counts.by_address.get(&network).copied().unwrap_or(0);
            if count >= self.per_address_max {
                return None;
            }
            counts.by_address.insert(network, count + 1);
        }
        counts.total += 1;
        Some(ConnectionPermit { counts: Arc::clone(&self.counts), network })
    }

    /// Connections now.
    pub fn total(&self) -> usize {
        self.counts.lock().total
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.total = counts.total.saturating_sub(1);
        let Some(network) = self.network else { return };
        match counts.by_address.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.by_address.remove(&network);
            }
        }
    }
}

/// Whom a connection is counted for. A provider gives its customer an IPv6 /64, so one host is that
/// much.
fn network_of(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(IpAddr::V4(address)),
        IpAddr::V6(address) => {
            let high = u128::from(address) >> 64 << 64;
            Some(IpAddr::V6(Ipv6Addr::from(high)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(total: usize, each: usize) -> ConnectionCount {
        ConnectionCount::new(&Config {
            connections_max: total,
            connections_per_address_max: each,
            ..Config::default()
        })
    }

    #[test]
    fn an_address_gets_its_share_and_no_more() {
        let count = count(10, 2);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let first = count.admit(address).unwrap();
        let _second = count.admit(address).unwrap();
        assert!(count.admit(address).is_none());
        assert!(count.admit("192.0.2.2".parse().unwrap()).is_some());
        drop(first);
        assert!(count.admit(address).is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let count = count(10, 1);
        let _first = count.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert!(count.admit("2001:db8::ffff:2".parse().unwrap()).is_none());
        assert!(count.admit("2001:db8:0:1::1".parse().unwrap()).is_some());
    }

    #[test]
    fn loopback_is_bounded_by_the_total_only_and_the_table_empties() {
        let count = count(3, 1);
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        let permits: Vec<_> = (0..3).map(|_| count.admit(local).unwrap()).collect();
        assert!(count.admit(local).is_none());
        drop(permits);
        let permit = count.admit("192.0.2.9".parse().unwrap());
        assert_eq!(count.total(), 1);
        drop(permit);
        assert_eq!(count.total(), 0);
        assert!(count.counts.lock().by_address.is_empty());
    }
}
