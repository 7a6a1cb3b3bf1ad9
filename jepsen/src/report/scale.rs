//! Axes: where a value lies, and which values are written beside it.

use super::numbers;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    Linear {
        low: f64,
        high: f64,
    },
    /// By powers of ten; nothing is below `low`, which is more than zero.
    Log {
        low: f64,
        high: f64,
    },
}

impl Scale {
    /// From 0 at the lower end to 1 at the upper one; what is outside lies on the edge.
    pub(crate) fn at(self, value: f64) -> f64 {
        let (value, low, high) = match self {
            Self::Linear { low, high } => (value, low, high),
            Self::Log { low, high } => (value.max(low).log10(), low.log10(), high.log10()),
        };
        if high <= low { 0.0 } else { ((value - low) / (high - low)).clamp(0.0, 1.0) }
    }
}

/// A line across, with its text where it has one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub(crate) scale: Scale,
    pub(crate) ticks: Vec<Tick>,
}

impl Axis {
    /// With about so many round values; both ends lie on one.
    pub(crate) fn linear((low, high): (f64, f64), about: u32) -> Self {
        let (low, high) = if high - low < 1e-9 { (low, low + 1.0) } else { (low, high) };
        let step = step((high - low) / f64::from(about.max(1)));
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        let ticks = stepped(low, high, step);
        let ticks =
            ticks.into_iter().map(|value| Tick { value, label: Some(numbers::plain(value)) });
        Self { scale: Scale::Linear { low, high }, ticks: ticks.collect() }
    }

    /// Of milliseconds, over whole decades.
    pub(crate) fn log_ms((low, high): (f64, f64)) -> Self {
        let first = low.max(1e-3).log10().floor();
        let last = high.max(1e-3).log10().ceil().max(first + 1.0);
        let mut ticks = Vec::new();
        for power in stepped(first, last, 1.0) {
            let value = 10f64.powf(power);
            ticks.push(Tick { value, label: Some(milliseconds(value)) });
            if power < last - 0.5 {
                ticks.extend((2..10).map(|of| Tick { value: value * f64::from(of), label: None }));
            }
        }
        let scale = Scale::Log { low: 10f64.powf(first), high: 10f64.powf(last) };
        Self { scale, ticks }
    }
}

/// The round number (1, 2 or 5, and zeros) that is nearest above.
fn step(at_least: f64) -> f64 {
    let power = 10f64.powf(at_least.max(1e-9).log10().floor());
    let round = [1.0, 2.0, 5.0].into_iter().find(|round| at_least <= round * power * 1.000_001);
    round.unwrap_or(10.0) * power
}

/// Multiples of the step from `low` to `high`, at most 200.
fn stepped(low: f64, high: f64, step: f64) -> Vec<f64> {
    let first = (low / step - 1e-6).ceil();
    let values = (0..200).map(|number| (first + f64::from(number)) * step);
    values.take_while(|value| *value <= high + step * 1e-6).collect()
}

fn milliseconds(value: f64) -> String {
    if value < 0.999 {
        format!("{} µs", numbers::plain(value * 1e3))
    } else if value < 999.0 {
        format!("{} ms", numbers::plain(value))
    } else {
        format!("{} s", numbers::plain(value / 1e3))
    }
}

/// Steps of clocks, in seconds.
const TIME_STEPS: [f64; 18] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0,
    3_600.0, 7_200.0, 21_600.0,
];

/// Round moments of a test that lasts so long; values are seconds.
pub(crate) fn moments(span_s: f64) -> Vec<Tick> {
    let fits = |step: &&f64| span_s / **step <= 12.0;
    let step = TIME_STEPS.iter().find(fits).copied().unwrap_or_else(|| step(span_s / 12.0));
    let minutes = 120.0 < span_s && 15.0 <= step;
    let ticks = stepped(0.0, span_s, step).into_iter();
    let label = |value: f64| match minutes {
        true => format!("{}:{:02} min", (value / 60.0).floor(), value % 60.0),
        false => format!("{} s", numbers::plain(value)),
    };
    ticks.map(|value| Tick { value, label: Some(label(value)) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> String {
        let labels: Vec<&str> = ticks.iter().filter_map(|tick| tick.label.as_deref()).collect();
        labels.join(" ")
    }

    #[test]
    fn linear_axes_have_round_values() {
        let cases = [
            ((0.0, 7.0), 5, "0 2 4 6 8"),
            ((0.0, 100.0), 5, "0 20 40 60 80 100"),
            ((0.0, 1_234.0), 4, "0 500 1,000 1,500"),
            ((-0.8, 0.3), 4, "−1 −0.5 0 0.5"),
            ((3.0, 3.0), 2, "3 3.5 4"),
            ((0.0, 0.0), 1, "0 1"),
            ((19.7, 31.2), 5, "15 20 25 30 35"),
        ];
        for ((low, high), about, expected) in cases {
            let axis = Axis::linear((low, high), about);
            assert_eq!(labels(&axis.ticks), expected, "{low} to {high}");
            assert!(axis.scale.at(low) <= axis.scale.at(high));
        }
    }

    #[test]
    fn logarithmic_axes_have_whole_decades() {
        let cases = [
            ((0.4, 1_200.0), "100 µs 1 ms 10 ms 100 ms 1 s 10 s"),
            ((1.0, 1.0), "1 ms 10 ms"),
            ((0.0, 0.0), "1 µs 10 µs"),
        ];
        for ((low, high), expected) in cases {
            let axis = Axis::log_ms((low, high));
            assert_eq!(labels(&axis.ticks), expected, "{low} to {high}");
        }
        let scale = Axis::log_ms((1.0, 100.0)).scale;
        assert!((scale.at(10.0) - 0.5).abs() < 1e-9);
        assert_eq!((scale.at(0.0), scale.at(1e9)), (0.0, 1.0));
    }

    #[test]
    fn moments_are_those_of_clocks() {
        let cases = [
            (0.9, "0 s 0.1 s 0.2 s 0.3 s 0.4 s 0.5 s 0.6 s 0.7 s 0.8 s 0.9 s"),
            (25.0, "0 s 5 s 10 s 15 s 20 s 25 s"),
            (
                300.0,
                "0:00 min 0:30 min 1:00 min 1:30 min 2:00 min 2:30 min 3:00 min 3:30 min 4:00 min 4:30 min 5:00 min",
            ),
            (
                7_200.0,
                "0:00 min 10:00 min 20:00 min 30:00 min 40:00 min 50:00 min 60:00 min 70:00 min 80:00 min 90:00 min 100:00 min 110:00 min 120:00 min",
            ),
        ];
        for (span, expected) in cases {
            assert_eq!(labels(&moments(span)), expected, "{span} s");
        }
        assert!(moments(1e9).len() < 20);
    }
}
