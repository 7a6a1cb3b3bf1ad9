//! What belongs to the rows of the state as a whole; written in the same batch with them.

use serde::{Deserialize, Serialize};
use synckairos_protocol::{
    codec::{self, DecodeError, EncodeError, Kind},
    machine::LEVEL_OLDEST,
    time::Stamp,
};

use crate::wire::{LogIdV1, StoredMembershipV1};

const FORMAT_1: u16 = 1;
const FORMAT_2: u16 = 2;

/// Frozen.
#[derive(Serialize, Deserialize)]
struct StateMetaV1 {
    last_applied: Option<LogIdV1>,
    membership: StoredMembershipV1,
    now: Stamp,
    sessions: u64,
}

/// Frozen: the second form, from format level 2 on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateMeta {
    pub(crate) last_applied: Option<LogIdV1>,
    pub(crate) membership: StoredMembershipV1,
    /// The largest stamp applied.
    pub(crate) now: Stamp,
    pub(crate) sessions: u64,
    /// The format level.
    pub(crate) level: u16,
    /// The number of the oldest answer that is kept, and how many there are.
    pub(crate) answered_first: u64,
    pub(crate) answered: u64,
}

impl Default for StateMeta {
    fn default() -> Self {
        Self {
            last_applied: None,
            membership: StoredMembershipV1::default(),
            now: Stamp::ZERO,
            sessions: 0,
            level: LEVEL_OLDEST,
            answered_first: 0,
            answered: 0,
        }
    }
}

impl StateMeta {
    /// The form that every node at this format level reads.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if LEVEL_OLDEST < self.level {
            return codec::encode(Kind::StateMeta, FORMAT_2, self);
        }
        let Self { last_applied, membership, now, sessions, .. } = self.clone();
        let old = StateMetaV1 { last_applied, membership, now, sessions };
        codec::encode(Kind::StateMeta, FORMAT_1, &old)
    }

    pub(crate) fn decode(stored: &[u8]) -> Result<Self, DecodeError> {
        if codec::format_of(stored) != Some(FORMAT_1) {
            return codec::decode(Kind::StateMeta, FORMAT_2, stored);
        }
        let StateMetaV1 { last_applied, membership, now, sessions } =
            codec::decode(Kind::StateMeta, FORMAT_1, stored)?;
        Ok(Self { last_applied, membership, now, sessions, ..Self::default() })
    }
}
