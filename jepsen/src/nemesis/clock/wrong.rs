//! How clocks go wrong: what each node's clock is to do, and what shows that it does it.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::nemesis::{Form, Target};

/// Readings of a clock are no better than this on a machine that has much to do.
const READING_MS: i64 = 60;
/// What a rate must have come to until it can be told from a bad reading.
const RATE_SEEN_MS: i64 = 8;

const JUMPS_MS: [i64; 7] = [100, 250, 1_000, 5_000, 60_000, 600_000, 3_600_000];
const STROBE_MS: i64 = 200;
const HOUR_MS: i64 = 3_600_000;
const RATES_PPM: [i64; 5] = [500, 1_000, 3_000, 10_000, 20_000];

pub(super) const JUMP: &str = "jump";
pub(super) const APART: &str = "different-everywhere";
pub(super) const HOURS: &str = "hours-apart";
pub(super) const STROBE: &str = "strobe";
pub(super) const FROZEN: &str = "frozen";
pub(super) const EPOCH: &str = "1970";
pub(super) const RATE: &str = "rate";
pub(super) const RATES_APART: &str = "rates-apart";

const SOME: &[Target] = &[Target::One, Target::Leader, Target::Minority, Target::All];

pub(super) const CLOCK_FORMS: [Form; 6] = [
    Form { word: JUMP, targets: SOME, for_ms: (3_000, 12_000) },
    Form { word: STROBE, targets: SOME, for_ms: (4_000, 12_000) },
    Form { word: APART, targets: &[Target::All], for_ms: (4_000, 12_000) },
    Form { word: EPOCH, targets: &[Target::One, Target::Leader], for_ms: (3_000, 10_000) },
    Form { word: FROZEN, targets: SOME, for_ms: (4_000, 15_000) },
    Form { word: HOURS, targets: &[Target::All], for_ms: (4_000, 12_000) },
];

pub(super) const DRIFT_FORMS: [Form; 2] = [
    Form {
        word: RATE,
        targets: &[Target::One, Target::Leader, Target::Minority],
        for_ms: (8_000, 25_000),
    },
    Form { word: RATES_APART, targets: &[Target::All], for_ms: (8_000, 25_000) },
];

/// What one node's clock does while the fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wrong {
    /// The wall clock is off by this, all the time.
    Off { ms: i64 },
    /// It goes to and fro between both sides of the right time.
    Strobe { ms: i64, every_ms: u64 },
    /// It stands still.
    Frozen,
    /// Wall clock and monotonic clock are fast by so many millionths.
    Rate { ppm: i64 },
}

/// One for each of `count` nodes; `None` where the form is not known. `now_ms` is the right time.
pub(super) fn decide(
    form: &str,
    (count, now_ms): (usize, i64),
    random: &mut ChaCha8Rng,
) -> Option<Vec<Wrong>> {
    let mut wrongs = Vec::new();
    let jump = Wrong::Off { ms: either_way(pick(&JUMPS_MS, random), random) };
    let rate = Wrong::Rate { ppm: either_way(pick(&RATES_PPM, random), random) };
    for place in (1..).take(count) {
        wrongs.push(match form {
            JUMP => jump,
            RATE => rate,
            EPOCH => Wrong::Off { ms: HOUR_MS - now_ms },
            STROBE => Wrong::Strobe { ms: STROBE_MS, every_ms: random.random_range(10..=20) },
            FROZEN => Wrong::Frozen,
            // Another one on every node, on both sides of the right time.
            APART => Wrong::Off { ms: sign(place) * (place * 400 + random.random_range(-99..=99)) },
            HOURS => Wrong::Off { ms: sign(place) * place * HOUR_MS },
            RATES_APART => Wrong::Rate { ppm: sign(place) * (place * 20_000 / as_i64(count)) },
            _ => return None,
        });
    }
    Some(wrongs)
}

fn pick(from: &[i64], random: &mut ChaCha8Rng) -> i64 {
    from.choose(random).copied().unwrap_or_default()
}

fn either_way(value: i64, random: &mut ChaCha8Rng) -> i64 {
    if random.random() { value } else { -value }
}

const fn sign(place: i64) -> i64 {
    if place % 2 == 0 { -1 } else { 1 }
}

fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Wrong {
    /// How far ahead of the right time the wall clock is at most.
    pub(super) const fn ahead_ms(self) -> Option<i64> {
        match self {
            Self::Off { ms } | Self::Strobe { ms, .. } => Some(ms),
            Self::Frozen => Some(0),
            Self::Rate { .. } => None,
        }
    }

    /// By how much both clocks run fast.
    pub(super) const fn rate_ppm(self) -> Option<i64> {
        match self {
            Self::Rate { ppm } => Some(ppm),
            Self::Off { .. } | Self::Strobe { .. } | Self::Frozen => None,
        }
    }

    /// Do these readings show it? Each is how far the wall clock has moved away from where it was,
    /// with how long the fault had lasted then.
    pub(super) fn is_shown(self, readings: &[(i64, i64)]) -> bool {
        let shifts = || readings.iter().map(|(shift_ms, _)| *shift_ms);
        match self {
            Self::Off { ms } => shifts().any(|shift| is_near(shift, ms)),
            Self::Strobe { ms, .. } => {
                let to_and_fro = shifts().max().zip(shifts().min());
                to_and_fro.is_some_and(|(most, least)| ms <= most - least)
            }
            Self::Frozen => readings.iter().any(|(shift_ms, lasted_ms)| {
                READING_MS * 2 < *lasted_ms && is_near(*shift_ms, -lasted_ms)
            }),
            Self::Rate { ppm } => readings.iter().any(|(shift_ms, lasted_ms)| {
                let expected_ms = lasted_ms * ppm / 1_000_000;
                let (shift, expected) = (shift_ms * expected_ms.signum(), expected_ms.abs());
                RATE_SEEN_MS <= expected
                    && expected / 2 <= shift
                    && shift <= expected * 2 + READING_MS
            }),
        }
    }
}

fn is_near(actual_ms: i64, expected_ms: i64) -> bool {
    (actual_ms - expected_ms).abs() <= READING_MS.max(expected_ms.abs() / 10)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    const NOW_MS: i64 = 1_795_700_000_000;

    fn decided(form: &str, count: usize, seed: u64) -> Vec<Wrong> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        decide(form, (count, NOW_MS), &mut random).unwrap()
    }

    #[test]
    fn every_form_is_decided_by_its_seed() {
        for form in CLOCK_FORMS.iter().chain(&DRIFT_FORMS) {
            for count in 1..=7 {
                let wrongs = decided(form.word, count, 4);
                assert_eq!(wrongs.len(), count);
                assert_eq!(wrongs, decided(form.word, count, 4));
            }
        }
        let mut random = ChaCha8Rng::seed_from_u64(1);
        assert_eq!(decide("sideways", (1, NOW_MS), &mut random), None);
    }

    #[test]
    fn nodes_disagree_where_they_are_to() {
        for seed in 0..50 {
            for (form, least) in [(APART, 300), (HOURS, HOUR_MS)] {
                let wrongs = decided(form, 5, seed);
                let mut offsets: Vec<i64> =
                    wrongs.iter().filter_map(|wrong| wrong.ahead_ms()).collect();
                offsets.sort_unstable();
                assert_eq!(offsets.len(), 5);
                for pair in offsets.windows(2) {
                    assert!(least <= pair[1] - pair[0], "{form}: {offsets:?}");
                }
            }
            let rates = decided(RATES_APART, 5, seed);
            let rates: BTreeSet<i64> = rates
                .iter()
                .map(|wrong| match wrong {
                    Wrong::Rate { ppm } => *ppm,
                    Wrong::Off { .. } | Wrong::Strobe { .. } | Wrong::Frozen => 0,
                })
                .collect();
            assert_eq!(rates, BTreeSet::from([4_000, -8_000, 12_000, -16_000, 20_000]));
        }
    }

    #[test]
    fn jumps_go_both_ways_and_1970_is_an_hour_into_it() {
        let jumps: BTreeSet<i64> =
            (0..200).flat_map(|seed| decided(JUMP, 1, seed)).filter_map(Wrong::ahead_ms).collect();
        assert_eq!(jumps.len(), 2 * JUMPS_MS.len());
        assert_eq!(decided(EPOCH, 2, 1), [Wrong::Off { ms: HOUR_MS - NOW_MS }; 2]);
    }

    #[test]
    fn only_what_was_asked_for_shows_it() {
        let cases = [
            (Wrong::Off { ms: 100 }, vec![(104, 50)], true),
            (Wrong::Off { ms: 100 }, vec![(3, 50), (-100, 90)], false),
            (Wrong::Off { ms: -HOUR_MS }, vec![(-HOUR_MS + 900, 3_000)], true),
            (Wrong::Strobe { ms: 200, every_ms: 10 }, vec![(198, 1), (-201, 2)], true),
            (Wrong::Strobe { ms: 200, every_ms: 10 }, vec![(198, 1), (201, 2)], false),
            (Wrong::Strobe { ms: 200, every_ms: 10 }, Vec::new(), false),
            (Wrong::Frozen, vec![(-3_980, 4_000)], true),
            (Wrong::Frozen, vec![(-10, 4_000)], false),
            (Wrong::Frozen, vec![(-10, 20)], false),
            (Wrong::Rate { ppm: 20_000 }, vec![(190, 10_000)], true),
            (Wrong::Rate { ppm: -20_000 }, vec![(-190, 10_000)], true),
            (Wrong::Rate { ppm: 20_000 }, vec![(-190, 10_000)], false),
            (Wrong::Rate { ppm: 20_000 }, vec![(4, 10_000)], false),
            (Wrong::Rate { ppm: 500 }, vec![(5, 10_000)], false),
            (Wrong::Rate { ppm: 500 }, vec![(9, 20_000)], true),
        ];
        for (wrong, readings, shown) in cases {
            assert_eq!(wrong.is_shown(&readings), shown, "{wrong:?} {readings:?}");
        }
    }
}
