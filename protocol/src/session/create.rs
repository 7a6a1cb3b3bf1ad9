//! What a creator gives, and the session it makes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Group, OnOutage, OnTimeout, Participant, Phase, Seat, Session, SyncMode};
use crate::{
    ids::{GroupId, ParticipantId, SessionId},
    limits,
    time::{Millis, Stamp},
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewParticipant {
    pub id: ParticipantId,
    pub index: u64,
    pub bank: Millis,
    pub group: Option<GroupId>,
}

/// A session as its creator describes it, every default still open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSession {
    pub id: SessionId,
    pub mode: SyncMode,
    pub participants: Vec<NewParticipant>,
    /// Banks of groups. A group that is not listed has the sum of its members' banks.
    pub groups: Vec<Group>,
    pub total_time: Millis,
    pub time_per_cycle: Option<Millis>,
    pub increment: Millis,
    pub max_time: Option<Millis>,
    pub on_timeout: Option<OnTimeout>,
    pub auto_advance: Option<bool>,
    pub warnings: Vec<Millis>,
    pub metadata: Option<String>,
    /// Who starts; the first in the array where absent.
    pub first: Option<ParticipantId>,
}

impl NewSession {
    /// The first rule that this description breaks, worded as it should hold.
    ///
    /// The edge checks the same and more, with a field path for each; this is what the machine
    /// relies on whoever the command came from.
    pub fn broken_rule(&self) -> Option<&'static str> {
        let ids: BTreeSet<_> = self.participants.iter().map(|new| new.id).collect();
        let group_ids: BTreeSet<_> = self.groups.iter().map(|group| group.id).collect();
        let is_clock = |time: Millis| limits::CLOCK_MIN <= time && time <= limits::CLOCK_MAX;
        let action_bytes = match &self.on_timeout {
            Some(OnTimeout::AutoAction { action }) => action.len(),
            Some(OnTimeout::Notify | OnTimeout::SkipCycle | OnTimeout::EndSession) | None => 0,
        };
        let rules = [
            ("there is a participant", !self.participants.is_empty()),
            ("participants are at most 1000", self.participants.len() <= limits::PARTICIPANTS_MAX),
            ("participants are distinct", ids.len() == self.participants.len()),
            ("groups are distinct", group_ids.len() == self.groups.len()),
            ("groups are at most 1000", self.groups.len() <= limits::PARTICIPANTS_MAX),
            (
                "clocks are within 1000 ms and a day",
                [Some(self.total_time), self.time_per_cycle, self.max_time]
                    .into_iter()
                    .flatten()
                    .chain(self.participants.iter().map(|new| new.bank))
                    .chain(self.groups.iter().map(|group| group.bank))
                    .all(is_clock),
            ),
            ("the increment is at most a minute", self.increment <= limits::INCREMENT_MAX),
            ("warnings are at most 8", self.warnings.len() <= limits::WARNINGS_MAX),
            ("warnings are positive", self.warnings.iter().all(|warning| !warning.is_zero())),
            ("the action is at most 256 bytes", action_bytes <= limits::ACTION_BYTES_MAX),
            (
                "the metadata is at most 16 KiB",
                self.metadata.as_ref().map_or(0, String::len) <= limits::METADATA_BYTES_MAX,
            ),
            ("who starts takes part", self.first.is_none_or(|first| ids.contains(&first))),
        ];
        rules.into_iter().find(|(_, holds)| !holds).map(|(rule, _)| rule)
    }

    /// The pending session that this description makes at `now`.
    pub(crate) fn at(&self, on_outage: OnOutage, now: Stamp) -> Session {
        let first = self.first.and_then(|id| self.participants.iter().position(|new| new.id == id));
        Session {
            id: self.id,
            mode: self.mode,
            version: 1,
            commanded_version: 1,
            participants: self.participants.iter().map(Participant::from).collect(),
            groups: self.group_banks(),
            phase: Phase::Pending,
            first: Seat(first.and_then(|index| u16::try_from(index).ok()).unwrap_or(0)),
            total_time: self.total_time,
            time_per_cycle: self.time_per_cycle,
            increment: self.increment,
            max_time: self.max_time,
            on_timeout: self.on_timeout.clone(),
            auto_advance: self.auto_advance,
            warnings: self.warnings.clone(),
            warned: None,
            elapsed: Millis::ZERO,
            cycle_elapsed: Millis::ZERO,
            expired_at: None,
            metadata: self.metadata.clone(),
            created_at: now,
            updated_at: now,
            started_at: None,
            completed_at: None,
            on_outage,
        }
    }

    fn group_banks(&self) -> Vec<Group> {
        if self.mode != SyncMode::PerGroup {
            return Vec::new();
        }
        let mut banks: BTreeMap<GroupId, Millis> = BTreeMap::new();
        for member in &self.participants {
            if let Some(group) = member.group {
                let bank = banks.entry(group).or_default();
                *bank = bank.saturating_add(member.bank);
            }
        }
        banks.extend(self.groups.iter().map(|group| (group.id, group.bank)));
        banks.into_iter().map(|(id, bank)| Group { id, bank }).collect()
    }
}

impl From<&NewParticipant> for Participant {
    fn from(new: &NewParticipant) -> Self {
        Self {
            id: new.id,
            index: new.index,
            group: new.group,
            bank: new.bank,
            used: Millis::ZERO,
            cycles: 0,
            expired_at: None,
        }
    }
}

impl Session {
    /// Is this what an identical request made, and has nothing happened to it since?
    pub(crate) fn is_fresh_copy_of(&self, created: &Self) -> bool {
        let same_age =
            Self { created_at: self.created_at, updated_at: self.updated_at, ..created.clone() };
        *self == same_age
    }
}
