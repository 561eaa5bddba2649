//! Format levels of a pair: what may be written is what both nodes read.
//!
//! Each greeting says up to which level its node reads. It holds for a connection: an older
//! binary comes with a new one, and is refused there if the level is beyond it (`checks`).

use engine::ids::NodeId;

use super::Node;

/// Why a volume's level may not be raised.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LevelRefusal {
    /// The other node could not read what would be written.
    #[error(
        "node {node} reads up to format level {reads}, and this one would write level {level}: \
         upgrade the software on {node} first; nothing was changed"
    )]
    OtherIsOlder {
        /// The other node.
        node: NodeId,
        /// What it reads.
        reads: u32,
        /// What would be written.
        level: u32,
    },
    /// Nobody knows what the other node reads.
    #[error(
        "the other node of the pair is away, and up to which format level it reads is not known: \
         start it, or give it up with 'pillarbox replica forget'; nothing was changed"
    )]
    OtherIsAway,
}

/// What the other node reads of a volume: `None`, while it is away.
fn judge(level: u32, other: Option<(NodeId, u32)>) -> Result<(), LevelRefusal> {
    match other {
        None => Err(LevelRefusal::OtherIsAway),
        Some((node, reads)) if reads < level => {
            Err(LevelRefusal::OtherIsOlder { node, reads, level })
        }
        Some(_) => Ok(()),
    }
}

impl Node {
    /// Whether the volumes may be raised to the newest level of this binary, if they are below.
    ///
    /// # Errors
    /// [`LevelRefusal`].
    pub fn may_raise_level(&self) -> Result<(), LevelRefusal> {
        let connection = self.connection.lock().clone();
        for (id, volume) in &self.volumes {
            let standing = volume.store.standing();
            if standing.format_level >= standing.format_level_newest {
                continue;
            }
            let other = connection.as_ref().and_then(|link| {
                let there = link.peer().volumes.iter().find(|there| there.id == *id)?;
                Some((link.peer().node, there.reads_level))
            });
            judge(standing.format_level_newest, other)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_raised_only_to_what_the_other_node_is_known_to_read() {
        let node = NodeId([7; 16]);
        let older = LevelRefusal::OtherIsOlder { node, reads: 10, level: 11 };
        let table = [
            (Some((node, 10)), Err(older.clone()), "it would stop at the first such record"),
            (Some((node, 11)), Ok(()), "the same"),
            (Some((node, 12)), Ok(()), "newer"),
            (None, Err(LevelRefusal::OtherIsAway), "nobody knows"),
        ];
        for (other, expected, reason) in table {
            assert_eq!(judge(11, other), expected, "{reason}");
        }
        assert!(older.to_string().contains(&node.to_string()), "it is named: {older}");
    }
}
