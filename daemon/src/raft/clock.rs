//! Cluster time as one node knows it: the leader counts it, everybody else estimates it.
//!
//! The leader counts on the monotonic clock, suspend included, and slews toward its wall clock by
//! at most 500 ppm, so that no step of any host's clock moves a running session clock. Every append
//! and heartbeat carries the leader's time; a follower's estimate is the largest, over what it
//! heard of late, of the time heard plus its own monotonic time since. Of late, and not ever: a
//! follower whose clock runs fast would get farther ahead for as long as it follows. A new leader
//! goes on from its estimate.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[cfg(feature = "planted-bugs")]
use synckairos_protocol::plant::Plant;
use synckairos_protocol::time::Stamp;

use super::host_time::HostTime;

/// How far cluster time may run from true: microseconds in a second.
const SLEW_PPM_MAX: i64 = 500;
/// An estimate rests on what was heard in this stretch and the one before: several heartbeats, of
/// which one comes without delay, and too short for clocks that run apart by percents to matter.
const STRETCH_US: i64 = 1_000_000;

/// A reading of cluster time, and when on the monotonic clock it was true.
#[derive(Clone, Copy, Debug)]
struct Reading {
    cluster_us: i64,
    boot_us: i64,
}

impl Reading {
    fn at(self, boot_us: i64) -> i64 {
        self.cluster_us + (boot_us - self.boot_us).max(0)
    }

    /// The one that puts cluster time later. A late packet can only put it earlier.
    fn later(self, other: Self) -> Self {
        let ahead_us = |reading: Self| reading.cluster_us - reading.boot_us;
        if ahead_us(self) < ahead_us(other) { other } else { self }
    }
}

/// The best readings of this stretch and of the one before.
#[derive(Clone, Copy, Debug)]
struct Heard {
    began_boot_us: i64,
    best: Reading,
    before: Option<Reading>,
}

impl Heard {
    fn first(reading: Reading) -> Self {
        Self { began_boot_us: reading.boot_us, best: reading, before: None }
    }

    fn take(&mut self, reading: Reading) {
        if reading.boot_us - self.began_boot_us < STRETCH_US {
            self.best = self.best.later(reading);
        } else {
            *self = Self { before: Some(self.best), ..Self::first(reading) };
        }
    }

    fn reading(&self) -> Reading {
        self.before.map_or(self.best, |before| before.later(self.best))
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum Source {
    /// No leader was heard since the node's start.
    #[default]
    Nobody,
    Leader(Heard),
    /// This node leads and counts by itself.
    Own(Reading),
}

/// The arithmetic, without a clock in it.
#[derive(Debug, Default)]
struct ClusterTime {
    source: Source,
    /// When a leader last spoke, on the monotonic clock.
    heard_boot_us: i64,
    /// The largest time that a leader told, without what has passed since.
    last_heard: Option<Stamp>,
    /// This node's estimate minus what the leader said, when it last spoke.
    ahead_of_leader_us: i64,
    /// The largest estimate that was told to anybody.
    told_us: i64,
}

impl ClusterTime {
    /// The leader of an append or heartbeat said that it is `stamp`.
    fn heard(&mut self, stamp: Stamp, host: HostTime) {
        self.heard_boot_us = host.boot_us;
        self.last_heard = self.last_heard.max(Some(stamp));
        let reading = Reading { cluster_us: to_micros(stamp), boot_us: host.boot_us };
        let estimate_us = self.estimate_us(host);
        match &mut self.source {
            Source::Own(_) => return,
            Source::Leader(heard) => heard.take(reading),
            Source::Nobody => self.source = Source::Leader(Heard::first(reading)),
        }
        self.ahead_of_leader_us = estimate_us.map_or(0, |estimate| estimate - reading.cluster_us);
    }

    /// This node leads from now on. It starts from the wall clock only where it has heard nothing
    /// since its own start, and never before the last stamp in its log.
    fn lead(&mut self, last_stamp: Stamp, host: HostTime) {
        let estimate_us = self.estimate_us(host).unwrap_or(host.wall_us);
        let cluster_us = estimate_us.max(to_micros(last_stamp));
        #[cfg(feature = "planted-bugs")]
        let cluster_us =
            if Plant::TimeGoesBackAtElection.is_on() { host.wall_us } else { cluster_us };
        self.source = Source::Own(Reading { cluster_us, boot_us: host.boot_us });
        self.ahead_of_leader_us = 0;
    }

    /// This node does not lead any more; what it counted stays its estimate.
    fn follow(&mut self) {
        if let Source::Own(reading) = self.source {
            self.source = Source::Leader(Heard::first(reading));
        }
    }

    /// Cluster time while leading. Each call slews by at most [`SLEW_PPM_MAX`] of the time since
    /// the call before.
    fn lead_us(&mut self, host: HostTime) -> Option<i64> {
        let Source::Own(reading) = self.source else { return None };
        #[cfg(feature = "planted-bugs")]
        if Plant::StampFromWallClock.is_on() {
            return Some(host.wall_us);
        }
        let passed_us = (host.boot_us - reading.boot_us).max(0);
        let unslewed_us = reading.cluster_us + passed_us;
        let slew_max_us = passed_us.saturating_mul(SLEW_PPM_MAX) / 1_000_000;
        let slew_us = (host.wall_us - unslewed_us).clamp(-slew_max_us, slew_max_us);
        // A stretch too short to slew by a whole microsecond is left to grow.
        if slew_max_us == 0 {
            return Some(unslewed_us);
        }
        let cluster_us = unslewed_us + slew_us;
        self.source = Source::Own(Reading { cluster_us, boot_us: host.boot_us });
        Some(cluster_us)
    }

    fn estimate_us(&self, host: HostTime) -> Option<i64> {
        match &self.source {
            Source::Nobody => None,
            Source::Leader(heard) => Some(heard.reading().at(host.boot_us)),
            Source::Own(reading) => Some(reading.at(host.boot_us)),
        }
    }

    /// What this node tells: its estimate, but never one before what it has told already.
    fn tell_us(&mut self, host: HostTime) -> Option<i64> {
        let known_us = self.lead_us(host).or_else(|| self.estimate_us(host))?;
        self.told_us = self.told_us.max(known_us);
        Some(self.told_us)
    }
}

/// This node's view of cluster time, shared by everything that needs it.
#[derive(Clone, Debug)]
pub(crate) struct ClusterClock {
    time: Arc<Mutex<ClusterTime>>,
}

impl Default for ClusterClock {
    fn default() -> Self {
        // Silence counts from the start of the node.
        let heard_boot_us = HostTime::now().boot_us;
        let time = ClusterTime { heard_boot_us, ..ClusterTime::default() };
        Self { time: Arc::new(Mutex::new(time)) }
    }
}

impl ClusterClock {
    /// Cluster time while this node leads: what commands are stamped with.
    pub(crate) fn leading(&self) -> Option<Stamp> {
        self.lock().lead_us(HostTime::now()).map(to_stamp)
    }

    /// Cluster time as this node knows it: never before what it has told already. `None` where it
    /// has heard no leader since its start: its wall clock may be wrong by any amount.
    pub(crate) fn known(&self) -> Option<Stamp> {
        self.lock().tell_us(HostTime::now()).map(to_stamp)
    }

    /// [`ClusterClock::known`], or the host's wall clock: for marks that nobody counts by.
    pub(crate) fn estimate(&self) -> Stamp {
        self.known().unwrap_or_else(|| to_stamp(HostTime::now().wall_us))
    }

    /// Takes over the time of a leader's append or heartbeat.
    pub(crate) fn heard(&self, stamp: Stamp) {
        self.lock().heard(stamp, HostTime::now());
    }

    /// How long ago a leader last spoke to this node, or the node started.
    pub(crate) fn silence(&self) -> Duration {
        let silent_us = HostTime::now().boot_us.saturating_sub(self.lock().heard_boot_us);
        Duration::from_micros(u64::try_from(silent_us).unwrap_or(0))
    }

    /// Starts to count, from no earlier than `last_stamp`.
    pub(crate) fn lead(&self, last_stamp: Stamp) {
        self.lock().lead(last_stamp, HostTime::now());
    }

    pub(crate) fn follow(&self) {
        self.lock().follow();
    }

    /// The largest time that a leader told this node: somebody could act then. `None` where none
    /// was heard since the node's start.
    pub(crate) fn last_heard(&self) -> Option<Stamp> {
        self.lock().last_heard
    }

    /// Cluster time minus this host's wall clock, in milliseconds.
    pub(crate) fn offset_ms(&self) -> i64 {
        let host = HostTime::now();
        self.lock().estimate_us(host).map_or(0, |estimate| (estimate - host.wall_us) / 1_000)
    }

    /// This node's estimate minus the leader's time, in milliseconds, when the leader last spoke:
    /// how long its message took, and how far apart the clocks ran meanwhile. 0 while leading.
    pub(crate) fn ahead_of_leader_ms(&self) -> i64 {
        self.lock().ahead_of_leader_us / 1_000
    }

    fn lock(&self) -> MutexGuard<'_, ClusterTime> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_micros(stamp: Stamp) -> i64 {
    i64::try_from(stamp.unix_millis()).unwrap_or(i64::MAX).saturating_mul(1_000)
}

fn to_stamp(micros: i64) -> Stamp {
    Stamp::from_unix_millis(u64::try_from(micros / 1_000).unwrap_or(0))
}

/// How long until cluster time reaches `due`, as counted from `now`.
pub(crate) fn until(due: Stamp, now: Stamp) -> Duration {
    Duration::from_millis(due.since(now).get())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    fn host(boot_us: i64, wall_us: i64) -> HostTime {
        HostTime { boot_us, wall_us }
    }

    fn at(millis: u64) -> Stamp {
        Stamp::from_unix_millis(millis)
    }

    #[test]
    fn first_leader_starts_from_the_wall_clock_but_not_before_its_log() {
        for (last_stamp, expected_us) in [(0, 5_000_000), (4_000, 5_000_000), (9_000, 9_000_000)] {
            let mut time = ClusterTime::default();
            time.lead(at(last_stamp), host(77, 5_000_000));
            assert_eq!(time.lead_us(host(77, 5_000_000)), Some(expected_us));
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_it_by_500_ppm_at_most() {
        for (step_us, slewed_us) in [(HOUR_US, 500), (-HOUR_US, -500), (0, 0)] {
            let mut time = ClusterTime::default();
            time.lead(Stamp::ZERO, host(0, HOUR_US));
            let now = time.lead_us(host(1_000_000, HOUR_US + 1_000_000 + step_us));
            assert_eq!(now, Some(HOUR_US + 1_000_000 + slewed_us));
        }
    }

    #[test]
    fn many_readings_slew_no_more_than_one() {
        let mut time = ClusterTime::default();
        time.lead(Stamp::ZERO, host(0, HOUR_US));
        let mut last = HOUR_US;
        for boot_us in (0..=1_000_000).step_by(700) {
            let now = time.lead_us(host(boot_us, 2 * HOUR_US)).unwrap();
            assert!(last <= now, "went back from {last} to {now}");
            last = now;
        }
        let passed_us = last - HOUR_US;
        assert!((999_000..=1_000_500).contains(&passed_us), "{passed_us}");
    }

    #[test]
    fn a_late_packet_does_not_lower_an_estimate() {
        let mut time = ClusterTime::default();
        time.heard(at(10_000), host(0, 0));
        time.heard(at(10_400), host(500_000, 0));
        assert_eq!(time.estimate_us(host(500_000, 0)), Some(10_500_000));
        time.heard(at(11_000), host(600_000, 0));
        assert_eq!(time.estimate_us(host(600_000, 0)), Some(11_000_000));
    }

    #[test]
    fn a_new_leader_goes_on_from_its_estimate_whatever_its_wall_clock_says() {
        let mut time = ClusterTime::default();
        time.heard(at(10_000), host(0, 0));
        time.lead(at(9_000), host(2_000_000, HOUR_US));
        assert_eq!(time.lead_us(host(2_000_000, HOUR_US)), Some(12_000_000));
        time.follow();
        assert_eq!(time.lead_us(host(2_000_000, HOUR_US)), None);
        assert_eq!(time.estimate_us(host(2_500_000, HOUR_US)), Some(12_500_000));
    }

    #[test]
    fn an_estimate_stays_near_a_leader_whose_clock_runs_at_another_rate() {
        // A follower whose clock is 3 % fast, then 3 % slow, hears every 100 ms for ten minutes.
        for rate_ppm in [30_000, -30_000] {
            let mut time = ClusterTime::default();
            let mut told = 0;
            for true_ms in (0..600_000).step_by(100) {
                let boot_us = true_ms * 1_000 + true_ms * rate_ppm / 1_000;
                let late_ms = if true_ms % 700 == 600 { 80 } else { 1 };
                let stamp = at(u64::try_from(1_000_000 + true_ms - late_ms).unwrap());
                time.heard(stamp, host(boot_us, 0));
                let apart_ms =
                    time.estimate_us(host(boot_us, 0)).unwrap() / 1_000 - (1_000_000 + true_ms);
                assert!((-10..=61).contains(&apart_ms), "{rate_ppm} ppm: {apart_ms} ms apart");
                let now = time.tell_us(host(boot_us, 0)).unwrap();
                assert!(told <= now, "went back from {told} to {now}");
                told = now;
            }
        }
    }

    #[test]
    fn the_last_time_heard_is_not_extrapolated() {
        let mut time = ClusterTime::default();
        assert_eq!(time.last_heard, None);
        time.heard(at(10_000), host(0, 0));
        time.heard(at(9_000), host(5_000_000, 0));
        assert_eq!(time.last_heard, Some(at(10_000)));
    }
}
