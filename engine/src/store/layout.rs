//! The data directory: which files there are, and the lock that keeps a second process out.
//!
//! ```text
//! DATA/pillarbox.lock         held by flock while a process has the store; names that process
//! DATA/node.toml              format, node id, volumes; written last: init finished
//! DATA/keys/root.key          the root key, wrapped; root.copy the same once more
//! DATA/spool/                 emptied at start
//! DATA/volumes/main/keys/     key table, two copies
//! DATA/volumes/main/log/      segments
//! DATA/volumes/main/state/    tables
//! DATA/volumes/main/index/    full-text index (search/folder.rs)
//! DATA/volumes/main/state.old/  those from before a rebuild that is under way
//! DATA/volumes/main/closed    the store was closed, and nothing was written since
//! DATA/volumes/main/giving-up   damage is being given up (store/give_up/marker.rs)
//! DATA/volumes/main/held/     a checkpoint that the other node of a pair has reached
//!                             (way_back/held.rs)
//! DATA/volumes/main/way-back/ what this node alone had, until it is merged (way_back/mod.rs)
//! DATA/volumes/main/quarantine/ bytes that were given up, as they were on the disk, by file and
//!                               place: SEGMENT.FROM-TO, or a whole file
//! ```

use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::ids::{NodeId, VolumeId};

/// Format of the directory itself.
pub(super) const DIRECTORY_FORMAT: u32 = 1;
/// The volume that holds account names, domains and aliases.
pub(super) const MAIN_VOLUME: &str = "main";

/// Paths below a data directory.
pub(super) struct Layout {
    directory: PathBuf,
}

impl Layout {
    pub(super) fn of(directory: &Path) -> Layout {
        Layout { directory: directory.to_path_buf() }
    }

    /// The data directory itself.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.directory.join("pillarbox.lock")
    }

    pub(super) fn node(&self) -> PathBuf {
        self.directory.join("node.toml")
    }

    pub(super) fn root_key(&self) -> PathBuf {
        self.directory.join("keys").join("root.key")
    }

    pub(super) fn spool(&self) -> PathBuf {
        self.directory.join("spool")
    }

    pub(super) fn volume(&self) -> PathBuf {
        self.directory.join("volumes").join(MAIN_VOLUME)
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.volume().join("keys")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.volume().join("log")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.volume().join("state")
    }

    /// Files of the full-text index.
    pub(super) fn index(&self) -> PathBuf {
        self.volume().join("index")
    }

    /// Says that the store was closed.
    pub(super) fn closed(&self) -> PathBuf {
        self.volume().join("closed")
    }

    /// Says that damage is being given up.
    pub(super) fn giving_up(&self) -> PathBuf {
        self.volume().join("giving-up")
    }

    /// Damaged bytes that were given up.
    pub(super) fn quarantine(&self) -> PathBuf {
        self.volume().join("quarantine")
    }

    /// A checkpoint that the other node has reached.
    pub(super) fn held(&self) -> PathBuf {
        self.volume().join("held")
    }

    /// What this node alone had.
    pub(super) fn way_back(&self) -> PathBuf {
        self.volume().join("way-back")
    }

    /// The state from before a rebuild that is under way.
    pub(super) fn old_state(&self) -> PathBuf {
        self.volume().join("state.old")
    }
}

/// What `node.toml` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NodeFile {
    pub(super) node: NodeId,
    pub(super) volume: VolumeId,
}

impl NodeFile {
    pub(super) fn encode(&self) -> String {
        format!(
            "# Identity of this store. Written by 'pillarbox init'; do not edit.\n\
             format = {DIRECTORY_FORMAT}\nnode = \"{}\"\n\n[volumes]\n{MAIN_VOLUME} = \"{}\"\n",
            self.node, self.volume
        )
    }

    /// Reads the few lines that [`NodeFile::encode`] writes.
    pub(super) fn decode(path: &Path, text: &str) -> Result<NodeFile, OpenError> {
        let value = |key: &str| {
            text.lines().find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        let invalid = |what: &str| {
            OpenError::Invalid(format!("{} has no valid {what}; restore it", path.display()))
        };
        let format = value("format").and_then(|text| text.parse::<u32>().ok());
        let format = format.ok_or_else(|| invalid("format"))?;
        if format > DIRECTORY_FORMAT {
            return Err(OpenError::NewerFormat {
                what: path.display().to_string(),
                found: format,
                known: DIRECTORY_FORMAT,
            });
        }
        let id =
            |key: &str| value(key).and_then(|text| from_hex(&text)).ok_or_else(|| invalid(key));
        Ok(NodeFile { node: NodeId(id("node")?), volume: VolumeId(id(MAIN_VOLUME)?) })
    }
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 {
        return None;
    }
    for (place, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *place = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_file_reads_back_and_a_newer_one_is_refused() {
        let node = NodeFile { node: NodeId([0xab; 16]), volume: VolumeId([1; 16]) };
        let path = Path::new("node.toml");
        assert_eq!(NodeFile::decode(path, &node.encode()).unwrap(), node);
        crate::golden::compare("node_1.toml", node.encode().as_bytes());
        let newer = node.encode().replace("format = 1", "format = 9");
        assert!(matches!(
            NodeFile::decode(path, &newer),
            Err(OpenError::NewerFormat { found: 9, .. })
        ));
        assert!(matches!(NodeFile::decode(path, ""), Err(OpenError::Invalid(_))));
    }
}
