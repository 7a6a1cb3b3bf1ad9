//! Draws the faults of a test from its seed, before it begins.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    Form, Planned, Target, Trouble, clients, clock, disk, lifecycle, network, power, process, raft,
    squeeze,
};

/// Clients work alone for a moment first, so that there is something to break.
const FIRST_AT_MS: u64 = 3_000;

impl Trouble {
    pub const ALL: [Self; 22] = [
        Self::Kill,
        Self::Stop,
        Self::Pause,
        Self::Partition,
        Self::Packet,
        Self::ClientPartition,
        Self::Clock,
        Self::Drift,
        Self::Power,
        Self::LyingDisk,
        Self::DiskError,
        Self::DiskFull,
        Self::SlowDisk,
        Self::Corrupt,
        Self::DataLoss,
        Self::Transfer,
        Self::Membership,
        Self::Snapshot,
        Self::RollingRestart,
        Self::Upgrade,
        Self::Flood,
        Self::Squeeze,
    ];

    /// The ways in which it can happen; none where this version cannot do it.
    pub const fn forms(self) -> &'static [Form] {
        match self {
            Self::Kill | Self::Stop | Self::Pause => process::forms(self),
            Self::Partition | Self::Packet | Self::ClientPartition => network::forms(self),
            Self::Clock | Self::Drift => clock::forms(self),
            Self::Power => power::forms(self),
            Self::Transfer | Self::Membership | Self::Snapshot => raft::forms(self),
            Self::RollingRestart | Self::Upgrade => lifecycle::forms(self),
            Self::Flood => clients::forms(),
            Self::Squeeze => squeeze::forms(),
            Self::LyingDisk
            | Self::DiskError
            | Self::DiskFull
            | Self::SlowDisk
            | Self::Corrupt
            | Self::DataLoss => disk::forms(self),
        }
    }

    /// May another fault begin while this one lasts? Some leave no room for a second one: with it
    /// nothing would be promised.
    pub const fn overlaps(self) -> bool {
        match self {
            Self::Pause
            | Self::Partition
            | Self::Packet
            | Self::ClientPartition
            | Self::Clock
            | Self::Drift
            | Self::Transfer
            | Self::Snapshot
            | Self::Flood
            | Self::Squeeze
            | Self::Kill
            | Self::Stop => true,
            Self::Power
            | Self::LyingDisk
            | Self::DiskError
            | Self::DiskFull
            | Self::SlowDisk
            | Self::Corrupt
            | Self::DataLoss
            | Self::Membership
            | Self::RollingRestart
            | Self::Upgrade => false,
        }
    }

    pub fn as_str(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

impl Planned {
    /// As for its kind, but that a disk which only takes its time forgets nothing: such faults are
    /// drawn with room around them, and need none where somebody plans otherwise.
    pub fn overlaps(&self) -> bool {
        self.trouble.overlaps() || self.form == disk::slow::THROTTLED
    }
}

/// The faults of `length_ms`, one every `interval_ms` on average, each family in turn so that none
/// is left out.
pub fn draw(
    troubles: &[Trouble],
    (length_ms, interval_ms): (u64, u64),
    random: &mut ChaCha8Rng,
) -> Vec<Planned> {
    let (mut schedule, mut at_ms, mut alone_until_ms) = (Vec::new(), FIRST_AT_MS, 0);
    let mut busy_until_ms = 0;
    let troubles: Vec<Trouble> =
        troubles.iter().copied().filter(|trouble| !trouble.forms().is_empty()).collect();
    if troubles.is_empty() {
        return schedule;
    }
    let offset = random.random_range(0..troubles.len());
    for id in 0.. {
        let trouble = troubles[(offset + usize::try_from(id).unwrap_or(0)) % troubles.len()];
        // Forms in turn, too: the n-th time of a family is its n-th form.
        let round = usize::try_from(id).unwrap_or(0) / troubles.len();
        let forms = trouble.forms();
        let start = usize::try_from(random.random_range(0..2_u64)).unwrap_or(0);
        let Some(form) = forms.get((round + start) % forms.len().max(1)) else { continue };
        at_ms = at_ms.max(alone_until_ms);
        if !trouble.overlaps() {
            at_ms = at_ms.max(busy_until_ms);
        }
        let for_ms = random.random_range(form.for_ms.0..=form.for_ms.1);
        if length_ms < at_ms + for_ms {
            break;
        }
        let target = form.targets.choose(random).copied().unwrap_or(Target::One);
        let (word, pick) = (form.word.to_owned(), random.random());
        schedule.push(Planned { id, at_ms, for_ms, trouble, form: word, target, pick });
        busy_until_ms = busy_until_ms.max(at_ms + for_ms);
        if !trouble.overlaps() {
            // What it broke is mended and caught up before the next one begins.
            alone_until_ms = at_ms + for_ms + interval_ms / 2;
        }
        at_ms += random.random_range(interval_ms / 2..=interval_ms + interval_ms / 2);
    }
    schedule
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn schedules_follow_from_the_seed_and_leave_nobody_out() {
        let drawn = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            draw(&Trouble::ALL, (1_200_000, 5_000), &mut random)
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let schedule = drawn(9);
        for trouble in Trouble::ALL.iter().filter(|trouble| !trouble.forms().is_empty()) {
            assert!(schedule.iter().any(|planned| planned.trouble == *trouble), "{trouble:?}");
        }
        for alone in schedule.iter().filter(|planned| !planned.trouble.overlaps()) {
            let range = alone.at_ms..alone.at_ms + alone.for_ms;
            let others = schedule.iter().filter(|other| other.id != alone.id);
            let mut during = others.filter(|other| {
                other.at_ms < range.end && range.start < other.at_ms + other.for_ms
            });
            assert_eq!(during.next(), None, "{alone:?}");
        }
    }
}
