//! What a guest may cost us: a token bucket for requests and one a kind of log line. Time comes in as a value.

use std::time::Duration;

/// So many at once, then one every `interval`.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    capacity: u32,
    interval: Duration,
    tokens: u32,
    /// The tokens that time has earned are counted up to here.
    counted: Duration,
}

impl TokenBucket {
    /// Full. A capacity of 0 counts as 1, and an interval of 0 as no limit.
    pub fn new(capacity: u32, interval: Duration) -> Self {
        let capacity = capacity.max(1);
        Self {
            capacity,
            interval,
            tokens: capacity,
            counted: Duration::ZERO,
        }
    }

    /// Takes a token at `now`, the time since some fixed moment; else how long it is until there is one.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        self.refill(now);
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                Ok(())
            }
            None => Err(self
                .counted
                .saturating_add(self.interval)
                .saturating_sub(now)),
        }
    }

    fn refill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.counted);
        let Some(earned) = elapsed.as_nanos().checked_div(self.interval.as_nanos()) else {
            self.tokens = self.capacity;
            return;
        };
        match u32::try_from(earned) {
            Ok(earned) if earned < self.capacity - self.tokens => {
                self.tokens += earned;
                self.counted += self.interval * earned;
            }
            // Full: time beyond that earns nothing.
            _ => {
                self.tokens = self.capacity;
                self.counted = self.counted.max(now);
            }
        }
    }
}

/// One kind of log line: a few at once, then few and far between, with the number of those left out.
#[derive(Debug)]
pub struct LogBudget {
    bucket: TokenBucket,
    left_out: u64,
}

impl LogBudget {
    /// Eight lines, then one every ten seconds.
    pub fn new() -> Self {
        Self {
            bucket: TokenBucket::new(8, Duration::from_secs(10)),
            left_out: 0,
        }
    }

    /// Whether to write a line at `now`, and how many were left out since the last.
    pub fn line(&mut self, now: Duration) -> Option<u64> {
        if self.bucket.take(now).is_ok() {
            Some(std::mem::take(&mut self.left_out))
        } else {
            self.left_out = self.left_out.saturating_add(1);
            None
        }
    }
}

impl Default for LogBudget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_then_a_rate() {
        let mut bucket = TokenBucket::new(2, at(100));
        assert_eq!(bucket.take(at(0)), Ok(()));
        assert_eq!(bucket.take(at(0)), Ok(()));
        assert_eq!(bucket.take(at(30)), Err(at(70)));
        assert_eq!(bucket.take(at(100)), Ok(()));
        assert_eq!(bucket.take(at(199)), Err(at(1)));
        assert_eq!(bucket.take(at(200)), Ok(()));
    }

    #[test]
    fn idleness_fills_it_no_further() {
        let mut bucket = TokenBucket::new(2, at(100));
        bucket.take(at(0)).unwrap();
        for _ in 0..2 {
            assert_eq!(bucket.take(at(1_000_000)), Ok(()));
        }
        assert_eq!(bucket.take(at(1_000_000)), Err(at(100)));
    }

    #[test]
    fn time_that_stands_still_or_goes_back_earns_nothing() {
        let mut bucket = TokenBucket::new(1, at(100));
        assert_eq!(bucket.take(at(500)), Ok(()));
        assert_eq!(bucket.take(at(400)), Err(at(200)));
        assert_eq!(bucket.take(at(600)), Ok(()));
        assert!(
            TokenBucket::new(1, Duration::ZERO)
                .take(Duration::MAX)
                .is_ok()
        );
        assert!(
            TokenBucket::new(1, Duration::from_nanos(1))
                .take(Duration::MAX)
                .is_ok()
        );
    }

    #[test]
    fn lines_left_out_are_counted() {
        let mut log = LogBudget::new();
        for _ in 0..8 {
            assert_eq!(log.line(at(0)), Some(0));
        }
        assert_eq!(log.line(at(1)), None);
        assert_eq!(log.line(at(2)), None);
        assert_eq!(log.line(at(10_000)), Some(2));
    }
}
