//! Cluster time compared with this test's own monotonic clock.

use std::time::{Duration, Instant};

use crate::{http::Http, sessions};

/// Requests of which the fastest is taken: it says most exactly when it was answered.
const SAMPLES: usize = 12;

/// How cluster time stood against the test's clock.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Cluster time, milliseconds since the Unix epoch, at `at`.
    pub cluster_ms: f64,
    pub at: Instant,
    /// How far off the reading may be: half the fastest round trip, and a whole millisecond.
    pub uncertain_ms: f64,
}

impl Reading {
    /// # Panics
    /// Where the node does not answer.
    pub async fn take(http: &Http) -> Self {
        let mut best: Option<(Duration, Self)> = None;
        for _ in 0..SAMPLES {
            let sent = Instant::now();
            let answer = http.get("/v1/time").await.expect(200).json();
            let round_trip = sent.elapsed();
            if best.as_ref().is_none_or(|(fastest, _)| round_trip < *fastest) {
                let reading = Self {
                    cluster_ms: as_f64(sessions::number(&answer["timestamp_ms"])),
                    at: sent + round_trip / 2,
                    uncertain_ms: milliseconds(round_trip) / 2.0 + 1.0,
                };
                best = Some((round_trip, reading));
            }
        }
        best.expect("at least one sample").1
    }

    /// Cluster time when the test's clock says `at`, if it runs as the test's clock does.
    pub fn projected(&self, at: Instant) -> f64 {
        let ahead = at.saturating_duration_since(self.at);
        let behind = self.at.saturating_duration_since(at);
        self.cluster_ms + milliseconds(ahead) - milliseconds(behind)
    }

    /// How far cluster time was moved between the two readings, and how uncertain that is.
    pub fn step_to(&self, later: &Self) -> (f64, f64) {
        let step = later.cluster_ms - self.projected(later.at);
        (step, self.uncertain_ms + later.uncertain_ms)
    }
}

pub fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// Exact: cluster time and clocks are far below 2^53 ms.
pub fn as_f64(whole: u64) -> f64 {
    let (high, low) = (whole >> 32, whole & u64::from(u32::MAX));
    let part = |part: u64| f64::from(u32::try_from(part).expect("half of a u64"));
    part(high) * 4_294_967_296.0 + part(low)
}
