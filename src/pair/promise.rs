//! What the settings of a pair promise when a node is lost, in words, for `config check`.

use engine::pair::{Acknowledgement, Away};

use super::PairOptions;

impl PairOptions {
    /// What may be lost with a node, and who takes over; `None` where there is no pair.
    pub(crate) fn promise(&self) -> Option<String> {
        if self.listen.is_none() && self.peer.is_empty() {
            return None;
        }
        let lost = match (self.acknowledgement, self.merge_after.is_some(), self.etcd.is_some()) {
            (Acknowledgement::Local, ..) => {
                "mail that was acknowledged in the last moments may be on the lost node alone, and \
                 is merged if that comes back"
            }
            (Acknowledgement::Durable(Away::Refuse), ..) => {
                "no acknowledged mail is lost (RPO 0), and none is taken while the other node is \
                 away"
            }
            (Acknowledgement::Durable(Away::Degrade), _, true) => {
                "no acknowledged mail is lost when a node takes over by itself (RPO 0); what was \
                 taken without the other node is on one node alone until that is back"
            }
            (Acknowledgement::Durable(Away::Degrade), true, false) => {
                "RPO 0 is NOT promised: a node takes over by itself while the other one may take \
                 mail alone, with nobody to say which of them counts; an etcd, or away = \
                 \"refuse\" and a command, would promise it"
            }
            (Acknowledgement::Durable(Away::Degrade), false, false) => {
                "no acknowledged mail is lost (RPO 0) unless it was taken while the other node was \
                 away; 'pillarbox replica promote' says what may be missing"
            }
        };
        let takes_over = match (&self.etcd, self.merge_after) {
            (Some(etcd), _) => {
                let milliseconds = etcd.failover_after.as_millis();
                match self.acknowledgement {
                    Acknowledgement::Durable(_) => {
                        format!("by itself, {milliseconds} ms after the line is dead")
                    }
                    Acknowledgement::Local => {
                        format!("by itself, when the lease of {} s has run out", etcd.lease_seconds)
                    }
                }
            }
            (None, Some(after)) => format!(
                "by itself, {} s after the line is dead; both nodes take mail when only the line \
                 is",
                after.as_secs()
            ),
            (None, None) => "by command".to_owned(),
        };
        Some(format!("pair: {lost}; the other node takes over {takes_over}"))
    }
}
