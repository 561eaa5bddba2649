//! The lease keeper against an etcd that is played: random delays, losses, pauses, outages, clocks
//! that run fast or slow; and somebody who takes the volume the moment that the lease is gone.

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const TERM: Term = Term(3);

fn at(nanoseconds: u64) -> Moment {
    Moment::from_nanoseconds(nanoseconds)
}

fn lease(number: i64) -> LeaseId {
    LeaseId::new(number).unwrap()
}

fn keeper(seconds: u32) -> LeaseKeeper {
    LeaseKeeper::new(seconds, Duration::from_secs(1))
}

fn granted(number: i64, seconds: u32) -> Report {
    Report::Granted { lease: lease(number), seconds, term: TERM }
}

fn renewed(seconds: u32) -> Report {
    Report::Renewed { seconds, term: TERM }
}

/// A keeper of a lease of 3 seconds, granted at 0 and bound.
fn bound() -> LeaseKeeper {
    let mut keeper = keeper(3);
    assert!(matches!(keeper.step(at(0)), Step::Do(Deed::Grant { seconds: 3, .. })));
    keeper.report(at(SECOND / 10), granted(1, 3));
    assert_eq!(keeper.step(at(SECOND / 5)), Step::Do(Deed::Bind(lease(1))));
    assert!(!keeper.is_held(at(SECOND / 5)), "granted is not bound");
    keeper.report(at(SECOND / 4), Report::Bound);
    keeper
}

fn is_renewal(step: Step) -> bool {
    matches!(step, Step::Do(Deed::Renew { lease: found, .. }) if found == lease(1))
}

#[test]
fn time_is_counted_from_before_the_request() {
    let mut keeper = bound();
    // From 0, when the grant was handed out: not from its answer, nor from the binding.
    let end = 3 * SECOND - 3 * SECOND / 10;
    assert!(keeper.is_held(at(end - 1)) && !keeper.is_held(at(end)));
    assert_eq!(keeper.step(at(SECOND / 2)), Step::Wait(at(SECOND)), "a third of the time");
    assert!(is_renewal(keeper.step(at(SECOND + 5))));
    keeper.report(at(2 * SECOND), renewed(3));
    assert!(keeper.is_held(at(SECOND + 5 + end - 1)) && !keeper.is_held(at(SECOND + 5 + end)));
    assert_eq!(keeper.step(at(2 * SECOND)), Step::Wait(at(2 * SECOND + 5)));
}

#[test]
fn a_renewal_that_fails_is_repeated_soon_and_lets_the_lease_lapse() {
    let mut keeper = bound();
    assert!(is_renewal(keeper.step(at(SECOND))));
    keeper.report(at(SECOND * 3 / 2), Report::Failed);
    let soon = SECOND * 3 / 2 + 3 * SECOND / 24;
    assert_eq!(keeper.step(at(SECOND * 3 / 2)), Step::Wait(at(soon)));
    assert!(is_renewal(keeper.step(at(soon))));
    keeper.report(at(soon), Report::Failed);
    assert!(!keeper.is_held(at(3 * SECOND)));
}

#[test]
fn what_lapsed_here_is_bound_anew() {
    let mut keeper = bound();
    let late = 10 * SECOND;
    assert!(is_renewal(keeper.step(at(late))));
    keeper.report(at(late + 1), renewed(3));
    assert!(!keeper.is_held(at(late + 1)), "a member that was paused may have said so");
    assert_eq!(keeper.step(at(late + 2)), Step::Do(Deed::Bind(lease(1))));
    keeper.report(at(late + 3), Report::Bound);
    assert!(keeper.is_held(at(late + 3)));
    assert!(!keeper.is_held(at(late + 3 * SECOND)));
}

#[test]
fn an_answer_from_an_earlier_leaders_term_counts_as_none() {
    let mut keeper = bound();
    assert!(is_renewal(keeper.step(at(SECOND))));
    keeper.report(at(SECOND), Report::Renewed { seconds: 3, term: Term(TERM.0 + 1) });
    assert!(is_renewal(keeper.step(at(2 * SECOND))));
    keeper.report(at(2 * SECOND), renewed(3));
    assert!(keeper.is_held(at(3 * SECOND)), "as of the renewal before");
    assert!(!keeper.is_held(at(4 * SECOND)));
}

#[test]
fn a_lease_that_etcd_does_not_know_is_gone_at_once() {
    let mut keeper = bound();
    assert!(is_renewal(keeper.step(at(SECOND))));
    keeper.report(at(SECOND + 1), Report::Unknown);
    assert!(!keeper.is_held(at(SECOND + 1)));
    assert!(matches!(keeper.step(at(SECOND + 1)), Step::Do(Deed::Grant { .. })), "another");
    keeper.report(at(SECOND + 2), granted(2, 3));
    assert_eq!(keeper.step(at(SECOND + 2)), Step::Do(Deed::Bind(lease(2))));
    keeper.report(at(SECOND + 3), Report::Unknown);
    assert!(matches!(keeper.step(at(SECOND + 3)), Step::Do(Deed::Grant { .. })), "and another");
}

#[test]
fn who_is_deposed_or_stopped_holds_nothing_any_more() {
    let mut deposed = bound();
    assert!(is_renewal(deposed.step(at(10 * SECOND))));
    deposed.report(at(10 * SECOND), renewed(3));
    assert_eq!(deposed.step(at(10 * SECOND)), Step::Do(Deed::Bind(lease(1))));
    deposed.report(at(10 * SECOND), Report::Deposed);
    let mut stopped = bound();
    assert!(is_renewal(stopped.step(at(SECOND))));
    assert_eq!(stopped.stop(), Some(lease(1)));
    stopped.report(at(SECOND), renewed(3));
    for mut keeper in [deposed, stopped] {
        assert!(!keeper.is_held(at(SECOND)));
        assert_eq!(keeper.step(at(11 * SECOND)), Step::Over);
        assert_eq!(keeper.stop(), None);
    }
}

#[test]
fn what_etcd_says_of_the_time_is_believed_within_bounds() {
    let mut keeper = keeper(1);
    assert!(matches!(keeper.step(at(0)), Step::Do(Deed::Grant { seconds: 2, .. })));
    keeper.report(at(0), granted(1, u32::MAX));
    assert!(matches!(keeper.step(at(0)), Step::Do(Deed::Bind(_))));
    keeper.report(at(0), Report::Bound);
    assert!(!keeper.is_held(at(u64::from(LEASE_SECONDS_MAX) * SECOND)));
}

/// etcd, as far as one volume's lease goes. Its time is the true one.
#[derive(Default)]
struct Played {
    granted: i64,
    /// The lease and when it runs out.
    live: Option<(LeaseId, u64)>,
    /// The lease that the key is bound to.
    bound: Option<LeaseId>,
    /// Since when another epoch stands there.
    taken: Option<u64>,
}

impl Played {
    /// Time passes. Whoever wants the volume takes it as soon as no key says that it is leased.
    fn pass(&mut self, now: u64, is_wanted: bool) {
        if let Some((id, end)) = self.live
            && end <= now
        {
            self.live = None;
            if self.bound == Some(id) {
                self.bound = None;
                if is_wanted && self.taken.is_none() {
                    self.taken = Some(end);
                }
            }
        }
    }

    fn perform(&mut self, now: u64, deed: Deed, seconds: u32) -> Report {
        let end = now + u64::from(seconds) * SECOND;
        let knows = |live: Option<(LeaseId, u64)>, id| live.is_some_and(|(known, _)| known == id);
        match deed {
            Deed::Grant { .. } => {
                self.granted += 1;
                // One that was granted before and never bound runs out unseen.
                self.live = Some((lease(self.granted), end));
                Report::Granted { lease: lease(self.granted), seconds, term: TERM }
            }
            Deed::Bind(_) if self.taken.is_some() => Report::Deposed,
            Deed::Bind(id) if knows(self.live, id) => {
                self.bound = Some(id);
                Report::Bound
            }
            Deed::Renew { lease: id, .. } if knows(self.live, id) => {
                self.live = Some((id, end));
                Report::Renewed { seconds, term: TERM }
            }
            Deed::Bind(_) | Deed::Renew { .. } => Report::Unknown,
        }
    }
}

/// What happens to one deed: milliseconds, and whether request or answer are lost.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// The process is paused before it sends.
    paused: u64,
    there: u64,
    back: u64,
    is_request_lost: bool,
    is_answer_lost: bool,
    /// The process is paused before it reads the answer.
    paused_after: u64,
}

fn fate() -> impl Strategy<Value = Fate> {
    let delay = || prop_oneof![6 => 0_u64..40, 2 => 0_u64..700, 1 => 0_u64..6000];
    let pause = || prop_oneof![8 => Just(0_u64), 1 => 0_u64..1000, 1 => 0_u64..9000];
    let lost = || prop_oneof![7 => Just(false), 1 => Just(true)];
    (pause(), delay(), delay(), lost(), lost(), pause()).prop_map(
        |(paused, there, back, is_request_lost, is_answer_lost, paused_after)| Fate {
            paused,
            there,
            back,
            is_request_lost,
            is_answer_lost,
            paused_after,
        },
    )
}

/// How often the lease was looked at since it was first held, and was held, or not.
#[derive(Clone, Copy, Default, Debug)]
struct Looks {
    held: u64,
    not_held: u64,
}

/// Plays the fates one after the other, and looks at the lease all the time, as a committer might.
fn play(seconds: u32, rate: u64, is_wanted: bool, fates: &[Fate]) -> Result<Looks, TestCaseError> {
    const MILLISECOND: u64 = 1_000_000;
    // The keeper's clock shows `rate` thousandths of the true time.
    let shown = |time: u64| at(time / 1000 * rate);
    let (mut etcd, mut keeper, mut now) = (Played::default(), keeper(seconds), 0_u64);
    let mut looks = Looks::default();
    let mut check = |etcd: &Played, keeper: &LeaseKeeper, now: u64| {
        if !keeper.is_held(shown(now)) {
            looks.not_held += u64::from(looks.held > 0);
        } else {
            looks.held += 1;
            prop_assert!(etcd.bound.is_some(), "held at {now}, and its key is not there");
            prop_assert!(etcd.taken.is_none(), "held at {now}, and taken at {:?}", etcd.taken);
        }
        Ok(())
    };
    for fate in fates {
        let deed = loop {
            etcd.pass(now, is_wanted);
            check(&etcd, &keeper, now)?;
            match keeper.step(shown(now)) {
                Step::Do(deed) => break deed,
                Step::Wait(_) => now += 7 * MILLISECOND,
                Step::Over => return Ok(looks),
            }
        };
        let mut until = |etcd: &mut Played, keeper: &LeaseKeeper, end: u64| {
            while now < end {
                now = (now + 5 * MILLISECOND).min(end);
                etcd.pass(now, is_wanted);
                check(etcd, keeper, now)?;
            }
            Ok::<u64, TestCaseError>(now)
        };
        let sent = until(&mut etcd, &keeper, 0)?;
        let arrival = sent + (fate.paused + fate.there) * MILLISECOND;
        let arrived = until(&mut etcd, &keeper, arrival)?;
        let answer = match fate.is_request_lost {
            true => Report::Failed,
            false => etcd.perform(arrived, deed, seconds),
        };
        let answer = if fate.is_answer_lost { Report::Failed } else { answer };
        let back = arrived + (fate.back + fate.paused_after) * MILLISECOND;
        let read = until(&mut etcd, &keeper, back)?;
        keeper.report(shown(read), answer);
        check(&etcd, &keeper, read)?;
    }
    Ok(looks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Invariant 1: whoever is paused, unlucky or slow never holds what another has.
    #[test]
    fn what_is_held_here_nobody_else_can_have(
        seconds in 2_u32..8, rate in 910_u64..1100, is_wanted: bool,
        fates in proptest::collection::vec(fate(), 1..40),
    ) {
        play(seconds, rate, is_wanted, &fates)?;
    }

    /// And it is held at all: with answers in time, from the binding on without a gap.
    #[test]
    fn with_answers_in_time_it_is_held_all_the_time(
        seconds in 2_u32..8, rate in 910_u64..1100,
        delays in proptest::collection::vec((0_u64..150, 0_u64..150), 6..40),
    ) {
        let fate = |&(there, back): &(u64, u64)| Fate {
            paused: 0, there, back,
            is_request_lost: false, is_answer_lost: false, paused_after: 0,
        };
        let fates: Vec<Fate> = delays.iter().map(fate).collect();
        let looks = play(seconds, rate, true, &fates)?;
        prop_assert!(looks.held > 0 && looks.not_held == 0, "{looks:?}");
    }
}
