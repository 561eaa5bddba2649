//! Merge mode: a node goes on without the other one by itself, and nobody else is asked.
//!
//! ```text
//! follower   without its primary for so long, and had all that it told of ─► opens its own epoch
//! primary    was not closed, and has not met its follower for so long ─────► opens its own epoch
//! ```
//! When only the line between both was cut, both take changes then, each in an epoch of its own. As
//! soon as they meet, the older epoch goes back and what it had alone is merged. That is what
//! Dovecot's replication did; who wants one primary at any time asks an etcd ([`crate::failover`]).
//!
//! # Invariants
//! 1. A node that is known to lack what its primary had does not take over: mail programs would
//!    take what is not there yet for deleted.
//! 2. Whoever is seen is waited for: time counts from when the other node was there last, or from
//!    the start of this one.

use std::time::{Duration, Instant};

/// What is seen at a look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sight {
    /// This node follows.
    pub follows: bool,
    /// The other node is connected.
    pub is_connected: bool,
    /// This node once had all that the primary told of, and is not known to lack any of it.
    pub had_all: bool,
    /// A full copy of the other node is on its way here.
    pub becomes_copy: bool,
    /// This node is primary, and asks the other one before it takes changes.
    pub asks_first: bool,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// Nothing.
    Nothing,
    /// The follower opens the next epoch.
    TakeOver,
    /// The primary opens the next epoch, and asks nobody.
    GoOnAlone,
}

/// Who looks.
pub struct MergeMode {
    after: Duration,
    alone_since: Option<Instant>,
    word: &'static str,
}

impl MergeMode {
    /// Of a node that goes on without the other one after that time.
    pub fn new(after: Duration) -> MergeMode {
        MergeMode { after, alone_since: None, word: "merge mode: the other node is there" }
    }

    /// How things stand, for people.
    pub fn word(&self) -> &'static str {
        self.word
    }

    /// Looks once.
    pub fn look(&mut self, now: Instant, sight: Sight) -> Move {
        if sight.is_connected {
            self.alone_since = None;
            self.word = "merge mode: the other node is there";
            return Move::Nothing;
        }
        let since = *self.alone_since.get_or_insert(now);
        let wanted = if sight.follows { self.follow(sight) } else { self.lead(sight) };
        let is_over = now.saturating_duration_since(since) >= self.after;
        if is_over { wanted } else { Move::Nothing }
    }

    /// It is not to be done again at once: it failed, or is on its way.
    pub fn wait_again(&mut self, now: Instant) {
        self.alone_since = Some(now);
    }

    fn follow(&mut self, sight: Sight) -> Move {
        if sight.becomes_copy {
            self.word = "merge mode: a full copy is on its way here, so this node does not take \
                         over by itself";
            return Move::Nothing;
        }
        if !sight.had_all {
            self.word = "merge mode: this node lacks what its primary had, so it does not take \
                         over by itself; 'pillarbox replica promote' makes it";
            return Move::Nothing;
        }
        self.word = "merge mode: this node takes over if its primary stays away";
        Move::TakeOver
    }

    fn lead(&mut self, sight: Sight) -> Move {
        if sight.asks_first {
            self.word = "merge mode: this node goes on in an epoch of its own if the other one \
                         stays away";
            return Move::GoOnAlone;
        }
        self.word = "merge mode: the other node is away, and may take over";
        Move::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLLOWER: Sight = Sight {
        follows: true,
        is_connected: false,
        had_all: true,
        becomes_copy: false,
        asks_first: false,
    };

    /// What is done at these seconds after the start.
    fn looked(sights: &[(u64, Sight)]) -> Vec<Move> {
        let (start, mut mode) = (Instant::now(), MergeMode::new(Duration::from_secs(5)));
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        sights.iter().map(|(seconds, sight)| mode.look(at(*seconds), *sight)).collect()
    }

    #[test]
    fn a_follower_waits_for_its_time_and_from_when_the_primary_was_there_last() {
        let there = Sight { is_connected: true, ..FOLLOWER };
        let sights = [(0, FOLLOWER), (4, FOLLOWER), (4, there), (5, FOLLOWER), (9, FOLLOWER)];
        assert_eq!(looked(&sights), [Move::Nothing; 5]);
        let sights = [(0, there), (1, FOLLOWER), (6, FOLLOWER)];
        assert_eq!(looked(&sights), [Move::Nothing, Move::Nothing, Move::TakeOver]);
    }

    #[test]
    fn a_follower_that_lacks_mail_or_becomes_a_copy_does_not_take_over() {
        for (sight, words) in [
            (Sight { had_all: false, ..FOLLOWER }, "replica promote"),
            (Sight { becomes_copy: true, ..FOLLOWER }, "full copy"),
        ] {
            assert_eq!(looked(&[(0, sight), (600, sight)]), [Move::Nothing; 2]);
            let mut mode = MergeMode::new(Duration::from_secs(5));
            mode.look(Instant::now(), sight);
            assert!(mode.word().contains(words), "{}", mode.word());
        }
    }

    #[test]
    fn a_primary_goes_on_alone_only_where_it_waits_for_the_other_one() {
        let primary = Sight { follows: false, ..FOLLOWER };
        assert_eq!(looked(&[(0, primary), (600, primary)]), [Move::Nothing; 2]);
        let asks = Sight { asks_first: true, ..primary };
        assert_eq!(looked(&[(0, asks), (5, asks)]), [Move::Nothing, Move::GoOnAlone]);
    }

    #[test]
    fn what_failed_is_tried_again_after_the_same_time() {
        let (start, mut mode) = (Instant::now(), MergeMode::new(Duration::from_secs(5)));
        mode.look(start, FOLLOWER);
        let later = start + Duration::from_secs(5);
        assert_eq!(mode.look(later, FOLLOWER), Move::TakeOver);
        mode.wait_again(later);
        assert_eq!(mode.look(later + Duration::from_secs(4), FOLLOWER), Move::Nothing);
        assert_eq!(mode.look(later + Duration::from_secs(5), FOLLOWER), Move::TakeOver);
    }
}
