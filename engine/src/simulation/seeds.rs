//! Seeds: many of them, one, or one with steps left out until nothing more can go.
//!
//! # Life cycle of a violation
//! A run panics; its seed is run again and again without some of its steps, as long as it still
//! panics (delta debugging, with halves first and single steps last); what is left is printed as
//! one command. A step draws from the seed and its own number, so the others stay as they were.

use super::run::{Run, Tally};
use crate::sabotage::{self, Sabotage};

/// The first seed of an ordinary run. Seed 1 is open (docs/reliability.md).
const FIRST: u64 = 2;
/// Runs that shrinking may take.
const TRIES_MAX: usize = 400;

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).ok().filter(|given| !given.is_empty());
    given.map_or(otherwise, |given| given.parse().expect("a number"))
}

/// Runs some of a seed's steps; `None` if that found a violation.
fn run(seed: u64, steps: u64, chosen: &dyn Fn(u64) -> bool) -> Option<Tally> {
    let run = || Run::new(seed).go(steps, chosen);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).ok()
}

/// Runs seeds from `first` on; answers the sum of what they did, or the first that found a
/// violation.
fn run_seeds(first: u64, count: u64, steps: u64) -> Result<Tally, u64> {
    let mut total = Tally::default();
    for seed in first..first + count {
        total += run(seed, steps, &|_| true).ok_or(seed)?;
    }
    Ok(total)
}

/// The steps of a failing run that cannot be left out one by one.
fn shrink(seed: u64, steps: u64) -> Vec<u64> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut left: Vec<u64> = (1..=steps + 1).collect();
    let mut tries = 0;
    let mut piece = left.len().div_ceil(2);
    loop {
        let before = left.len();
        // From the end: what comes late depends on what came early.
        let mut end = left.len();
        while end > 0 && tries < TRIES_MAX {
            let start = end.saturating_sub(piece);
            let kept: Vec<u64> = [&left[..start], &left[end..]].concat();
            tries += 1;
            if run(seed, steps, &|number| kept.binary_search(&number).is_ok()).is_none() {
                left = kept;
            }
            end = start;
        }
        if tries >= TRIES_MAX || (piece == 1 && left.len() == before) {
            break;
        }
        piece = if piece == 1 { 1 } else { piece.div_ceil(2) };
    }
    std::panic::set_hook(hook);
    left
}

/// `1-3,7`, as `KEEP` takes it.
fn ranges_of(steps: &[u64]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &step in steps {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == step => *last = step,
            _ => ranges.push((step, step)),
        }
    }
    let word = |(first, last): &(u64, u64)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(word).collect::<Vec<_>>().join(",")
}

fn ranges_from(text: &str) -> Vec<(u64, u64)> {
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        (first.parse().expect("a step"), last.parse().expect("a step"))
    };
    text.split(',').filter(|word| !word.is_empty()).map(range).collect()
}

/// `make simulate` chooses other seeds than the ordinary ones, and may break a promise.
#[test]
fn random_runs_keep_every_promise() {
    let first = number("PILLARBOX_SEED", FIRST);
    let count = number("PILLARBOX_SEEDS", 80);
    let steps = number("PILLARBOX_STEPS", 250);
    let keep = ranges_from(&std::env::var("PILLARBOX_KEEP").unwrap_or_default());
    let broken = std::env::var("PILLARBOX_BREAK").unwrap_or_default();
    let broken = Sabotage::ALL.into_iter().find(|(_, name)| *name == broken);
    sabotage::set(broken.map(|(which, _)| which));
    let broken = broken.map(|(_, name)| format!(" BREAK={name}")).unwrap_or_default();
    if !keep.is_empty() {
        let is_kept = |step| keep.iter().any(|(first, last)| (*first..=*last).contains(&step));
        assert!(run(first, steps, &is_kept).is_some(), "seed {first}: the violation is above");
        return;
    }
    match run_seeds(first, count, steps) {
        Ok(total) => println!("{count} seeds: {total:?}"),
        Err(seed) => {
            let left = shrink(seed, steps);
            panic!(
                "seed {seed} found a violation; {} of its {steps} steps are enough; replay it \
                 with: make simulate SEED={seed} STEPS={steps} KEEP={}{broken}",
                left.len(),
                ranges_of(&left),
            )
        }
    }
}

#[test]
fn every_broken_promise_is_noticed() {
    // What is broken on purpose need not be told step by step.
    std::panic::set_hook(Box::new(|_| {}));
    let mut unnoticed = Vec::new();
    for (which, name) in Sabotage::ALL {
        sabotage::set(Some(which));
        match run_seeds(FIRST, 60, 250) {
            Ok(_) => unnoticed.push(name),
            Err(seed) => println!("{name}: noticed with seed {seed}"),
        }
    }
    sabotage::set(None);
    drop(std::panic::take_hook());
    assert!(unnoticed.is_empty(), "breaking these was not noticed: {unnoticed:?}");
}

#[test]
fn a_failing_run_shrinks_to_few_steps_that_fail_again() {
    std::panic::set_hook(Box::new(|_| {}));
    sabotage::set(Some(Sabotage::Answer));
    let seed = run_seeds(1, 60, 250).expect_err("it is noticed");
    let left = shrink(seed, 250);
    let words = ranges_of(&left);
    let again = ranges_from(&words);
    let is_kept = |step| again.iter().any(|(first, last)| (*first..=*last).contains(&step));
    let found = run(seed, 250, &is_kept);
    sabotage::set(None);
    drop(std::panic::take_hook());
    assert!(found.is_none(), "seed {seed}, steps {words}: the violation is still there");
    assert!(left.len() < 20, "{words}");
}
