//! The workers: each keeps one request under way, and notes how long it took and what came of it.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use hdrhistogram::Histogram;
use synckairos_protocol::{ids::SessionId, wire::problem::Problem};
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Connection, Target};

/// Longer waits are counted as this long.
const LATENCY_MAX_US: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// Between attempts to reach a node: failing is quick, and would take the processors otherwise.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Timers wake up to this much late, which is not the cluster's doing.
const TIMER_TICK: Duration = Duration::from_millis(1);

/// When requests are sent, and when they count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) begin: Instant,
    /// Until then nothing counts.
    pub(super) warm: Instant,
    pub(super) end: Instant,
}

/// When a worker sends its next request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// When the last one is answered.
    Closed,
    /// At `first` and then `every` so often, whether the cluster keeps up or not.
    Open { first: Instant, every: Duration },
}

impl Pace {
    /// The pace of worker `index` of `workers` that send `rate` requests a second together.
    pub(super) fn open(begin: Instant, rate: u32, index: u32, workers: u32) -> Self {
        let between = Duration::from_secs(1) / rate;
        Self::Open {
            first: begin + between * index,
            every: Duration::from_secs(1) * workers / rate,
        }
    }
}

pub(super) struct Worker {
    pub(super) targets: Arc<[Target]>,
    /// Which of the targets it begins with.
    pub(super) target: usize,
    /// The sessions that it switches, one after the other.
    pub(super) sessions: Vec<SessionId>,
    pub(super) pace: Pace,
    pub(super) window: Window,
}

/// What came of the requests that count.
#[derive(Debug)]
pub(super) struct Tally {
    /// Of the successful ones, in microseconds.
    pub(super) latencies: Histogram<u64>,
    /// By kind, in the protocol's words.
    pub(super) errors: BTreeMap<String, u64>,
    /// Due before the end, and still waiting for their worker then.
    pub(super) not_sent: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX_US, SIGNIFICANT_DIGITS)
            .expect("the bounds are in order and three digits are few");
        Self { latencies, errors: BTreeMap::new(), not_sent: 0 }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.latencies += &other.latencies;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        self.not_sent += other.not_sent;
    }

    fn note(&mut self, result: Result<Duration, String>) {
        match result {
            Ok(took) => {
                let took = u64::try_from(took.as_micros()).unwrap_or(LATENCY_MAX_US);
                self.latencies.saturating_record(took.max(1));
            }
            Err(kind) => *self.errors.entry(kind).or_default() += 1,
        }
    }
}

impl Worker {
    /// Sends until the end of the window.
    pub(super) async fn run(mut self) -> Tally {
        let mut tally = Tally::new();
        let mut connection = None;
        let mut number = 0_u32;
        loop {
            let Some(due) = self.next_due(number, &mut tally).await else { return tally };
            let session = self.sessions[number as usize % self.sessions.len()];
            number = number.wrapping_add(1);
            let result = self.switch(&mut connection, session).await;
            if self.window.warm <= due {
                tally.note(result.map(|()| due.elapsed()));
            }
        }
    }

    /// Waits until it is time for request `number`. The instant from which its latency counts is
    /// when it was due, not when a busy worker came to it: a stall is felt by every request that
    /// it holds up.
    async fn next_due(&self, number: u32, tally: &mut Tally) -> Option<Instant> {
        let now = Instant::now();
        match self.pace {
            Pace::Closed => (now < self.window.end).then_some(now),
            Pace::Open { first, every } => {
                let due = first + every * number;
                if self.window.end <= due {
                    return None;
                }
                if self.window.end <= now {
                    let left = (self.window.end - due).as_nanos().div_ceil(every.as_nanos());
                    tally.not_sent = u64::try_from(left).unwrap_or(u64::MAX);
                    return None;
                }
                if due <= now {
                    return Some(due);
                }
                sleep_until(due).await;
                Some(Instant::now().min(due + TIMER_TICK))
            }
        }
    }

    /// One switch; the kind of error where it failed.
    async fn switch(
        &mut self,
        kept: &mut Option<Connection>,
        session: SessionId,
    ) -> Result<(), String> {
        let target = &self.targets[self.target];
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => match Connection::open(target).await {
                Ok(connection) => connection,
                Err(_) => {
                    self.go_elsewhere().await;
                    return Err(String::from("UNREACHABLE"));
                }
            },
        };
        let path = format!("/v1/sessions/{session}/switch");
        let (result, last) = match connection.post(target, &path).await {
            Ok(answer) => (judge(answer.status, answer.body), answer.last),
            Err(error) => {
                self.go_elsewhere().await;
                return Err(lost(&error));
            }
        };
        if !last {
            *kept = Some(connection);
        }
        result
    }

    async fn go_elsewhere(&mut self) {
        self.target = (self.target + 1) % self.targets.len();
        sleep(RECONNECT_PAUSE).await;
    }
}

fn judge(status: u16, body: &[u8]) -> Result<(), String> {
    if status == 200 {
        return Ok(());
    }
    let problem: Result<Problem, _> = serde_json::from_slice(body);
    Err(problem.map_or_else(|_| format!("HTTP {status}"), |problem| problem.error.kind))
}

fn lost(error: &io::Error) -> String {
    let timed_out = error.kind() == io::ErrorKind::TimedOut;
    String::from(if timed_out { "TIMEOUT" } else { "CONNECTION_LOST" })
}

#[cfg(test)]
mod tests {
    use synckairos_protocol::error::Kind;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn workers_share_the_rate_evenly() {
        let begin = Instant::now();
        let starts: Vec<_> = (0..4)
            .map(|index| match Pace::open(begin, 200, index, 4) {
                Pace::Open { first, every } => (first - begin, every),
                Pace::Closed => unreachable!("an open loop was asked for"),
            })
            .collect();
        let ms = Duration::from_millis;
        assert_eq!(starts, [0, 5, 10, 15].map(|start| (ms(start), ms(20))));
    }

    #[test]
    fn errors_are_counted_by_their_kind() {
        let body = serde_json::to_vec(&Problem::new(Kind::RateLimitExceeded, "slow")).unwrap();
        let mut tally = Tally::new();
        tally.note(judge(200, b"").map(|()| Duration::from_micros(250)));
        tally.note(judge(429, &body).map(|()| Duration::ZERO));
        tally.note(judge(502, b"<html>").map(|()| Duration::ZERO));
        let mut sum = Tally::new();
        sum.add(&tally);
        sum.add(&tally);
        assert_eq!(sum.latencies.len(), 2);
        assert_eq!(sum.latencies.max(), 250);
        let errors: Vec<_> = sum.errors.into_iter().collect();
        assert_eq!(
            errors,
            [(String::from("HTTP 502"), 2), (String::from("RATE_LIMIT_EXCEEDED"), 2)]
        );
    }

    /// A node that answers every request with 200 after `delay`.
    async fn node(delay: Duration) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut bytes = [0; 1024];
                    while 0 < stream.read(&mut bytes).await.unwrap_or(0) {
                        sleep(delay).await;
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        Target::parse(&url).unwrap()
    }

    fn worker(target: Target, pace: Pace, window: Window) -> Worker {
        let sessions = vec![SessionId::from_bits(1), SessionId::from_bits(2)];
        Worker { targets: Arc::from([target]), target: 0, sessions, pace, window }
    }

    #[tokio::test]
    async fn an_open_loop_feels_the_stall_behind_which_it_waits() {
        let ms = Duration::from_millis;
        let target = node(ms(50)).await;
        let begin = Instant::now();
        let window = Window { begin, warm: begin, end: begin + ms(400) };
        let pace = Pace::Open { first: begin, every: ms(10) };
        let tally = worker(target, pace, window).run().await;
        // 40 were due, one in 50 ms was answered, each later than the one before.
        let answered = tally.latencies.len();
        assert!((1..=8).contains(&answered), "{answered}");
        assert_eq!(answered + tally.not_sent, 40);
        assert!(100_000 < tally.latencies.max(), "{}", tally.latencies.max());
    }

    #[tokio::test]
    async fn a_closed_loop_counts_what_was_sent_after_the_warm_up() {
        let ms = Duration::from_millis;
        let target = node(Duration::ZERO).await;
        let begin = Instant::now();
        let never_warm = Window { begin, warm: begin + ms(200), end: begin + ms(50) };
        let tally = worker(target.clone(), Pace::Closed, never_warm).run().await;
        assert_eq!((tally.latencies.len(), tally.errors.len()), (0, 0));
        let begin = Instant::now();
        let window = Window { begin, warm: begin, end: begin + ms(50) };
        let tally = worker(target, Pace::Closed, window).run().await;
        assert!(!tally.latencies.is_empty());
        assert!(tally.errors.is_empty(), "{:?}", tally.errors);
    }
}
