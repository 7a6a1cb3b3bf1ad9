//! One stored example of every JSON form. A changed example is a change of the contract.

use std::{fs, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    batch::{BatchResult, BatchResults},
    listing::{Freshness, ListAnswer, StaleAnswer},
    problem::{FieldIssue, IssueCode, Problem},
    rest::{
        Envelope, MemberAnswer, NodeAnswer, NodesAnswer, SessionState, SwitchResult, TimeAnswer,
    },
    ws::{CauseForm, ServerMessage},
};
use crate::{
    error::Kind,
    event::{Answer, Cause, Event},
    ids::{GroupId, ParticipantId, SessionId},
    reject::Reject,
    session::{Group, OnOutage, OnTimeout, Participant, Phase, Seat, Session, SyncMode},
    time::{Millis, Stamp},
};

const NOW: Stamp = Stamp::from_unix_millis(1_769_846_400_500);

fn id() -> SessionId {
    SessionId::from_bits(0x123e_4567_e89b_12d3_a456_4266_1417_4000)
}

fn player(number: u128) -> ParticipantId {
    ParticipantId::from_bits(0x223e_4567_e89b_12d3_a456_4266_1417_4000 + number)
}

fn participant(number: u128) -> Participant {
    Participant {
        id: player(number),
        index: 0,
        group: None,
        bank: Millis::new(60_000),
        used: Millis::ZERO,
        cycles: 0,
        expired_at: None,
    }
}

/// What v2 would call a running chess game after one move.
fn running() -> Session {
    let started = Stamp::from_unix_millis(1_769_846_400_000);
    Session {
        id: id(),
        mode: SyncMode::PerParticipant,
        version: 3,
        commanded_version: 3,
        participants: vec![
            Participant {
                bank: Millis::new(59_900),
                used: Millis::new(100),
                cycles: 1,
                ..participant(1)
            },
            Participant { index: 1, ..participant(2) },
        ],
        groups: Vec::new(),
        phase: Phase::Running {
            active: Seat(1),
            since: Stamp::from_unix_millis(1_769_846_400_100),
        },
        first: Seat(0),
        total_time: Millis::new(120_000),
        time_per_cycle: None,
        increment: Millis::ZERO,
        max_time: None,
        on_timeout: None,
        auto_advance: None,
        warnings: Vec::new(),
        warned: None,
        elapsed: Millis::new(100),
        cycle_elapsed: Millis::ZERO,
        expired_at: None,
        metadata: None,
        created_at: started,
        updated_at: Stamp::from_unix_millis(1_769_846_400_100),
        started_at: Some(started),
        on_outage: OnOutage::Charge,
        completed_at: None,
    }
}

/// Every optional key present.
fn expired_with_everything() -> Session {
    let group = GroupId::from_bits(0x323e_4567_e89b_12d3_a456_4266_1417_4009);
    let at = Stamp::from_unix_millis(1_769_846_405_000);
    let mut session = running();
    session.mode = SyncMode::PerGroup;
    session.groups = vec![Group { id: group, bank: Millis::ZERO }];
    for member in &mut session.participants {
        member.group = Some(group);
        member.expired_at = Some(at);
    }
    session.phase = Phase::Expired { seat: Seat(1), at };
    session.time_per_cycle = Some(Millis::new(5_000));
    session.max_time = Some(Millis::new(9_000));
    session.on_timeout = Some(OnTimeout::AutoAction { action: String::from("fold") });
    session.auto_advance = Some(false);
    session.on_outage = OnOutage::Freeze;
    session.warnings = vec![Millis::new(10_000)];
    session.metadata = Some(String::from(r#"{"room":"blue"}"#));
    session.expired_at = Some(at);
    session.completed_at = Some(at);
    session
}

/// Compares with the stored example, or stores it where `UPDATE_GOLDEN` is set, and reads it back.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/wire").join(name);
    let text = format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap();
    assert_eq!(text, stored, "{name} changed: is this a change of the contract?");
    assert_eq!(&serde_json::from_str::<T>(&stored).unwrap(), value, "{name}");
}

#[test]
fn rest_answers_look_as_stored() {
    let data = SessionState::from(&running());
    check("session.json", &Envelope { data });
    let data = SessionState::from(&expired_with_everything());
    check("session_with_everything.json", &Envelope { data });
    let data = SwitchResult::new(&running(), Some(player(1)));
    check("switch.json", &Envelope { data });
    check("time.json", &TimeAnswer::at(NOW));
    check(
        "node.json",
        &NodeAnswer {
            node_id: 2,
            role: String::from("follower"),
            term: 4,
            leader_id: Some(1),
            leader_http: Some(String::from("http://10.0.0.1:3000")),
            last_log: 18,
            applied: 17,
            version: String::from("3.0.0"),
        },
    );
    let member = |id: u64, voter| MemberAnswer { id, http: format!("10.0.0.{id}:3000"), voter };
    check(
        "nodes.json",
        &NodesAnswer {
            cluster_id: String::from("0198c5a0-0000-7000-8000-000000000003"),
            nodes: vec![member(1, true), member(2, true), member(4, false)],
            leader: Some(1),
            membership_revision: 12,
        },
    );
}

#[test]
fn batches_pages_and_stale_answers_look_as_stored() {
    let session = std::sync::Arc::new(running());
    let answers = [
        Answer::Session(session.clone()),
        Answer::Switched { session: session.clone(), expired: None },
        Answer::Deleted,
    ];
    let results = answers.iter().filter_map(BatchResult::of).collect();
    check("batch.json", &Envelope { data: BatchResults { results } });
    let freshness = Freshness { revision: 17, as_of_ms: NOW, leader_heard_ms: Millis::new(40) };
    let data = SessionState::from(&*session);
    check("session_stale.json", &StaleAnswer { data: data.clone(), freshness });
    let next_cursor = Some(session.id);
    check("list.json", &ListAnswer { data: vec![data], next_cursor, freshness: None });
    let reject = Reject::SessionNotFound(id());
    let in_batch = Reject::InBatch { index: 3, reject: Box::new(reject) };
    check("error_in_batch.json", &Problem::from_reject(&in_batch));
}

#[test]
fn errors_look_as_stored() {
    check(
        "error_validation.json",
        &Problem::validation(vec![FieldIssue::new(
            "participants.0.total_time_ms",
            IssueCode::TooSmall,
            "Total time is below the least allowed, 1000ms (1 second)",
        )]),
    );
    let moved = Reject::VersionMoved { session: id(), expected: 3, actual: 4 };
    check("error_conflict.json", &Problem::from_reject(&moved));
    let expired = Reject::Expired { session: id(), participant: player(1), at: NOW };
    check("error_expired.json", &Problem::from_reject(&expired));
    let mut limited = Problem::new(Kind::RateLimitExceeded, "Too many requests");
    limited.error.retry_after_seconds = Some(60);
    check("error_rate_limited.json", &limited);
    assert_eq!(limited.error.known_kind(), Ok(Kind::RateLimitExceeded));
}

#[test]
fn updates_look_as_stored() {
    let (session_id, timestamp, server_time) = (id(), NOW, NOW);
    let state = || Box::new(SessionState::from(&running()));
    let switched = Event::Switched { from: player(1), to: player(2) };
    let expired = Event::ParticipantExpired {
        participant: player(2),
        due: NOW,
        action: Some(String::from("fold")),
    };
    let credited = Event::OutageCredited {
        participant: player(2),
        from: NOW,
        until: NOW.after(Millis::new(2_000)),
        credited: Millis::new(2_000),
    };
    let messages = [
        (
            "ws_state_update_outage.json",
            ServerMessage::StateUpdate {
                session_id,
                timestamp,
                state: state(),
                version: 3,
                revision: 17,
                cause: CauseForm::of(&credited, Cause::Auto),
                server_time,
            },
        ),
        (
            "ws_connected.json",
            ServerMessage::Connected { session_id: id().to_string(), timestamp, resuming: None },
        ),
        (
            "ws_state_update.json",
            ServerMessage::StateUpdate {
                session_id,
                timestamp,
                state: state(),
                version: 3,
                revision: 17,
                cause: CauseForm::of(&switched, Cause::Command),
                server_time,
            },
        ),
        (
            "ws_state_update_timeout.json",
            ServerMessage::StateUpdate {
                session_id,
                timestamp,
                state: state(),
                version: 3,
                revision: 17,
                cause: CauseForm::of(&expired, Cause::Timeout),
                server_time,
            },
        ),
    ];
    for (name, message) in messages {
        check(name, &message);
    }
}

#[test]
fn messages_without_a_change_of_version_look_as_stored() {
    let (session_id, timestamp, server_time) = (id(), NOW, NOW);
    let messages = [
        (
            "ws_state_sync.json",
            ServerMessage::StateSync {
                session_id,
                timestamp,
                state: Box::new(SessionState::from(&running())),
                version: 3,
                revision: None,
                resumed: None,
                server_time,
            },
        ),
        (
            "ws_session_deleted.json",
            ServerMessage::SessionDeleted {
                session_id,
                timestamp,
                revision: Some(18),
                cause: Some(CauseForm::deleted(Cause::Auto)),
                server_time,
            },
        ),
        (
            "ws_warning.json",
            ServerMessage::Warning {
                session_id,
                timestamp,
                version: 3,
                revision: 17,
                participant: player(2),
                threshold: Millis::new(10_000),
                at: NOW,
                server_time,
            },
        ),
        ("ws_pong.json", ServerMessage::Pong { timestamp }),
        (
            "ws_error.json",
            ServerMessage::Error {
                code: String::from("SESSION_NOT_FOUND"),
                message: format!("Session {session_id} not found"),
                session_id: None,
            },
        ),
    ];
    for (name, message) in messages {
        check(name, &message);
    }
}

#[test]
fn messages_that_v2_does_not_have_look_as_stored() {
    let (session_id, timestamp, server_time) = (id(), NOW, NOW);
    let messages = [
        (
            "ws_state_sync_resumed.json",
            ServerMessage::StateSync {
                session_id,
                timestamp,
                state: Box::new(SessionState::from(&running())),
                version: 3,
                revision: Some(17),
                resumed: Some(false),
                server_time,
            },
        ),
        ("ws_stale.json", ServerMessage::Stale { since: NOW }),
        (
            "ws_subscribed.json",
            ServerMessage::Subscribed { session_id: session_id.to_string(), timestamp },
        ),
        (
            "ws_unsubscribed.json",
            ServerMessage::Unsubscribed { session_id: session_id.to_string(), timestamp },
        ),
    ];
    for (name, message) in messages {
        check(name, &message);
    }
}

#[test]
fn a_state_has_the_keys_of_v2_in_the_order_of_v2() {
    let text = serde_json::to_string(&SessionState::from(&running())).unwrap();
    let keys = [
        "session_id",
        "sync_mode",
        "status",
        "version",
        "participants",
        "active_participant_id",
        "\"total_time_ms\":120000",
        "time_per_cycle_ms",
        "cycle_started_at",
        "session_started_at",
        "session_completed_at",
        "increment_ms",
        "created_at",
        "updated_at",
        "elapsed_ms",
    ];
    let positions: Vec<_> = keys.iter().map(|key| text.find(key)).collect();
    assert!(positions.iter().all(Option::is_some), "{text}");
    assert!(positions.is_sorted(), "{text}");
    assert!(!text.contains("max_time_ms") && !text.contains("group_id"), "{text}");
}
