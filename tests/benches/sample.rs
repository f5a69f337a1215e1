//! Measured values and what is quoted of them.

use std::time::Instant;

use serde::Serialize;

/// Median and range of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// The middle one.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The most.
    pub(crate) max: f64,
    /// 99 of 100 are no more than this.
    pub(crate) p99: f64,
    /// How many.
    pub(crate) count: usize,
}

impl Sample {
    /// Of at least one value.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: usize| {
            let index = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
            sorted.get(index).copied().unwrap_or(f64::NAN)
        };
        Self {
            median: at(50),
            min: at(0),
            max: sorted.last().copied().unwrap_or(f64::NAN),
            p99: at(99),
            count: sorted.len(),
        }
    }
}

/// The middle one of some values.
pub(crate) fn median(values: &[f64]) -> f64 {
    Sample::of(values).median
}

/// Milliseconds since.
pub(crate) fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Microseconds since.
pub(crate) fn us(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn the_middle_and_the_ends() {
        let sample = Sample::of(&[3.0, 1.0, 2.0]);
        assert_eq!((sample.median, sample.min, sample.max), (2.0, 1.0, 3.0));
    }
}
