//! A test cut into equal windows.

/// Widths of windows, in milliseconds.
const WIDTHS_MS: [u64; 12] =
    [250, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000];
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bins {
    pub(crate) width_ns: u64,
    pub(crate) count: usize,
}

impl Bins {
    /// At most so many, round where that can be.
    pub(crate) fn of(span_ns: u64, most: u64) -> Self {
        let widths = WIDTHS_MS.iter().map(|width| width * 1_000_000);
        let fits = |width: &u64| span_ns / width < most;
        let width_ns = widths.clone().find(fits).unwrap_or(span_ns / most + 1);
        let count = usize::try_from(span_ns / width_ns + 1).unwrap_or(1);
        Self { width_ns, count }
    }

    /// The window of a moment; what is later belongs to the last one.
    pub(crate) fn index(self, ns: u64) -> usize {
        usize::try_from(ns / self.width_ns).unwrap_or(usize::MAX).min(self.count - 1)
    }

    pub(crate) fn begins_ns(self, index: usize) -> u64 {
        self.width_ns.saturating_mul(u64::try_from(index).unwrap_or(u64::MAX))
    }

    pub(crate) const fn width_ms(self) -> u64 {
        self.width_ns / 1_000_000
    }

    /// `0.25 s`.
    pub(crate) fn width(self) -> String {
        format!("{} s", super::numbers::plain(self.width_ms() as f64 / 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_round_and_not_too_many() {
        let cases =
            [(1, 250, 5), (39, 250, 157), (60, 500, 121), (600, 5_000, 121), (3_600, 30_000, 121)];
        for (span_s, width_ms, count) in cases {
            let bins = Bins::of(span_s * 1_000_000_000, 160);
            assert_eq!((bins.width_ms(), bins.count), (width_ms, count), "{span_s} s");
        }
        let bins = Bins::of(1_000_000_000, 160);
        assert_eq!((bins.index(0), bins.index(250_000_000), bins.index(u64::MAX)), (0, 1, 4));
        assert_eq!((bins.begins_ns(2), bins.width()), (500_000_000, String::from("0.25 s")));
        assert!(Bins::of(u64::MAX, 160).count <= 161);
    }
}
