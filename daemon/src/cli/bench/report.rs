//! What `bench switch` prints.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{
    connection::Target,
    load::Tally,
    metrics::{Batching, Reading},
};

/// What to do against 429.
pub(super) const RATE_LIMIT_HINT: &str = "the nodes limit the rate of requests (429); to measure \
    them, start them with RATE_LIMIT_GENERAL=0 RATE_LIMIT_SWITCH=0";

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Setting {
    pub(super) sessions: u32,
    pub(super) clients: u32,
    pub(super) seconds: u32,
    pub(super) warmup_seconds: u32,
    /// Requests per second of the open loop; null for the closed one.
    pub(super) rate: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    setting: Setting,
    /// Answered with 200.
    switches: u64,
    switches_per_second: f64,
    latency_us: Latency,
    /// 409.
    conflicts: u64,
    /// 429.
    rate_limited: u64,
    other_errors: u64,
    errors_by_kind: BTreeMap<String, u64>,
    /// Open loop: due before the end, and not sent because all clients were waiting.
    not_sent: u64,
    /// Null where the lead changed, or the leader is not among the URLs.
    leader: Option<Batching>,
    nodes: Vec<Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

/// Of the requests answered with 200, in microseconds. All 0 where there are none.
#[derive(Debug, Serialize)]
struct Latency {
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
}

#[derive(Debug, Serialize)]
struct Node {
    url: String,
    /// `null` where the node did not answer.
    resident_bytes_before: Option<u64>,
    resident_bytes_after: Option<u64>,
}

impl Report {
    pub(super) fn new(setting: Setting, tally: Tally) -> Self {
        let latencies = &tally.latencies;
        let count = |kind| tally.errors.get(kind).copied().unwrap_or(0);
        let (conflicts, limited) = (count("CONCURRENT_MODIFICATION"), count("RATE_LIMIT_EXCEEDED"));
        let errors: u64 = tally.errors.values().sum();
        Self {
            switches: latencies.len(),
            switches_per_second: latencies.len() as f64 / f64::from(setting.seconds),
            latency_us: Latency {
                mean: latencies.mean(),
                p50: latencies.value_at_quantile(0.5),
                p90: latencies.value_at_quantile(0.9),
                p99: latencies.value_at_quantile(0.99),
                p99_9: latencies.value_at_quantile(0.999),
                max: latencies.max(),
            },
            conflicts,
            rate_limited: limited,
            other_errors: errors - conflicts - limited,
            not_sent: tally.not_sent,
            leader: None,
            nodes: Vec::new(),
            hint: (0 < limited).then_some(RATE_LIMIT_HINT),
            errors_by_kind: tally.errors,
            setting,
        }
    }

    #[must_use]
    pub(super) fn with_nodes(
        mut self,
        targets: &[Target],
        before: &[Option<Reading>],
        after: &[Option<Reading>],
    ) -> Self {
        let nodes = targets.iter().zip(before).zip(after);
        let memory = |reading: &Option<Reading>| reading.map(|reading| reading.resident_bytes);
        self.leader = super::metrics::batching(targets, before, after);
        self.nodes = nodes
            .map(|((target, before), after)| Node {
                url: target.url.clone(),
                resident_bytes_before: memory(before),
                resident_bytes_after: memory(after),
            })
            .collect();
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { sessions, clients, seconds, warmup_seconds, rate } = &self.setting;
        let pace = rate.map_or_else(
            || String::from("closed loop"),
            |rate| format!("open loop, {rate} requests a second"),
        );
        writeln!(
            formatter,
            "{pace}: {clients} clients, {sessions} sessions, {seconds} s after {warmup_seconds} s \
             of warm-up"
        )?;
        writeln!(
            formatter,
            "switches   {} ({:.1} a second)",
            self.switches, self.switches_per_second
        )?;
        let Latency { p50, p90, p99, p99_9, max, .. } = &self.latency_us;
        writeln!(
            formatter,
            "latency    p50 {p50} us, p90 {p90} us, p99 {p99} us, p99.9 {p99_9} us, max {max} us"
        )?;
        writeln!(
            formatter,
            "errors     {} conflicts (409), {} rate limited (429), {} others",
            self.conflicts, self.rate_limited, self.other_errors
        )?;
        for (kind, count) in &self.errors_by_kind {
            writeln!(formatter, "             {kind} {count}")?;
        }
        if self.setting.rate.is_some() {
            writeln!(formatter, "not sent   {}", self.not_sent)?;
        }
        match &self.leader {
            Some(Batching { url, commands, fsyncs, commands_per_fsync }) => writeln!(
                formatter,
                "batching   {commands_per_fsync:.1} commands per fsync on the leader {url} \
                 ({commands} commands, {fsyncs} fsyncs)"
            )?,
            None => writeln!(
                formatter,
                "batching   unknown: the lead changed, or the leader is not among the URLs"
            )?,
        }
        for Node { url, resident_bytes_before, resident_bytes_after } in &self.nodes {
            let (before, after) =
                (mebibytes(*resident_bytes_before), mebibytes(*resident_bytes_after));
            writeln!(formatter, "memory     {url}: {before} before, {after} after")?;
        }
        match self.hint {
            Some(hint) => write!(formatter, "hint       {hint}"),
            None => Ok(()),
        }
    }
}

fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(
        || String::from("unknown"),
        |bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(limited: u64) -> Tally {
        let mut tally = Tally::new();
        for took in 1..=1_000 {
            tally.latencies.saturating_record(took);
        }
        tally.errors.insert(String::from("CONCURRENT_MODIFICATION"), 3);
        if 0 < limited {
            tally.errors.insert(String::from("RATE_LIMIT_EXCEEDED"), limited);
        }
        tally.errors.insert(String::from("UNREACHABLE"), 2);
        tally
    }

    #[test]
    fn counts_add_up_and_429_is_explained() {
        let setting =
            Setting { sessions: 9, clients: 4, seconds: 10, warmup_seconds: 2, rate: None };
        let report = Report::new(setting.clone(), tally(7));
        assert_eq!((report.conflicts, report.rate_limited, report.other_errors), (3, 7, 2));
        assert_eq!(report.latency_us.p50, 500);
        assert_eq!(report.latency_us.p99_9, 999);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["switches_per_second"], 100.0);
        assert_eq!(json["clients"], 4);
        assert!(report.to_string().contains("RATE_LIMIT_GENERAL=0"));
        assert!(!Report::new(setting, tally(0)).to_string().contains("RATE_LIMIT"));
    }
}
