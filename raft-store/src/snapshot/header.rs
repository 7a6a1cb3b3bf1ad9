//! What a snapshot says before its rows: its place in the log, and what is no row.

use serde::{Deserialize, Serialize};
use synckairos_protocol::{
    codec::{self, DecodeError, EncodeError, Kind},
    machine::LEVEL_OLDEST,
    roster::Roster,
    time::Stamp,
};

use crate::{rocks, state::meta::StateMeta, wire::SnapshotMetaV1};

const FORMAT_1: u16 = 1;
const FORMAT_2: u16 = 2;

/// Frozen.
#[derive(Serialize, Deserialize)]
struct HeaderV1 {
    meta: SnapshotMetaV1,
    now: Stamp,
    sessions: u64,
}

/// Frozen.
#[derive(Serialize, Deserialize)]
struct HeaderV2 {
    meta: SnapshotMetaV1,
    now: Stamp,
    level: u16,
    roster: Roster,
    sessions: u64,
    answered_first: u64,
    answered: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) meta: SnapshotMetaV1,
    pub(crate) now: Stamp,
    pub(crate) level: u16,
    /// From format level 2 on.
    pub(crate) roster: Option<Roster>,
    pub(crate) sessions: u64,
    pub(crate) answered_first: u64,
    pub(crate) answered: u64,
}

impl Header {
    pub(crate) fn of(meta: StateMeta, roster: Option<Roster>) -> Self {
        let StateMeta { last_applied, membership, now, sessions, level, answered_first, answered } =
            meta;
        let meta = SnapshotMetaV1 { last_log_id: last_applied, membership };
        Self { meta, now, level, roster, sessions, answered_first, answered }
    }

    /// What the state says of itself once the snapshot is in.
    pub(crate) fn state_meta(&self) -> StateMeta {
        StateMeta {
            last_applied: self.meta.last_log_id,
            membership: self.meta.membership.clone(),
            now: self.now,
            sessions: self.sessions,
            level: self.level,
            answered_first: self.answered_first,
            answered: self.answered,
        }
    }

    /// Whose rows follow, in this order.
    pub(crate) fn families(&self) -> &'static [&'static str] {
        if self.level <= LEVEL_OLDEST {
            &[rocks::SESSIONS]
        } else {
            &[rocks::SESSIONS, rocks::ANSWERED, rocks::UPDATES]
        }
    }

    /// The form that every node at this format level reads.
    pub(super) fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let Self { meta, now, level, roster, sessions, answered_first, answered } = self.clone();
        if level <= LEVEL_OLDEST {
            let old = HeaderV1 { meta, now, sessions };
            return codec::encode(Kind::SnapshotHeader, FORMAT_1, &old);
        }
        let roster = roster.unwrap_or_default();
        let header = HeaderV2 { meta, now, level, roster, sessions, answered_first, answered };
        codec::encode(Kind::SnapshotHeader, FORMAT_2, &header)
    }

    pub(super) fn decode(envelope: &[u8]) -> Result<Self, DecodeError> {
        if codec::format_of(envelope) == Some(FORMAT_1) {
            let HeaderV1 { meta, now, sessions } =
                codec::decode(Kind::SnapshotHeader, FORMAT_1, envelope)?;
            let level = LEVEL_OLDEST;
            let (roster, answered_first, answered) = (None, 0, 0);
            return Ok(Self { meta, now, level, roster, sessions, answered_first, answered });
        }
        let HeaderV2 { meta, now, level, roster, sessions, answered_first, answered } =
            codec::decode(Kind::SnapshotHeader, FORMAT_2, envelope)?;
        let roster = Some(roster);
        Ok(Self { meta, now, level, roster, sessions, answered_first, answered })
    }
}
