//! Waiting for a condition: the only place of the suites that lets time pass.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const POLL: Duration = Duration::from_millis(20);

/// Long enough for anything that is going to happen at all, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Probes until `Ok`; the last `Err` is what a failure shows.
///
/// # Panics
/// When `within` has passed.
pub async fn eventually<T>(
    within: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(last) if deadline <= Instant::now() => {
                panic!("not within {within:?}: {what}; last seen: {last}")
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// `Ok` when `condition` holds.
///
/// # Errors
/// What was seen instead.
pub fn holds(condition: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen()) }
}

/// Runs `step` again and again for `span`: for what must stay true, and for steady load.
pub async fn throughout(span: Duration, mut step: impl AsyncFnMut()) {
    let deadline = Instant::now() + span;
    while Instant::now() < deadline {
        step().await;
        sleep(POLL).await;
    }
}

/// Lets `span` pass between two requests of steady load. Never a way to wait for something.
pub async fn pass(span: Duration) {
    sleep(span).await;
}
