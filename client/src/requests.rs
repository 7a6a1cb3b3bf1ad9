//! The bodies of requests as JSON, and a short way to describe a session.

use serde::{Serialize, ser::Error as _};
use serde_json::{Value, json};
use synckairos_protocol::{
    command::Intent,
    ids::{GroupId, ParticipantId, SessionId},
    limits,
    session::{NewParticipant, NewSession, OnOutage, SyncMode},
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
    #[serde(skip_serializing_if = "Option::is_none")]
    on_outage: Option<OnOutage>,
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

/// A command of a batch: the body of its own route, and what is in that route's path.
#[derive(Serialize)]
struct ActionForm<T> {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
struct VersionForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_version: Option<u64>,
}

pub(crate) fn create_body(new: &NewSession, on_outage: OnOutage) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&create_form(new, on_outage)?)
}

fn create_form(new: &NewSession, on_outage: OnOutage) -> serde_json::Result<CreateForm> {
    let participant = |new: &NewParticipant| ParticipantForm {
        participant_id: new.id,
        participant_index: new.index,
        total_time_ms: new.bank,
        group_id: new.group,
    };
    let groups = new.groups.iter();
    Ok(CreateForm {
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
        on_outage: (on_outage != OnOutage::Charge).then_some(on_outage),
    })
}

/// # Errors
/// Metadata is no JSON, or a command is itself several or has a key.
pub(crate) fn batch_body(commands: &[Intent]) -> serde_json::Result<Vec<u8>> {
    let commands = commands.iter().map(action).collect::<serde_json::Result<Vec<Value>>>()?;
    serde_json::to_vec(&json!({ "commands": commands }))
}

fn action(command: &Intent) -> serde_json::Result<Value> {
    let create = |new, on_outage| {
        let body = create_form(new, on_outage)?;
        serde_json::to_value(ActionForm { action: "create", session_id: None, body })
    };
    let version = |action, session: &SessionId, expected_version: &Option<u64>| {
        let (session_id, expected_version) = (Some(*session), *expected_version);
        let body = VersionForm { expected_version };
        serde_json::to_value(ActionForm { action, session_id, body })
    };
    match command {
        Intent::Create(new) => create(new, OnOutage::Charge),
        Intent::CreateWith { new, on_outage } => create(new, *on_outage),
        Intent::Start { session, expected_version } => version("start", session, expected_version),
        Intent::Pause { session, expected_version } => version("pause", session, expected_version),
        Intent::Resume { session, expected_version } => {
            version("resume", session, expected_version)
        }
        Intent::Complete { session, expected_version } => {
            version("complete", session, expected_version)
        }
        Intent::Delete { session } => version("delete", session, &None),
        Intent::Switch { session, expected_version, current, next } => {
            let body = SwitchForm {
                next_participant_id: *next,
                current_participant_id: *current,
                expected_version: *expected_version,
            };
            let session_id = Some(*session);
            serde_json::to_value(ActionForm { action: "switch", session_id, body })
        }
        Intent::Atomic { .. } | Intent::Once { .. } => {
            Err(serde_json::Error::custom("a batch holds plain commands of sessions"))
        }
    }
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
        wire::{
            batch::parse_batch,
            create::{parse_create, parse_expected_version, parse_switch},
        },
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
        for (new, on_outage) in [(plain, OnOutage::Charge), (full, OnOutage::Freeze)] {
            let body = create_body(&new, on_outage).unwrap();
            assert_eq!(parse_create(&parsed(&body)), Ok((new.clone(), on_outage)));
            let version = Some(4);
            let commands = [
                Intent::create(new, on_outage),
                Intent::Start { session: id, expected_version: version },
                Intent::Switch {
                    session: id,
                    expected_version: None,
                    current: Some(alice),
                    next: Some(bob),
                },
                Intent::Pause { session: id, expected_version: None },
                Intent::Resume { session: id, expected_version: version },
                Intent::Complete { session: id, expected_version: None },
                Intent::Delete { session: id },
            ];
            let body = batch_body(&commands).unwrap();
            assert_eq!(parse_batch(&parsed(&body)), Ok(commands.to_vec()));
        }
        let nested = Intent::Atomic { intents: Vec::new() };
        assert!(batch_body(&[nested]).is_err());
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
        assert!(create_body(&new, OnOutage::Charge).is_err());
    }
}
