//! Every metric of a node that is counted as it happens; the log's own are in [`super::log_series`].
//! The first six names are those of v2's dashboards.

use std::{sync::Arc, time::Duration};

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector, process_collector::ProcessCollector,
};
use synckairos_raft_store::LogStore;

use super::log_series::LogSeries;
use crate::disk::Room;

/// The states that Raft knows a node in.
const ROLES: [&str; 5] = ["leader", "follower", "candidate", "learner", "stopped"];

const REQUEST_BUCKETS_MS: [f64; 9] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];
const SWITCH_BUCKETS_MS: [f64; 7] = [1.0, 2.0, 3.0, 5.0, 10.0, 25.0, 50.0];
const COMMIT_BUCKETS_MS: [f64; 12] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 500.0, 2_500.0];

/// The node's metrics; a clone counts into the same numbers.
#[derive(Clone)]
pub(crate) struct Metrics {
    series: Arc<Series>,
}

struct Series {
    registry: Registry,
    push: PushSeries,
    http_requests: IntCounterVec,
    http_request_duration: HistogramVec,
    switch_duration: Histogram,
    active_sessions: IntGauge,
    commands_waiting: IntGauge,
    connections_refused: IntCounter,
    raft_role: IntGaugeVec,
    raft_term: IntGauge,
    raft_last_log: IntGauge,
    raft_applied: IntGauge,
    commit_latency: Histogram,
    clock: ClockSeries,
    backups: BackupSeries,
    disk_free: IntGauge,
    disk_low: IntGauge,
}

/// What there is to know of cluster time.
struct ClockSeries {
    offset: IntGauge,
    ahead_of_leader: IntGauge,
    outages: IntCounter,
}

impl ClockSeries {
    fn new() -> Self {
        Self {
            offset: gauge_named(
                "synckairos_cluster_time_offset_ms",
                "Cluster time minus this host's wall clock",
            ),
            ahead_of_leader: gauge_named(
                "synckairos_cluster_time_ahead_of_leader_ms",
                "This node's estimate of cluster time minus what the leader last said",
            ),
            outages: counter(
                "synckairos_cluster_outages_total",
                "Spans without a leader or a majority that were credited to sessions that freeze",
            ),
        }
    }

    fn register(&self, registry: &Registry) {
        keep(registry, self.offset.clone());
        keep(registry, self.ahead_of_leader.clone());
        keep(registry, self.outages.clone());
    }
}

/// The backups that this node makes by itself.
struct BackupSeries {
    interval: IntGauge,
    last_success: IntGauge,
    last_size: IntGauge,
    failures: IntCounter,
}

impl BackupSeries {
    fn new() -> Self {
        Self {
            interval: gauge_named(
                "synckairos_backup_interval_seconds",
                "From one scheduled backup to the next; 0 where this node makes none",
            ),
            last_success: gauge_named(
                "synckairos_backup_last_success_timestamp_seconds",
                "When the newest scheduled backup was begun, by this host's wall clock; 0 before it",
            ),
            last_size: gauge_named(
                "synckairos_backup_last_size_bytes",
                "Size of the newest scheduled backup",
            ),
            failures: counter(
                "synckairos_backup_failures_total",
                "Scheduled backups that failed; each is tried again",
            ),
        }
    }

    fn register(&self, registry: &Registry) {
        for gauge in [&self.interval, &self.last_success, &self.last_size] {
            keep(registry, gauge.clone());
        }
        keep(registry, self.failures.clone());
    }
}

/// What is pushed, and to whom.
struct PushSeries {
    websocket_connections: IntGauge,
    event_streams: IntGauge,
    slow_consumers: IntCounter,
    messages: IntCounter,
}

/// Counts a WebSocket or an event stream for as long as it lives.
pub(crate) struct OpenSocket {
    connections: IntGauge,
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self { series: Arc::new(Series::new()) }
    }

    /// One answered request. `route` is the pattern of the route, never a raw path.
    pub(crate) fn http_request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let mut digits = [0; 3];
        let status = status_label(status, &mut digits);
        self.series.http_requests.with_label_values(&[method, route, status]).inc();
        self.series
            .http_request_duration
            .with_label_values(&[method, route])
            .observe(milliseconds(took));
    }

    /// From the arrival of a switch to its answer.
    pub(crate) fn observe_switch(&self, took: Duration) {
        self.series.switch_duration.observe(milliseconds(took));
    }

    pub(crate) fn socket_opened(&self) -> OpenSocket {
        let connections = self.series.push.websocket_connections.clone();
        connections.inc();
        OpenSocket { connections }
    }

    pub(crate) fn event_stream_opened(&self) -> OpenSocket {
        let connections = self.series.push.event_streams.clone();
        connections.inc();
        OpenSocket { connections }
    }

    /// A subscriber was closed because it fell too far behind.
    pub(crate) fn slow_consumer(&self) {
        self.series.push.slow_consumers.inc();
    }

    /// `messages` were handed to subscribers.
    pub(crate) fn pushed(&self, messages: usize) {
        self.series.push.messages.inc_by(u64::try_from(messages).unwrap_or(u64::MAX));
    }

    /// A connection was turned away because the node holds as many as it may.
    pub(crate) fn connection_refused(&self) {
        self.series.connections_refused.inc();
    }

    /// From a command's arrival at the leader to its commit.
    pub(crate) fn observe_commit(&self, took: Duration) {
        self.series.commit_latency.observe(milliseconds(took));
    }

    /// Shows from now on what the log measures of itself. Called once.
    pub(crate) fn watch_log(&self, log: LogStore) {
        keep(&self.series.registry, LogSeries::new(move || log.stats().snapshot()));
    }

    /// This node's place in the cluster; the two positions are indexes of log entries.
    pub(crate) fn set_raft(&self, role: &str, term: u64, last_log: u64, applied: u64) {
        for known in ROLES {
            self.series.raft_role.with_label_values(&[known]).set(i64::from(known == role));
        }
        self.series.raft_term.set(gauge(term));
        self.series.raft_last_log.set(gauge(last_log));
        self.series.raft_applied.set(gauge(applied));
    }

    /// Cluster time minus this host's wall clock.
    pub(crate) fn set_cluster_time_offset_ms(&self, offset_ms: i64) {
        self.series.clock.offset.set(offset_ms);
    }

    /// This node's estimate of cluster time minus what the leader last said; 0 while leading.
    pub(crate) fn set_cluster_time_ahead_of_leader_ms(&self, ahead_ms: i64) {
        self.series.clock.ahead_of_leader.set(ahead_ms);
    }

    /// This node, as the leader, found a span in which nobody could act.
    pub(crate) fn outage(&self) {
        self.series.clock.outages.inc();
    }

    pub(crate) fn set_disk(&self, free_bytes: u64, room: Room) {
        self.series.disk_free.set(gauge(free_bytes));
        self.series.disk_low.set(match room {
            Room::Enough => 0,
            Room::Low => 1,
            Room::Exhausted => 2,
        });
    }

    /// This node makes backups by itself, so often.
    pub(crate) fn set_backup_interval(&self, interval: Duration) {
        self.series.backups.interval.set(gauge(interval.as_secs()));
    }

    /// The newest scheduled backup was begun at this wall time and has this size.
    pub(crate) fn backup_made(&self, at_seconds: u64, bytes: u64) {
        self.series.backups.last_success.set(gauge(at_seconds));
        self.series.backups.last_size.set(gauge(bytes));
    }

    pub(crate) fn backup_failed(&self) {
        self.series.backups.failures.inc();
    }

    pub(crate) fn set_active_sessions(&self, sessions: usize) {
        self.series.active_sessions.set(i64::try_from(sessions).unwrap_or(i64::MAX));
    }

    /// Commands that wait for the batch under way.
    pub(crate) fn set_commands_waiting(&self, commands: usize) {
        self.series.commands_waiting.set(i64::try_from(commands).unwrap_or(i64::MAX));
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// A series cannot be gathered or written.
    pub(crate) fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.series.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl Series {
    fn new() -> Self {
        let registry = Registry::new();
        keep(&registry, ProcessCollector::for_self());
        let series = Self {
            push: PushSeries::new(&registry),
            http_requests: counters(
                "synckairos_http_requests_total",
                "Requests answered",
                &["method", "route", "status_code"],
            ),
            http_request_duration: HistogramVec::new(
                histogram_opts(
                    "synckairos_http_request_duration_ms",
                    "From the head of a request to its answer",
                    &REQUEST_BUCKETS_MS,
                ),
                &["method", "route"],
            )
            .expect(VALID),
            switch_duration: histogram(
                "synckairos_switch_cycle_duration_ms",
                "From the arrival of a switch to its answer",
                &SWITCH_BUCKETS_MS,
            ),
            active_sessions: gauge_named("synckairos_active_sessions", "Sessions held"),
            commands_waiting: gauge_named(
                "synckairos_db_write_queue_size",
                "Commands that wait for the batch under way",
            ),
            connections_refused: counter(
                "synckairos_http_connections_refused_total",
                "Connections turned away at the limit",
            ),
            raft_role: IntGaugeVec::new(
                Opts::new("synckairos_raft_role", "1 for the role that this node has"),
                &["role"],
            )
            .expect(VALID),
            raft_term: gauge_named("synckairos_raft_term", "Term that this node is in"),
            raft_last_log: gauge_named(
                "synckairos_raft_last_log_index",
                "Index of the last entry in this node's log",
            ),
            raft_applied: gauge_named(
                "synckairos_raft_applied_index",
                "Index of the last entry applied",
            ),
            commit_latency: histogram(
                "synckairos_raft_commit_latency_ms",
                "From a command's arrival at the leader to its commit",
                &COMMIT_BUCKETS_MS,
            ),
            clock: ClockSeries::new(),
            backups: BackupSeries::new(),
            disk_free: gauge_named(
                "synckairos_disk_free_bytes",
                "Bytes free on the disk of the data directory",
            ),
            disk_low: gauge_named(
                "synckairos_disk_low",
                "1 when the disk has so little room that the node must not lead, 2 when it takes no log entries",
            ),
            registry,
        };
        series.register();
        series
    }

    fn register(&self) {
        keep(&self.registry, self.http_requests.clone());
        keep(&self.registry, self.http_request_duration.clone());
        keep(&self.registry, self.raft_role.clone());
        for histogram in [&self.switch_duration, &self.commit_latency] {
            keep(&self.registry, histogram.clone());
        }
        for gauge in [
            &self.active_sessions,
            &self.commands_waiting,
            &self.raft_term,
            &self.raft_last_log,
            &self.raft_applied,
            &self.disk_free,
            &self.disk_low,
        ] {
            keep(&self.registry, gauge.clone());
        }
        keep(&self.registry, self.connections_refused.clone());
        self.clock.register(&self.registry);
        self.backups.register(&self.registry);
    }
}

impl PushSeries {
    fn new(registry: &Registry) -> Self {
        let series = Self {
            websocket_connections: gauge_named(
                "synckairos_websocket_connections",
                "WebSockets open at this node",
            ),
            event_streams: gauge_named(
                "synckairos_event_streams",
                "Event streams open at this node",
            ),
            slow_consumers: counter(
                "synckairos_websocket_slow_consumers_total",
                "WebSockets and event streams closed because their client fell behind",
            ),
            messages: counter(
                "synckairos_websocket_messages_total",
                "Messages handed to subscribers",
            ),
        };
        for gauge in [&series.websocket_connections, &series.event_streams] {
            keep(registry, gauge.clone());
        }
        for counter in [&series.slow_consumers, &series.messages] {
            keep(registry, counter.clone());
        }
        series
    }
}

/// Why the constructors cannot fail: names and buckets are the constants of this file, and a test
/// makes them all.
const VALID: &str = "names are valid and buckets increase";

fn keep(registry: &Registry, collector: impl Collector + 'static) {
    registry.register(Box::new(collector)).expect("names are distinct");
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect(VALID)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect(VALID)
}

fn gauge_named(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect(VALID)
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    Histogram::with_opts(histogram_opts(name, help, buckets)).expect(VALID)
}

fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(buckets.to_vec())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The three digits of a status, without an allocation.
fn status_label(status: u16, digits: &mut [u8; 3]) -> &str {
    for (digit, place) in digits.iter_mut().zip([100, 10, 1]) {
        *digit = b'0' + u8::try_from(status / place % 10).unwrap_or(0);
    }
    std::str::from_utf8(digits).unwrap_or("000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_v2_dashboards_are_served() {
        let metrics = Metrics::new();
        metrics.http_request("GET", "/v1/time", 200, Duration::from_millis(3));
        metrics.set_raft("leader", 4, 9, 8);
        let open = metrics.socket_opened();
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let lines = [
            r#"synckairos_http_requests_total{method="GET",route="/v1/time",status_code="200"} 1"#,
            r#"synckairos_http_request_duration_ms_bucket{method="GET",route="/v1/time",le="5"} 1"#,
            "synckairos_switch_cycle_duration_ms_count 0",
            "synckairos_active_sessions 0",
            "synckairos_websocket_connections 1",
            "synckairos_db_write_queue_size 0",
            r#"synckairos_raft_role{role="leader"} 1"#,
            r#"synckairos_raft_role{role="follower"} 0"#,
            "synckairos_raft_term 4",
            "process_resident_memory_bytes ",
        ];
        for line in lines {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        drop(open);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains("synckairos_websocket_connections 0"));
    }

    #[test]
    fn status_labels_have_three_digits() {
        for (status, label) in [(200, "200"), (404, "404"), (503, "503"), (7, "007")] {
            assert_eq!(status_label(status, &mut [0; 3]), label);
        }
    }
}
