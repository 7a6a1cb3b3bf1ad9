//! Cluster time as one node knows it: the leader counts it, everybody else estimates it.
//!
//! The leader counts on the monotonic clock, suspend included, and slews toward its wall clock by
//! at most 500 ppm, so that no step of any host's clock moves a running session clock. Every append
//! and heartbeat carries the leader's time; a follower's estimate is the largest, over what it
//! heard, of the time heard plus its own monotonic time since. A new leader goes on from there.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use synckairos_protocol::time::Stamp;

/// How far cluster time may run from true: microseconds in a second.
const SLEW_PPM_MAX: i64 = 500;

/// What the host's two clocks show at one moment.
#[derive(Clone, Copy, Debug)]
struct HostTime {
    /// Since boot, suspend included: never steps.
    boot_us: i64,
    /// Since the Unix epoch: may step at any time.
    wall_us: i64,
}

/// A reading of cluster time, and when on the monotonic clock it was true.
#[derive(Clone, Copy, Debug)]
struct Reading {
    cluster_us: i64,
    boot_us: i64,
}

/// The arithmetic, without a clock in it.
#[derive(Debug, Default)]
struct ClusterTime {
    reading: Option<Reading>,
    leading: bool,
    /// When a leader last spoke, on the monotonic clock.
    heard_boot_us: i64,
}

impl ClusterTime {
    /// The leader of an append or heartbeat said that it is `stamp`. A late packet can only make
    /// an estimate smaller, so a smaller one is ignored.
    fn heard(&mut self, stamp: Stamp, host: HostTime) {
        self.heard_boot_us = host.boot_us;
        let heard_us = to_micros(stamp);
        if self.leading || self.estimate_us(host).is_some_and(|estimate| heard_us <= estimate) {
            return;
        }
        self.reading = Some(Reading { cluster_us: heard_us, boot_us: host.boot_us });
    }

    /// This node leads from now on. It starts from the wall clock only where it has heard nothing
    /// since its own start, and never before the last stamp in its log.
    fn lead(&mut self, last_stamp: Stamp, host: HostTime) {
        let estimate_us = self.estimate_us(host).unwrap_or(host.wall_us);
        let cluster_us = estimate_us.max(to_micros(last_stamp));
        self.reading = Some(Reading { cluster_us, boot_us: host.boot_us });
        self.leading = true;
    }

    /// This node does not lead any more; what it counted stays its estimate.
    fn follow(&mut self) {
        self.leading = false;
    }

    /// Cluster time while leading. Each call slews by at most [`SLEW_PPM_MAX`] of the time since
    /// the call before.
    fn lead_us(&mut self, host: HostTime) -> Option<i64> {
        let reading = self.reading.filter(|_| self.leading)?;
        let passed_us = (host.boot_us - reading.boot_us).max(0);
        let unslewed_us = reading.cluster_us + passed_us;
        let slew_max_us = passed_us.saturating_mul(SLEW_PPM_MAX) / 1_000_000;
        let slew_us = (host.wall_us - unslewed_us).clamp(-slew_max_us, slew_max_us);
        // A stretch too short to slew by a whole microsecond is left to grow.
        if slew_max_us == 0 {
            return Some(unslewed_us);
        }
        let cluster_us = unslewed_us + slew_us;
        self.reading = Some(Reading { cluster_us, boot_us: host.boot_us });
        Some(cluster_us)
    }

    fn estimate_us(&self, host: HostTime) -> Option<i64> {
        let reading = self.reading?;
        Some(reading.cluster_us + (host.boot_us - reading.boot_us).max(0))
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
        let heard_boot_us = host_time().boot_us;
        let time = ClusterTime { heard_boot_us, ..ClusterTime::default() };
        Self { time: Arc::new(Mutex::new(time)) }
    }
}

impl ClusterClock {
    /// Cluster time while this node leads: what commands are stamped with.
    pub(crate) fn leading(&self) -> Option<Stamp> {
        self.lock().lead_us(host_time()).map(to_stamp)
    }

    /// Cluster time as this node best knows it; its wall clock where it has heard nothing yet.
    pub(crate) fn estimate(&self) -> Stamp {
        let host = host_time();
        let mut time = self.lock();
        let known = time.lead_us(host).or_else(|| time.estimate_us(host));
        to_stamp(known.unwrap_or(host.wall_us))
    }

    /// Takes over the time of a leader's append or heartbeat.
    pub(crate) fn heard(&self, stamp: Stamp) {
        self.lock().heard(stamp, host_time());
    }

    /// How long ago a leader last spoke to this node, or the node started.
    pub(crate) fn silence(&self) -> Duration {
        let silent_us = host_time().boot_us.saturating_sub(self.lock().heard_boot_us);
        Duration::from_micros(u64::try_from(silent_us).unwrap_or(0))
    }

    /// Starts to count, from no earlier than `last_stamp`.
    pub(crate) fn lead(&self, last_stamp: Stamp) {
        self.lock().lead(last_stamp, host_time());
    }

    pub(crate) fn follow(&self) {
        self.lock().follow();
    }

    /// Cluster time minus this host's wall clock, in milliseconds.
    pub(crate) fn offset_ms(&self) -> i64 {
        let host = host_time();
        self.lock().estimate_us(host).map_or(0, |estimate| (estimate - host.wall_us) / 1_000)
    }

    fn lock(&self) -> MutexGuard<'_, ClusterTime> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn host_time() -> HostTime {
    HostTime { boot_us: read_us(ClockId::Boottime), wall_us: read_us(ClockId::Realtime) }
}

fn read_us(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
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
}
