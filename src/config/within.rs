//! A number that lies between two others, or is not read: so a wrong one is refused with its line.

use std::time::Duration;

use engine::width::{u64_of, usize_of, usize_of_u32};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// A number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Within<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Within<MIN, MAX> {
    /// A default.
    pub(crate) const fn of(value: u64) -> Self {
        assert!(MIN <= value && value <= MAX, "a default lies within its bounds");
        Within(value)
    }

    /// It.
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// It, of what is counted in memory.
    pub(crate) fn count(self) -> usize {
        usize_of(self.0)
    }

    /// It, of what is counted in 32 bits, as its bounds say.
    pub(crate) fn count_u32(self) -> u32 {
        const { assert!(MAX <= u64_of(usize_of_u32(u32::MAX)), "a count that fits") };
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    /// It, in seconds.
    pub(crate) fn seconds(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // TOML's numbers have 64 bits and a sign.
        let value = i64::deserialize(deserializer)?;
        match u64::try_from(value) {
            Ok(fits) if (MIN..=MAX).contains(&fits) => Ok(Within(fits)),
            _ => Err(D::Error::custom(format!("{value} does not lie between {MIN} and {MAX}"))),
        }
    }
}
