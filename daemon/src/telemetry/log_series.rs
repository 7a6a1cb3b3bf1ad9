//! What the log measures of itself, as Prometheus series: read when asked for, counted elsewhere.

use std::collections::HashMap;

use prometheus::{
    core::{Collector, Desc},
    proto::{Bucket, Counter, Histogram, Metric, MetricFamily, MetricType},
};
use synckairos_raft_store::{COMMANDS_BUCKETS, LogStatsSnapshot, SYNC_BUCKETS_MICROS};

const SYNC_LATENCY: (&str, &str) = ("synckairos_raft_fsync_latency_ms", "One sync of the log");
const COMMANDS_PER_SYNC: (&str, &str) =
    ("synckairos_raft_commands_per_fsync", "Commands made durable by one sync of the log");
const SYNCS: (&str, &str) = ("synckairos_raft_fsyncs_total", "Syncs of the log");
const ENTRIES: (&str, &str) =
    ("synckairos_raft_entries_total", "Entries written to this node's log");
const COMMANDS: (&str, &str) = ("synckairos_commands_total", "Commands written to this node's log");

pub(super) struct LogSeries {
    read: Box<dyn Fn() -> LogStatsSnapshot + Send + Sync>,
    descriptions: Vec<Desc>,
}

impl LogSeries {
    /// `read` is called once for each scrape.
    pub(super) fn new(read: impl Fn() -> LogStatsSnapshot + Send + Sync + 'static) -> Self {
        let describe = |(name, help): (&str, &str)| {
            Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())
                .expect("the names of this file are valid")
        };
        let names = [SYNC_LATENCY, COMMANDS_PER_SYNC, SYNCS, ENTRIES, COMMANDS];
        Self { read: Box::new(read), descriptions: names.map(describe).into() }
    }
}

impl Collector for LogSeries {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = (self.read)();
        let sync_bounds = SYNC_BUCKETS_MICROS.map(|bound| approximate(bound) / 1_000.0);
        let command_bounds = COMMANDS_BUCKETS.map(approximate);
        let sync_ms_total = approximate(now.sync_micros_total) / 1_000.0;
        let commands_total = approximate(now.commands_total);
        vec![
            histogram(SYNC_LATENCY, &sync_bounds, &now.sync_micros, sync_ms_total),
            histogram(COMMANDS_PER_SYNC, &command_bounds, &now.commands, commands_total),
            counter(SYNCS, now.syncs),
            counter(ENTRIES, now.entries_total),
            counter(COMMANDS, now.commands_total),
        ]
    }
}

/// `counts` has one element more than `bounds`, and its elements are not cumulative.
fn histogram(name: (&str, &str), bounds: &[f64], counts: &[u64], sum: f64) -> MetricFamily {
    let mut cumulative = 0u64;
    let mut buckets = Vec::with_capacity(bounds.len());
    for (bound, count) in bounds.iter().zip(counts) {
        cumulative = cumulative.saturating_add(*count);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let above = counts.get(bounds.len()).copied().unwrap_or(0);
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(cumulative.saturating_add(above));
    histogram.set_sample_sum(sum);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, MetricType::HISTOGRAM, metric)
}

fn counter(name: (&str, &str), value: u64) -> MetricFamily {
    let mut counter = Counter::default();
    counter.set_value(approximate(value));
    let mut metric = Metric::default();
    metric.set_counter(counter);
    family(name, MetricType::COUNTER, metric)
}

fn family((name, help): (&str, &str), kind: MetricType, metric: Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}

/// Prometheus' numbers are floats; above 2^53 the last digits are lost, which no graph shows.
fn approximate(value: u64) -> f64 {
    let high = u32::try_from(value >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_become_cumulative() {
        let family = histogram(("name", "help"), &[1.0, 2.0], &[3, 4, 5], 20.0);
        let histogram = family.get_metric()[0].get_histogram();
        let counts: Vec<u64> =
            histogram.get_bucket().iter().map(Bucket::cumulative_count).collect();
        assert_eq!(counts, [3, 7]);
        assert_eq!(histogram.get_sample_count(), 12);
    }

    #[test]
    fn every_series_is_described_and_rendered() {
        let registry = prometheus::Registry::new();
        registry.register(Box::new(LogSeries::new(LogStatsSnapshot::default))).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for (name, _) in [SYNC_LATENCY, COMMANDS_PER_SYNC, SYNCS, ENTRIES, COMMANDS] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
    }

    #[test]
    fn large_numbers_are_close() {
        for value in [0, 1, u64::from(u32::MAX), 1 << 40] {
            assert_eq!(format!("{:.0}", approximate(value)), value.to_string());
        }
    }
}
