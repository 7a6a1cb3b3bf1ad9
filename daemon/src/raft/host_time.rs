//! What the host's clocks show: the one place of a node that looks at them.

use rustix::time::{ClockId, clock_gettime};

/// What the host's two clocks show at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostTime {
    /// Since boot, suspend included: never steps.
    pub(super) boot_us: i64,
    /// Since the Unix epoch: may step at any time.
    pub(super) wall_us: i64,
}

impl HostTime {
    pub(super) fn now() -> Self {
        let host =
            Self { boot_us: read_us(ClockId::Boottime), wall_us: read_us(ClockId::Realtime) };
        #[cfg(debug_assertions)]
        let host = super::test_clock::seen(host);
        host
    }
}

fn read_us(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
}
