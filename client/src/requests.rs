//! The bodies of requests as JSON, and a short way to describe a session.

use serde::Serialize;
use serde_json::Value;
use synckairos_protocol::{
    ids::{GroupId, ParticipantId, SessionId},
    limits,
    session::{NewParticipant, NewSession, SyncMode},
    time::Millis,
    wire::{
        create::SwitchBody,
        words::{TimeoutRule, mode_word},
    },
};

/// A session of these participants in turn order, each with its bank, everything else at its
/// default. What should differ is set with `NewSession { …, ..new_session(…) }`.
///
/// `total_time` becomes the sum of the banks, a day at most.
pub fn new_session(id: SessionId, mode: SyncMode, banks: &[(ParticipantId, Millis)]) -> NewSession {
    let participant = |((id, bank), index)| NewParticipant { id, index, bank, group: None };
    let total_time = banks.iter().fold(Millis::ZERO, |sum, (_, bank)| sum.saturating_add(*bank));
    NewSession {
        id,
        mode,
        participants: banks.iter().copied().zip(0..).map(participant).collect(),
        groups: Vec::new(),
        total_time: total_time.min(limits::CLOCK_MAX),
        time_per_cycle: None,
        increment: Millis::ZERO,
        max_time: None,
        on_timeout: None,
        auto_advance: None,
        warnings: Vec::new(),
        metadata: None,
        first: None,
    }
}

#[derive(Serialize)]
struct CreateForm {
    session_id: SessionId,
    sync_mode: &'static str,
    participants: Vec<ParticipantForm>,
    total_time_ms: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_per_cycle_ms: Option<Millis>,
    increment_ms: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_time_ms: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_timeout: Option<TimeoutRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_advance: Option<bool>,
    #[serde(skip_serializing_if = "<[Millis]>::is_empty")]
    warnings_ms: Vec<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_participant_id: Option<ParticipantId>,
}

#[derive(Serialize)]
struct ParticipantForm {
    participant_id: ParticipantId,
    participant_index: u64,
    total_time_ms: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<GroupId>,
}

#[derive(Serialize)]
struct GroupForm {
    group_id: GroupId,
    total_time_ms: Millis,
}

#[derive(Serialize)]
struct SwitchForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_participant_id: Option<ParticipantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_participant_id: Option<ParticipantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_version: Option<u64>,
}

pub(crate) fn create_body(new: &NewSession) -> serde_json::Result<Vec<u8>> {
    let participant = |new: &NewParticipant| ParticipantForm {
        participant_id: new.id,
        participant_index: new.index,
        total_time_ms: new.bank,
        group_id: new.group,
    };
    let groups = new.groups.iter();
    serde_json::to_vec(&CreateForm {
        session_id: new.id,
        sync_mode: mode_word(new.mode),
        participants: new.participants.iter().map(participant).collect(),
        total_time_ms: new.total_time,
        time_per_cycle_ms: new.time_per_cycle,
        increment_ms: new.increment,
        max_time_ms: new.max_time,
        metadata: new.metadata.as_deref().map(serde_json::from_str).transpose()?,
        groups: groups
            .map(|group| GroupForm { group_id: group.id, total_time_ms: group.bank })
            .collect(),
        on_timeout: new.on_timeout.as_ref().map(TimeoutRule::from),
        auto_advance: new.auto_advance,
        warnings_ms: new.warnings.clone(),
        active_participant_id: new.first,
    })
}

/// `None` where there is nothing to say.
pub(crate) fn switch_body(body: SwitchBody) -> serde_json::Result<Option<Vec<u8>>> {
    let SwitchBody { next, current, expected_version } = body;
    if body == SwitchBody::default() {
        return Ok(None);
    }
    let form =
        SwitchForm { next_participant_id: next, current_participant_id: current, expected_version };
    serde_json::to_vec(&form).map(Some)
}

/// `None` where there is nothing to say.
pub(crate) fn version_body(expected_version: Option<u64>) -> Option<Vec<u8>> {
    expected_version.map(|version| format!(r#"{{"expected_version":{version}}}"#).into_bytes())
}

#[cfg(test)]
mod tests {
    use synckairos_protocol::{
        session::{Group, OnTimeout},
        wire::create::{parse_create, parse_expected_version, parse_switch},
    };

    use super::*;

    fn parsed(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn the_service_reads_what_was_meant() {
        let alice: ParticipantId = "223e4567-e89b-12d3-a456-426614174001".parse().unwrap();
        let bob: ParticipantId = "223e4567-E89B-12d3-a456-426614174002".parse().unwrap();
        let team: GroupId = "323e4567-e89b-12d3-a456-426614174009".parse().unwrap();
        let id = "123e4567-e89b-12d3-a456-426614174000".parse().unwrap();
        let bank = Millis::new(60_000);

        let plain = new_session(id, SyncMode::PerParticipant, &[(alice, bank), (bob, bank)]);
        let mut full = NewSession {
            groups: vec![Group { id: team, bank }],
            time_per_cycle: Some(Millis::new(5_000)),
            increment: Millis::new(300),
            max_time: Some(Millis::new(70_000)),
            on_timeout: Some(OnTimeout::AutoAction { action: String::from("fold") }),
            auto_advance: Some(false),
            warnings: vec![Millis::new(10_000), Millis::new(20_000)],
            metadata: Some(String::from(r#"{"a":[1,2.5],"b":null}"#)),
            first: Some(bob),
            ..new_session(id, SyncMode::PerGroup, &[(alice, bank), (bob, bank)])
        };
        full.participants[0].group = Some(team);
        for new in [plain, full] {
            let body = create_body(&new).unwrap();
            assert_eq!(parse_create(&parsed(&body)), Ok(new));
        }
    }

    #[test]
    fn small_bodies_are_read_back_too() {
        let next = "223e4567-e89b-12d3-a456-426614174001".parse().unwrap();
        let switch = SwitchBody { next: Some(next), current: None, expected_version: Some(7) };
        let body = switch_body(switch).unwrap().unwrap();
        assert_eq!(parse_switch(&parsed(&body)), Ok(switch));
        assert_eq!(switch_body(SwitchBody::default()).unwrap(), None);

        let body = version_body(Some(3)).unwrap();
        assert_eq!(parse_expected_version(&parsed(&body)), Ok(Some(3)));
        assert_eq!(version_body(None), None);
    }

    #[test]
    fn metadata_that_is_no_json_is_not_sent() {
        let id = SessionId::from_bits(0);
        let new = NewSession {
            metadata: Some(String::from("{")),
            ..new_session(id, SyncMode::Global, &[])
        };
        assert!(create_body(&new).is_err());
    }
}
