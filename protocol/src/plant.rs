//! Deliberate defects, one of which a program can be asked to have: the fault-injection suite must
//! find each. Compiled in with the feature `planted-bugs` only, which nothing turns on by itself.
//!
//! Where one is planted, the code asks [`Plant::is_on`] under `#[cfg(feature = "planted-bugs")]`.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// What stands before every id in a program, so that one can be searched for them.
pub const MARKER: &str = "planted-bug:";

/// Chosen once, before anything else happens.
static PLANTED: OnceLock<Plant> = OnceLock::new();
/// How often the planted one could have shown.
static OCCASIONS: AtomicU64 = AtomicU64::new(0);

macro_rules! plants {
    ($($(#[$what:meta])* $name:ident = $id:literal,)*) => {
        /// A defect. The comments tell what the program does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Plant { $($(#[$what])* $name,)* }

        impl Plant {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The id after [`MARKER`].
            const fn marked(self) -> &'static str {
                match self { $(Self::$name => concat!("planted-bug:", $id),)* }
            }
        }
    };
}

plants! {
    /// A leader that has waited 10 ms for a majority answers a write all the same.
    AckBeforeCommit = "ack-before-commit",
    /// The log is written and not synced.
    SkipFsync = "skip-fsync",
    /// Who believes to lead answers reads without asking a majority.
    StaleLeaderReads = "stale-leader-reads",
    /// A follower answers reads from what it has applied.
    FollowerReadsLocal = "follower-reads-local",
    /// The answer to an idempotency key is found by the leader that gave it, and by no other.
    RetryAppliedTwice = "retry-applied-twice",
    /// A repeat is told what the session is now, instead of what was answered first.
    RetryAnsweredAnew = "retry-answered-anew",
    /// Every seventh answer to an idempotency key is left out of a snapshot.
    SnapshotForgetsKey = "snapshot-forgets-key",
    /// The first session is left out of a snapshot.
    SnapshotLosesSession = "snapshot-loses-session",
    /// The last update that a client missed is not told when it resumes.
    ResumeDropsUpdate = "resume-drops-update",
    /// The last update that a client missed is told twice when it resumes.
    ResumeRepeatsUpdate = "resume-repeats-update",
    /// Who resumes is told the latest state under the versions that it missed.
    ResumeTellsLatestState = "resume-tells-latest-state",
    /// One update in 29 does not reach a subscriber.
    UpdateNotPushed = "update-not-pushed",
    /// A node that is cut off does not say so to its subscribers.
    StalePretendsLive = "stale-pretends-live",
    /// A leader stamps with its wall clock.
    StampFromWallClock = "stamp-from-wall-clock",
    /// A new leader counts from its wall clock, whatever time it was told.
    TimeGoesBackAtElection = "time-goes-back-at-election",
    /// A switch stamped in the millisecond of the deadline wins.
    ExpiredWinsAtTheMillisecond = "expired-wins-at-the-millisecond",
    /// Clocks run out 40 ms before they are due.
    EarlyExpiry = "early-expiry",
    /// A clock runs out when that is noticed, instead of when it was due.
    ExpiryAtNotice = "expiry-at-notice",
    /// A clock that fell due while nobody led is not looked at any more, nor is any later one.
    MissedAlarm = "missed-alarm",
    /// The session that changed last comes back from a restart one version older.
    VersionGoesBackAfterRestart = "version-goes-back-after-restart",
    /// Entries that are applied together are all applied at the time of the last one.
    DivergentApply = "divergent-apply",
    /// `per_group` charges the next group's bank.
    WrongGroupsBank = "wrong-groups-bank",
    /// Who is out of time still gets the increment.
    IncrementAfterExpiry = "increment-after-expiry",
    /// The stretch before a pause is not charged.
    PauseChargesNothing = "pause-charges-nothing",
    /// An outage is credited twice to the clocks that freeze.
    OutageCreditedTwice = "outage-credited-twice",
    /// An `expected_version` from the past is good enough.
    CasLost = "cas-lost",
    /// Two commands that overlap, and name no version, both take effect.
    LostConflict = "lost-conflict",
    /// A batch that is refused keeps what it did before.
    BatchHalfApplied = "batch-half-applied",
    /// A list leaves out the first session of each page but the first.
    ListOmitsOne = "list-omits-one",
    /// A write whose fate is unknown is answered as one without effect.
    EffectNoneLie = "effect-none-lie",
    /// A write whose fate is unknown is sent again.
    UnknownSentAgain = "unknown-sent-again",
    /// A request whose leader is lost ends in a panic.
    PanicAtLostLeader = "panic-at-lost-leader",
}

/// There is no such defect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no planted bug is called {0:?}; there are {known}", known = known())]
pub struct UnknownPlant(String);

/// Gives this process the defect of this id, for good.
///
/// # Errors
/// [`UnknownPlant`] names all that there are.
pub fn plant(id: &str) -> Result<(), UnknownPlant> {
    let plant = Plant::ALL.iter().find(|plant| plant.id() == id);
    let plant = plant.ok_or_else(|| UnknownPlant(id.to_owned()))?;
    PLANTED.get_or_init(|| *plant);
    Ok(())
}

fn known() -> String {
    Plant::ALL.iter().map(|plant| plant.id()).collect::<Vec<_>>().join(", ")
}

impl Plant {
    pub fn id(self) -> &'static str {
        let marked = self.marked();
        marked.strip_prefix(MARKER).unwrap_or(marked)
    }

    /// Does this process have it?
    pub fn is_on(self) -> bool {
        PLANTED.get() == Some(&self)
    }

    /// Has it, and this is the `nth` occasion since it last showed.
    pub fn shows_every(self, nth: u64) -> bool {
        self.is_on() && OCCASIONS.fetch_add(1, Ordering::Relaxed) % nth == nth - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_carry_the_mark() {
        for (index, plant) in Plant::ALL.iter().enumerate() {
            assert_eq!(plant.marked(), format!("{MARKER}{}", plant.id()));
            assert!(Plant::ALL[..index].iter().all(|other| other.id() != plant.id()));
            assert!(!plant.is_on(), "nothing is planted unasked");
        }
    }

    #[test]
    fn an_unknown_id_is_refused_with_the_known_ones() {
        let error = plant("no-such-bug").unwrap_err().to_string();
        assert!(error.contains("\"no-such-bug\"") && error.contains("skip-fsync"), "{error}");
    }
}
