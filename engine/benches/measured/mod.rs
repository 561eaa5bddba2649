//! Figures of threads and of this process, and mail of the corpus, for benches that are no loops of
//! Criterion.

#![allow(
    dead_code,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "each bench uses a part, and may fail loudly"
)]

use std::path::{Path, PathBuf};

use engine::message::generator::Generator;

/// A number from the environment.
pub(crate) fn number_of(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |given| given.parse().expect("a number"))
}

/// Nanoseconds that this thread has worked.
pub(crate) fn worked() -> u64 {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    figures.split(' ').next().unwrap().parse().unwrap()
}

/// Nanoseconds that the threads of this process with that name have worked.
pub(crate) fn worked_by(name: &str) -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        // A thread may end meanwhile.
        let read = |file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        if read("comm").trim() == name {
            sum += read("schedstat").split(' ').next().unwrap().parse().unwrap_or(0);
        }
    }
    sum
}

/// Resident memory of this process, in KiB.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn collect(folder: &Path, found: &mut Vec<Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "eml") {
            found.push(std::fs::read(path).unwrap());
        }
    }
}

/// Messages of the corpus, or made ones, with a line of their own each.
pub(crate) fn corpus(count: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    if let Some(folder) = std::env::var_os("PILLARBOX_CORPUS") {
        collect(Path::new(&folder), &mut found);
    }
    if found.is_empty() {
        let mut generator = Generator::new(5);
        found = (0..2000).map(|number| generator.message(number)).collect();
    }
    let all = found.iter().cycle().enumerate().take(count);
    all.map(|(number, message)| {
        [format!("X-Number: {number}x\r\n").into_bytes(), message.clone()].concat()
    })
    .collect()
}

/// The median.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Median, and between which two of the values it lies at 95 of 100 (order statistics: whatever the
/// values are distributed like).
pub(crate) fn median_between(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (count, half) = (sorted.len() as f64, sorted.len() as f64 / 2.0);
    let away = 1.96 * count.sqrt() / 2.0;
    let low = (half - away).floor().max(0.0) as usize;
    let high = ((half + away).ceil() as usize).min(sorted.len() - 1);
    (sorted[low], sorted[sorted.len() / 2], sorted[high])
}
