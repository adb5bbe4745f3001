//! [pure] Times in microseconds, counted in classes that grow with them: a thousand classes for an hour, each within 3 %.

/// How often each time was seen.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    classes: Vec<u64>,
    count: u64,
    most: u64,
}

impl Histogram {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            classes: vec![0; (64 - FINE as usize + 1) << FINE],
            count: 0,
            most: 0,
        }
    }

    /// Notes a time.
    pub(super) fn note(&mut self, micros: u64) {
        let micros = micros.min(LONGEST);
        if let Some(class) = self.classes.get_mut(class_of(micros)) {
            *class += 1;
        }
        self.count += 1;
        self.most = self.most.max(micros);
    }

    /// The time that `percent` of 100 do not pass, at most 3 % too large; 0 if there is none.
    pub(super) fn percentile(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (class, count) in self.classes.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return most_of(class).min(self.most);
            }
        }
        self.most
    }

    /// The longest.
    pub(super) const fn most(&self) -> u64 {
        self.most
    }
}

/// Small numbers have a class each; larger ones share it with those that have the same first bits.
fn class_of(micros: u64) -> usize {
    let bits = 64 - micros.leading_zeros();
    let shift = bits.saturating_sub(FINE + 1);
    (shift as usize) * (1 << FINE) + usize::try_from(micros >> shift).unwrap_or(usize::MAX)
}

/// The largest number of a class.
fn most_of(class: usize) -> u64 {
    let shift = (class >> FINE).saturating_sub(1);
    let start = (class - (shift << FINE)) as u64;
    ((start + 1) << shift) - 1
}

/// Twelve days, in microseconds: longer than any run.
const LONGEST: u64 = 1 << 40;

/// Bits behind the first one that tell classes apart.
const FINE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_its_class() {
        let mut last = 0;
        for number in (0..100_000).chain((17..63).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + power / 3]
        })) {
            let class = class_of(number);
            assert!(class >= last, "{number}");
            last = class;
            assert!(number <= most_of(class), "{number}");
            assert!(most_of(class) <= number + number / 32, "{number}");
        }
    }

    #[test]
    fn percentiles_are_of_all_that_was_noted() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.percentile(50), 0);
        for micros in 1..=1_000 {
            histogram.note(micros);
        }
        assert!((500..=515).contains(&histogram.percentile(50)));
        assert!((990..=1_000).contains(&histogram.percentile(99)));
        assert_eq!(
            (histogram.percentile(100), histogram.most()),
            (1_000, 1_000)
        );
    }
}
