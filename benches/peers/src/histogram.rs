//! A histogram of latencies in a fixed table, exact to about 3 %. Takes nanoseconds; recording must never allocate.

/// Number of buckets for each doubling of the latency.
const STEPS: u32 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
const BUCKETS: usize = (64 * STEPS) as usize;

/// The number of measurements in each bucket.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one measurement.
    pub fn record(&mut self, value_ns: u64) {
        self.counts[bucket_of(value_ns)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(value_ns);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.max_ns = 0;
    }

    /// How many measurements there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The largest measurement.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The value that `thousandths` in a thousand measurements do not exceed; 0 without any measurement.
    pub fn quantile_ns(&self, thousandths: u64) -> u64 {
        let rank = (self.total * thousandths).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return upper_end_of(bucket).min(self.max_ns);
            }
        }
        0
    }
}

fn bucket_of(value_ns: u64) -> usize {
    if value_ns < u64::from(STEPS) {
        return value_ns as usize;
    }
    let shift = value_ns.ilog2() - STEP_BITS;
    ((shift + 1) * STEPS) as usize + ((value_ns >> shift) as usize - STEPS as usize)
}

fn upper_end_of(bucket: usize) -> u64 {
    let (row, step) = (bucket as u64 / u64::from(STEPS), bucket as u64 % u64::from(STEPS));
    if row == 0 {
        return step;
    }
    let shift = row - 1;
    ((u64::from(STEPS) + step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_ends_within_a_thirtieth_above_it() {
        for value in (0..2000).chain((0..40).map(|bit| (1u64 << bit) + 3)) {
            let end = upper_end_of(bucket_of(value));
            assert!(end >= value && end <= value + value / 30, "{value} -> {end}");
        }
    }

    #[test]
    fn quantiles_of_a_thousand_even_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ns(500), 0);
        (1..=1000).for_each(|value| histogram.record(value * 1000));
        assert!((500_000..=516_000).contains(&histogram.quantile_ns(500)));
        assert!((990_000..=1_000_000).contains(&histogram.quantile_ns(990)));
        assert_eq!((histogram.max_ns(), histogram.total()), (1_000_000, 1000));
    }
}
