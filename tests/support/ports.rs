//! Ports on loopback that no other test has, in whatever process it runs.
//!
//! A port that was free when somebody looked may be another's a moment later, and a server that
//! restarts wants its own again. So ports come in blocks, and a block is claimed by a locked file,
//! which the kernel gives up with the process.

use std::fs::{DirBuilder, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;

use rustix::process::geteuid;

use super::random::Random;

/// Below the ports that the kernel gives to outgoing connections.
const FIRST: u16 = 20_000;
const BLOCKS: u16 = 1_500;
const BLOCK_PORTS: u16 = 8;

/// A block of ports, claimed as long as this lives.
pub(crate) struct Ports {
    first: u16,
    given: u16,
    _claim: File,
}

impl Ports {
    pub(crate) fn claim() -> Ports {
        let folder = format!("pillarbox-test-ports-{}", geteuid().as_raw());
        let folder = std::env::temp_dir().join(folder);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
        let mut random = Random::new(u64::from(std::process::id()));
        for _ in 0..10 * BLOCKS {
            let block = random.below(usize::from(BLOCKS)) as u16;
            let claim = File::create(folder.join(block.to_string())).unwrap();
            let first = FIRST + block * BLOCK_PORTS;
            // A program that knows nothing of claims may listen there.
            let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if claim.try_lock().is_ok() && (first..first + BLOCK_PORTS).all(free) {
                return Ports { first, given: 0, _claim: claim };
            }
        }
        panic!("no free ports: see {}", folder.display());
    }

    /// One that was not given yet.
    pub(crate) fn next(&mut self) -> SocketAddr {
        assert!(self.given < BLOCK_PORTS, "a block has {BLOCK_PORTS} ports");
        self.given += 1;
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.first + self.given - 1))
    }
}
