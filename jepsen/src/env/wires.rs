//! Decides the fate of every packet on a link with faults.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::fault::{Impairment, Link, LinkFault, Packets};

/// A damaged packet has up to so many flipped bits.
const FLIPS_MAX: usize = 8;

/// All links that have faults.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    wires: Mutex<BTreeMap<Link, BTreeMap<u64, Impaired>>>,
}

/// One packet that comes out of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passage {
    /// How long after it went in.
    pub(crate) after: Duration,
    /// Numbers of the bits that are flipped.
    pub(crate) flips: Vec<usize>,
}

/// One fault on one link.
#[derive(Debug)]
struct Impaired {
    random: ChaCha8Rng,
    since: Instant,
    parts: Vec<Part>,
    counts: Packets,
}

#[derive(Debug)]
struct Part {
    impairment: Impairment,
    /// When the packets that queue for their turn have had it.
    busy_until: Instant,
    migrated_at: Option<Instant>,
}

impl Wires {
    pub(crate) fn impair(&self, fault: &LinkFault, now: Instant) {
        let mut wires = self.lock();
        for (stream, link) in (0_u64..).zip(&fault.links) {
            let mut random = ChaCha8Rng::seed_from_u64(fault.seed);
            random.set_stream(stream);
            let part = |&impairment| Part { impairment, busy_until: now, migrated_at: None };
            let parts = fault.impairments.iter().map(part).collect();
            let impaired = Impaired { random, since: now, parts, counts: Packets::default() };
            wires.entry(link.clone()).or_default().insert(fault.id, impaired);
        }
    }

    /// Ends a fault; what it did.
    pub(crate) fn heal(&self, id: u64) -> BTreeMap<Link, Packets> {
        let mut wires = self.lock();
        let healed = wires.iter_mut().filter_map(|(link, faults)| {
            faults.remove(&id).map(|impaired| (link.clone(), impaired.counts))
        });
        let healed = healed.collect();
        wires.retain(|_, faults| !faults.is_empty());
        healed
    }

    pub(crate) fn heal_all(&self) {
        self.lock().clear();
    }

    pub(crate) fn counts(&self, id: u64) -> BTreeMap<Link, Packets> {
        let counts = |faults: &BTreeMap<u64, Impaired>| Some(faults.get(&id)?.counts);
        let wires = self.lock();
        wires.iter().filter_map(|(link, faults)| Some((link.clone(), counts(faults)?))).collect()
    }

    /// Is there no fault on any link?
    pub(crate) fn are_whole(&self) -> bool {
        self.lock().is_empty()
    }

    /// What comes out for a packet of so many bytes: nothing, itself, or several of it.
    pub(crate) fn pass(&self, link: &Link, bytes: usize, now: Instant) -> Vec<Passage> {
        let mut passages = vec![Passage::default()];
        if let Some(faults) = self.lock().get_mut(link) {
            for impaired in faults.values_mut() {
                passages = impaired.pass(passages, bytes, now);
            }
        }
        passages
    }

    /// Is it time for the sender to have another address?
    pub(crate) fn migrates(&self, link: &Link, now: Instant) -> bool {
        let mut wires = self.lock();
        let Some(faults) = wires.get_mut(link) else { return false };
        let mut migrates = false;
        for impaired in faults.values_mut() {
            // Each is asked, so that each begins its wait anew.
            migrates |= impaired.migrates(now);
        }
        migrates
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Link, BTreeMap<u64, Impaired>>> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Impaired {
    fn pass(&mut self, passages: Vec<Passage>, bytes: usize, now: Instant) -> Vec<Passage> {
        if passages.is_empty() {
            return passages;
        }
        let Self { random, since, parts, counts } = self;
        let mut moment = Moment { bytes, now, since: *since, random, counts };
        let mut left = passages;
        for part in parts {
            left = left.into_iter().flat_map(|passage| part.carry(passage, &mut moment)).collect();
        }
        counts.passed += u64::from(!left.is_empty());
        left
    }

    fn migrates(&mut self, now: Instant) -> bool {
        let mut migrates = false;
        for part in &mut self.parts {
            let Impairment::Migrate { every_ms } = part.impairment else { continue };
            let every = Duration::from_millis(every_ms);
            if part.migrated_at.is_none_or(|at| every <= now.duration_since(at)) {
                part.migrated_at = Some(now);
                migrates = true;
            }
        }
        self.counts.migrated += u64::from(migrates);
        migrates
    }
}

/// A packet that arrives at a fault.
struct Moment<'a> {
    bytes: usize,
    now: Instant,
    /// When the fault began.
    since: Instant,
    random: &'a mut ChaCha8Rng,
    counts: &'a mut Packets,
}

impl Part {
    /// What comes out of one that goes in.
    fn carry(&mut self, mut passage: Passage, moment: &mut Moment<'_>) -> Vec<Passage> {
        if !self.lets_pass(moment) {
            moment.counts.dropped += 1;
            return Vec::new();
        }
        match self.impairment {
            Impairment::Delay { mean_ms, jitter_ms } => {
                passage.after += normal(mean_ms, jitter_ms, moment.random);
                moment.counts.delayed += 1;
            }
            Impairment::Reorder { percent, hold_ms } if hits(percent, moment.random) => {
                passage.after += Duration::from_millis(u64::from(hold_ms));
                moment.counts.reordered += 1;
            }
            Impairment::Duplicate { percent } if hits(percent, moment.random) => {
                moment.counts.duplicated += 1;
                return vec![passage.clone(), passage];
            }
            Impairment::Corrupt { percent } if hits(percent, moment.random) => {
                passage.flips.extend(flips(moment.bytes, moment.random));
                moment.counts.corrupted += 1;
            }
            Impairment::Rate { kbit, .. } => {
                self.busy_until = self.busy_until.max(moment.now) + on_the_wire(moment.bytes, kbit);
                passage.after += self.busy_until.duration_since(moment.now);
                moment.counts.delayed += 1;
            }
            Impairment::Drop
            | Impairment::Flap { .. }
            | Impairment::Loss { .. }
            | Impairment::Mtu { .. }
            | Impairment::Reorder { .. }
            | Impairment::Duplicate { .. }
            | Impairment::Corrupt { .. }
            | Impairment::Migrate { .. } => {}
        }
        vec![passage]
    }

    fn lets_pass(&self, moment: &mut Moment<'_>) -> bool {
        match self.impairment {
            Impairment::Drop => false,
            Impairment::Flap { period_ms } => {
                let elapsed_ms = moment.now.duration_since(moment.since).as_millis();
                !(elapsed_ms / u128::from(period_ms.max(1))).is_multiple_of(2)
            }
            Impairment::Loss { percent } => !hits(percent, moment.random),
            Impairment::Mtu { bytes } => moment.bytes <= bytes,
            Impairment::Rate { queue_ms, .. } => {
                let waits = self.busy_until.saturating_duration_since(moment.now);
                waits <= Duration::from_millis(u64::from(queue_ms))
            }
            Impairment::Delay { .. }
            | Impairment::Reorder { .. }
            | Impairment::Duplicate { .. }
            | Impairment::Corrupt { .. }
            | Impairment::Migrate { .. } => true,
        }
    }
}

pub(crate) fn hits(percent: u8, random: &mut ChaCha8Rng) -> bool {
    random.random_range(0..100) < percent
}

/// How long so many bytes take at this rate.
pub(crate) fn on_the_wire(bytes: usize, kbit: u32) -> Duration {
    let bits = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(8);
    Duration::from_micros(bits.saturating_mul(1_000) / u64::from(kbit.max(1)))
}

/// Normally distributed, but never less than nothing.
fn normal(mean_ms: u32, deviation_ms: u32, random: &mut ChaCha8Rng) -> Duration {
    // Box and Muller's way from two even numbers to a normal one. The logarithm needs more than 0.
    let (one, other): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    let deviate = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos();
    let millis = f64::from(deviation_ms).mul_add(deviate, f64::from(mean_ms)).max(0.0);
    Duration::from_secs_f64(millis / 1_000.0)
}

/// Some bits of so many bytes.
fn flips(bytes: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    if bytes == 0 {
        return Vec::new();
    }
    let count = random.random_range(1..=FLIPS_MAX);
    (0..count).map(|_| random.random_range(0..bytes * 8)).collect()
}

/// Flips these bits.
pub(crate) fn damage(bytes: &mut [u8], flips: &[usize]) {
    for bit in flips {
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 1_000;

    fn impaired(impairments: &[Impairment]) -> (Wires, Link, Instant) {
        let (wires, link, now) = (Wires::default(), Link::new("n1", "n2"), Instant::now());
        let links = [link.clone()].into();
        let fault = LinkFault { id: 1, seed: 5, links, impairments: impairments.to_vec() };
        wires.impair(&fault, now);
        (wires, link, now)
    }

    /// What comes out of a thousand packets, all at one moment.
    fn thousand(impairments: &[Impairment]) -> (Vec<Passage>, Packets) {
        let (wires, link, now) = impaired(impairments);
        let passages = (0..1_000).flat_map(|_| wires.pass(&link, BYTES, now)).collect();
        (passages, wires.heal(1)[&link])
    }

    #[test]
    fn links_are_one_way_and_healed_by_fault() {
        let (wires, link, now) = impaired(&[Impairment::Drop]);
        let back = Link::new("n2", "n1");
        assert_eq!(wires.pass(&link, BYTES, now), []);
        assert_eq!(wires.pass(&back, BYTES, now), [Passage::default()]);
        let links = [link.clone(), back.clone()].into();
        let impairments = vec![Impairment::Drop];
        wires.impair(&LinkFault { id: 2, seed: 5, links, impairments }, now);
        assert_eq!(wires.heal(1)[&link], Packets { dropped: 1, ..Packets::default() });
        assert_eq!(wires.pass(&link, BYTES, now), []);
        assert_eq!(wires.counts(2)[&link].dropped, 1);
        assert!(!wires.are_whole());
        assert_eq!(wires.heal(2)[&back], Packets::default());
        assert_eq!(wires.pass(&link, BYTES, now), [Passage::default()]);
        assert!(wires.are_whole() && wires.heal(2).is_empty());
    }

    #[test]
    fn what_chance_decides_hits_as_many_as_it_should_and_the_same_ones_again() {
        let (passages, counts) = thousand(&[Impairment::Loss { percent: 30 }]);
        assert!((250..350).contains(&counts.dropped), "{counts:?}");
        assert_eq!(passages.len(), usize::try_from(counts.passed).unwrap());
        assert_eq!(counts.dropped + counts.passed, 1_000);

        let (passages, counts) = thousand(&[Impairment::Duplicate { percent: 30 }]);
        assert!((250..350).contains(&counts.duplicated), "{counts:?}");
        assert_eq!(passages.len() - 1_000, usize::try_from(counts.duplicated).unwrap());

        let (passages, counts) = thousand(&[Impairment::Reorder { percent: 30, hold_ms: 7 }]);
        let held = passages.iter().filter(|passage| passage.after == Duration::from_millis(7));
        assert_eq!(held.count(), usize::try_from(counts.reordered).unwrap());
        assert!((250..350).contains(&counts.reordered), "{counts:?}");

        let (passages, counts) = thousand(&[Impairment::Corrupt { percent: 30 }]);
        let damaged = passages.iter().filter(|passage| !passage.flips.is_empty());
        assert_eq!(damaged.count(), usize::try_from(counts.corrupted).unwrap());
        assert!(passages.iter().flat_map(|passage| &passage.flips).all(|bit| *bit < BYTES * 8));

        let again = thousand(&[Impairment::Corrupt { percent: 30 }]);
        assert_eq!(again, (passages, counts));
    }

    #[test]
    fn delays_are_normal() {
        let (passages, counts) = thousand(&[Impairment::Delay { mean_ms: 100, jitter_ms: 10 }]);
        assert_eq!(counts.delayed, 1_000);
        let mean = passages.iter().map(|passage| passage.after).sum::<Duration>() / 1_000;
        assert!((98..=102).contains(&mean.as_millis()), "{mean:?}");
        let within = |deviations: u32| {
            let near = |passage: &&Passage| passage.after.abs_diff(mean) < deviations * MS_10;
            passages.iter().filter(near).count()
        };
        const MS_10: Duration = Duration::from_millis(10);
        assert!((630..730).contains(&within(1)) && 930 < within(2), "{} {}", within(1), within(2));
    }

    #[test]
    fn rates_make_packets_wait_for_each_other() {
        // 1,000 bytes are 8 ms each; the 51st would wait 400 ms.
        let (passages, counts) = thousand(&[Impairment::Rate { kbit: 1_000, queue_ms: 399 }]);
        assert_eq!((passages.len(), counts.dropped), (50, 950));
        let waits: Vec<_> = passages.iter().map(|passage| passage.after.as_millis()).collect();
        let expected: Vec<_> = (1..=50).map(|number| number * 8).collect();
        assert_eq!(waits, expected);
    }

    #[test]
    fn time_and_size_decide() {
        let (wires, link, now) = impaired(&[Impairment::Flap { period_ms: 100 }]);
        let pass = |after_ms| wires.pass(&link, BYTES, now + Duration::from_millis(after_ms)).len();
        assert_eq!([0, 99, 100, 199, 200].map(pass), [0, 0, 1, 1, 0]);

        let (wires, link, now) = impaired(&[Impairment::Mtu { bytes: BYTES }]);
        assert_eq!([BYTES, BYTES + 1].map(|bytes| wires.pass(&link, bytes, now).len()), [1, 0]);

        let (wires, link, now) = impaired(&[Impairment::Migrate { every_ms: 100 }]);
        let migrates = |after_ms| wires.migrates(&link, now + Duration::from_millis(after_ms));
        assert_eq!([0, 99, 100, 150].map(migrates), [true, false, true, false]);
        assert_eq!((wires.pass(&link, BYTES, now).len(), wires.heal(1)[&link].migrated), (1, 2));
    }

    #[test]
    fn faults_compose() {
        let duplicate = Impairment::Duplicate { percent: 100 };
        let delay = Impairment::Delay { mean_ms: 5, jitter_ms: 0 };
        let (wires, link, now) = impaired(&[duplicate, delay]);
        let links = [link.clone()].into();
        wires.impair(&LinkFault { id: 2, seed: 0, links, impairments: vec![delay] }, now);
        let late = Passage { after: Duration::from_millis(10), flips: Vec::new() };
        assert_eq!(wires.pass(&link, BYTES, now), [late.clone(), late]);
    }

    #[test]
    fn damage_can_be_undone_by_itself() {
        let mut bytes = [0; 4];
        damage(&mut bytes, &[0, 15, 31, 32]);
        assert_eq!(bytes, [1, 0b1000_0000, 0, 0b1000_0000]);
        damage(&mut bytes, &[0, 15, 31]);
        assert_eq!(bytes, [0; 4]);
    }
}
