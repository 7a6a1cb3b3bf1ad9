//! Every bound that the protocol sets. What only one node decides (queues, sockets) is
//! configuration of that node.

use crate::time::Millis;

/// Participants in a session. v2's bound.
pub const PARTICIPANTS_MAX: usize = 1_000;
/// Shortest clock: banks, cycles, ceilings.
pub const CLOCK_MIN: Millis = Millis::new(1_000);
/// Longest clock: a day.
pub const CLOCK_MAX: Millis = Millis::new(86_400_000);
/// Longest Fischer increment.
pub const INCREMENT_MAX: Millis = Millis::new(60_000);
/// Largest integer that JSON readers keep exactly: 2^53 - 1.
pub const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;
/// Thresholds in `warnings_ms`.
pub const WARNINGS_MAX: usize = 8;
/// `metadata` as compact JSON text.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// `on_timeout.action`.
pub const ACTION_BYTES_MAX: usize = 256;
/// Body of a request.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Sessions in a cluster: each lives in memory, about 1 KiB for two participants.
pub const SESSIONS_MAX: usize = 1_000_000;

/// Commands in one log entry.
pub const BATCH_COMMANDS_MAX: usize = 4_096;
/// Bytes of one encoded log entry, a full batch of the largest creates cut short by the batcher.
pub const ENTRY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// One encoded command: a create with every field at its bound.
pub const COMMAND_BYTES_MAX: usize = 256 * 1024;
/// Commands that take effect together or not at all.
pub const ATOMIC_COMMANDS_MAX: usize = 100;
/// An idempotency key.
pub const REQUEST_KEY_BYTES_MAX: usize = 255;
/// How long the answer to a request with an idempotency key is kept.
pub const ANSWERED_KEPT: Millis = Millis::new(24 * 3_600_000);
/// Answers kept at a time; beyond it the oldest go.
pub const ANSWERED_MAX: usize = 100_000;
/// Bytes of the answers kept at a time; beyond it the oldest go.
pub const ANSWERED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Join tokens that have not expired.
pub const TOKENS_MAX: usize = 64;
/// `host:port` of a node.
pub const ADDRESS_BYTES_MAX: usize = 300;

/// Sessions that one `Tick` settles, and one `Sweep` removes.
pub const TICK_SESSIONS_MAX: u32 = 1_000;

/// Changes after which a `Tick` leaves the rest to the next one: each holds a whole session, and
/// after a long outage one session can owe thousands.
pub const TICK_CHANGES_MAX: usize = 2_000;

/// Sessions on one page of a list, where the request does not say.
pub const LIST_DEFAULT: usize = 50;
/// Sessions on one page of a list.
pub const LIST_MAX: usize = 200;
/// Sessions that are looked at for one page; what is left comes with the next.
pub const LIST_SCAN_MAX: usize = 10_000;
/// Bytes of one page, about: it ends early where sessions are large, but has at least one.
pub const LIST_BYTES_MAX: usize = 1024 * 1024;

/// One stored row, one snapshot chunk: a session at every bound fits.
pub const ROW_BYTES_MAX: usize = 1024 * 1024;
/// One frame between peers: an append of several entries.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
