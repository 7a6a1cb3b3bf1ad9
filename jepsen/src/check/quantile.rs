//! Many figures as a few.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Figures to be summed up.
#[derive(Clone, Debug)]
pub(crate) struct Quantiles {
    histogram: Option<Histogram<u64>>,
    /// To the last digit.
    max: u64,
}

impl Quantiles {
    pub(crate) fn new() -> Self {
        // It fails for numbers of digits that are out of range, which this one is not.
        Self { histogram: Histogram::new(3).ok(), max: 0 }
    }

    pub(crate) fn of(values: impl IntoIterator<Item = u64>) -> Self {
        let mut quantiles = Self::new();
        values.into_iter().for_each(|value| quantiles.add(value));
        quantiles
    }

    pub(crate) fn add(&mut self, value: u64) {
        self.max = self.max.max(value);
        if let Some(histogram) = &mut self.histogram {
            // It grows as it must.
            let _ = histogram.record(value);
        }
    }

    /// Null where there are none.
    pub(crate) fn to_value(&self) -> Value {
        let Some(known) = self.histogram.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return Value::Null;
        };
        json!({
            "count": known.len(),
            "p50": known.value_at_quantile(0.5),
            "p99": known.value_at_quantile(0.99),
            "max": self.max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_summed_up_and_none_are_nothing() {
        assert_eq!(Quantiles::new().to_value(), Value::Null);
        let told = Quantiles::of(1..=100).to_value();
        assert_eq!(told, json!({"count": 100, "p50": 50, "p99": 99, "max": 100}));
    }
}
