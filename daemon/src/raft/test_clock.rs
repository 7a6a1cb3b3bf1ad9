//! Host clocks that tests may set wrong while a node runs. Compiled in with debug assertions only,
//! which no release has: there the variable is refused like any unknown one.
//!
//! The file that `SYNCKAIROS_TEST_CLOCK` names holds two numbers, `wall_offset_ms rate_ppm`: how
//! far the wall clock is off, and by how much both clocks run fast. It is read again and again.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

use super::host_time::HostTime;

const VARIABLE: &str = "SYNCKAIROS_TEST_CLOCK";
/// How soon a change of the file is seen.
const REREAD_US: i64 = 20_000;

static CLOCK: LazyLock<Option<Mutex<SkewedClock>>> = LazyLock::new(|| {
    let file = PathBuf::from(env::var_os(VARIABLE)?);
    Some(Mutex::new(SkewedClock { file, read_at_us: None, anchor: None, error: Error::default() }))
});

struct SkewedClock {
    file: PathBuf,
    /// When the file was last looked at, in real time.
    read_at_us: Option<i64>,
    anchor: Option<Anchor>,
    error: Error,
}

/// What the clocks really showed at one moment, and what the node was told that they show.
struct Anchor {
    real_boot_us: i64,
    seen: HostTime,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Error {
    wall_offset_us: i64,
    rate_ppm: i64,
}

/// What the node is to see where its clocks really show `real`.
pub(super) fn seen(real: HostTime) -> HostTime {
    match &*CLOCK {
        Some(clock) => clock.lock().unwrap_or_else(PoisonError::into_inner).at(real),
        None => real,
    }
}

impl SkewedClock {
    fn at(&mut self, real: HostTime) -> HostTime {
        if self.read_at_us.is_none_or(|at| REREAD_US <= real.boot_us - at) {
            self.read_at_us = Some(real.boot_us);
            let error = read(&self.file).unwrap_or(self.error);
            if error != self.error {
                // Only the rate changes from here on; what was shown so far stays as it was.
                let seen = self.unstepped(real);
                self.anchor = Some(Anchor { real_boot_us: real.boot_us, seen });
                self.error = error;
            }
        }
        let HostTime { boot_us, wall_us } = self.unstepped(real);
        HostTime { boot_us, wall_us: wall_us + self.error.wall_offset_us }
    }

    /// The clocks at their wrong rate, without the step of the wall clock.
    fn unstepped(&mut self, real: HostTime) -> HostTime {
        let anchor = self.anchor.get_or_insert(Anchor { real_boot_us: real.boot_us, seen: real });
        let passed_us = (real.boot_us - anchor.real_boot_us).max(0);
        let passed_us = passed_us + passed_us.saturating_mul(self.error.rate_ppm) / 1_000_000;
        let HostTime { boot_us, wall_us } = anchor.seen;
        HostTime { boot_us: boot_us + passed_us, wall_us: wall_us + passed_us }
    }
}

/// `None` where the file is being written, or is none of ours.
fn read(file: &Path) -> Option<Error> {
    let text = fs::read_to_string(file).ok()?;
    let mut words = text.split_whitespace();
    let wall_offset_ms: i64 = words.next()?.parse().ok()?;
    let rate_ppm = words.next()?.parse().ok()?;
    Some(Error { wall_offset_us: wall_offset_ms.saturating_mul(1_000), rate_ppm })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(boot_us: i64) -> HostTime {
        HostTime { boot_us, wall_us: 7_000_000 + boot_us }
    }

    #[test]
    fn steps_move_the_wall_clock_alone_and_rates_move_both_without_a_step() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("clock");
        let mut clock = SkewedClock {
            file: file.clone(),
            read_at_us: None,
            anchor: None,
            error: Error::default(),
        };
        let mut look = |set: Option<&str>, boot_us: i64| {
            if let Some(text) = set {
                fs::write(&file, text).unwrap();
            }
            let HostTime { boot_us, wall_us } = clock.at(real(boot_us));
            (boot_us, wall_us)
        };
        assert_eq!(look(None, 0), (0, 7_000_000));
        assert_eq!(look(Some("3600000 0"), 100_000), (100_000, 3_607_100_000));
        assert_eq!(look(Some("0 50000"), 200_000), (200_000, 7_200_000));
        assert_eq!(look(None, 1_200_000), (1_250_000, 8_250_000));
        assert_eq!(look(Some("0 -50000"), 2_200_000), (2_300_000, 9_300_000));
        assert_eq!(look(None, 3_200_000), (3_250_000, 10_250_000));
        assert_eq!(look(Some("nonsense"), 4_200_000), (4_200_000, 11_200_000));
    }
}
