//! The other node, as this one knows it: a small text file, `DATA/pair/peer`.
//!
//! ```text
//! version = 1
//! cluster = 32 hex digits     the pair
//! node = 32 hex digits        the other node
//! fingerprint = 64 hex digits of its certificate
//! parity = 0                  of the epochs that it opens: 0 or 1; this node has the other
//! address = host:port         where it listens; may be empty if it is in the configuration
//! ```
//!
//! # Invariants
//! 1. All lines are there, in this order, once; anything else is refused, so that a damaged file is
//!    not taken for another peer.

use std::path::Path;

use engine::ids::NodeId;

use super::credentials::{CredentialsError, Fingerprint, write_private};
use super::message::ClusterId;

const VERSION: &str = "1";
/// Bytes of an address.
pub(crate) const ADDRESS_BYTES_MAX: usize = 255;
const FILE_BYTES_MAX: u64 = 4096;

/// The other node of the pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerRecord {
    /// The pair.
    pub cluster: ClusterId,
    /// The other node.
    pub node: NodeId,
    /// Of its certificate.
    pub fingerprint: Fingerprint,
    /// Parity of the epochs that it opens.
    pub parity: Parity,
    /// Where it listens, as host and port; empty if that is said elsewhere.
    pub address: String,
}

/// Which epochs a node opens: the two never open the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parity {
    /// 2, 4, 6, …
    Even,
    /// 1, 3, 5, …
    Odd,
}

impl Parity {
    /// The other node's.
    pub fn other(self) -> Parity {
        match self {
            Parity::Even => Parity::Odd,
            Parity::Odd => Parity::Even,
        }
    }

    pub(crate) fn byte(self) -> u8 {
        match self {
            Parity::Even => 0,
            Parity::Odd => 1,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Parity> {
        [Parity::Even, Parity::Odd].into_iter().find(|parity| parity.byte() == byte)
    }
}

impl PeerRecord {
    /// The file's text.
    pub fn to_text(&self) -> String {
        format!(
            "version = {VERSION}\ncluster = {}\nnode = {}\nfingerprint = {}\nparity = {}\n\
             address = {}\n",
            self.cluster,
            self.node,
            self.fingerprint,
            self.parity.byte(),
            self.address
        )
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// A sentence that names the line.
    pub fn parse(text: &str) -> Result<PeerRecord, String> {
        let mut lines = text.lines();
        let mut value = |name: &'static str| {
            let line = lines.next().unwrap_or("");
            let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(" = "));
            value.ok_or_else(|| format!("a line \"{name} = …\" was expected, not \"{line}\""))
        };
        let version = value("version")?;
        if version != VERSION {
            return Err(format!("it is of version {version}, and this binary knows {VERSION}"));
        }
        let record = PeerRecord {
            cluster: ClusterId(hex(value("cluster")?).ok_or("cluster is no identity")?),
            node: NodeId(hex(value("node")?).ok_or("node is no identity")?),
            fingerprint: Fingerprint(hex(value("fingerprint")?).ok_or("fingerprint is none")?),
            parity: match value("parity")? {
                "0" => Parity::Even,
                "1" => Parity::Odd,
                other => return Err(format!("parity is {other}, and can be 0 or 1")),
            },
            address: value("address")?.to_owned(),
        };
        match record.to_text() == text && is_address(&record.address) {
            true => Ok(record),
            false => Err("it holds more than it should".to_owned()),
        }
    }

    /// Reads the file in that folder; `None` if there is none.
    ///
    /// # Errors
    /// [`CredentialsError`]
    pub fn load(folder: &Path) -> Result<Option<PeerRecord>, CredentialsError> {
        let path = folder.join("peer");
        let failed = |cause| CredentialsError::File { verb: "read", path: path.clone(), cause };
        match std::fs::metadata(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(failed(cause)),
            Ok(file) if file.len() > FILE_BYTES_MAX => {
                let why = "it is too long".to_owned();
                return Err(CredentialsError::Unusable { path, why });
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let read = PeerRecord::parse(&text);
        read.map(Some).map_err(|why| CredentialsError::Unusable { path, why })
    }

    /// Removes the file from that folder, durably.
    ///
    /// # Errors
    /// [`CredentialsError`]
    pub fn remove(folder: &Path) -> Result<(), CredentialsError> {
        let path = folder.join("peer");
        let failed = |cause| CredentialsError::File { verb: "remove", path: path.clone(), cause };
        std::fs::remove_file(&path).map_err(failed)?;
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// Replaces the file in that folder, durably.
    ///
    /// # Errors
    /// [`CredentialsError`]
    pub fn save(&self, folder: &Path) -> Result<(), CredentialsError> {
        write_private(&folder.join("peer"), self.to_text().as_bytes())
    }
}

/// Whether that may stand in a line as an address.
pub(crate) fn is_address(text: &str) -> bool {
    text.len() <= ADDRESS_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> PeerRecord {
        PeerRecord {
            cluster: ClusterId([1; 16]),
            node: NodeId([0xAB; 16]),
            fingerprint: Fingerprint([3; 32]),
            parity: Parity::Odd,
            address: "b.example.org:4190".to_owned(),
        }
    }

    #[test]
    fn the_file_comes_back_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(PeerRecord::load(folder.path()).unwrap(), None);
        record().save(folder.path()).unwrap();
        assert_eq!(PeerRecord::load(folder.path()).unwrap(), Some(record()));
        let text = record().to_text();
        let damaged = [
            (text.replace("version = 1", "version = 2"), "a later version"),
            (text.replace("parity = 1", "parity = 2"), "no parity"),
            (text.replace("ab", "AB"), "another spelling"),
            (text.clone() + "more", "more lines"),
            (text.replace("node", "knot"), "another line"),
            (text[..40].to_owned(), "cut short"),
            (text.replace("b.example", "b example"), "an address of two words"),
        ];
        for (text, why) in damaged {
            assert!(PeerRecord::parse(&text).is_err(), "{why}");
        }
        std::fs::write(folder.path().join("peer"), "x".repeat(5000)).unwrap();
        let why = PeerRecord::load(folder.path()).unwrap_err().to_string();
        assert!(why.contains("peer") && why.contains("too long"), "{why}");
    }
}
