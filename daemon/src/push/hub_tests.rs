//! The hub with real changes from a real machine.

use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use serde_json::{Value, json};
use synckairos_protocol::{
    command::{Command, CommandBatch, Stamped},
    machine::Machine,
    wire::create::parse_create,
};
use tokio::time::timeout;

use super::*;

const SESSION: &str = "123e4567-e89b-12d3-a456-426614174000";
const ALICE: &str = "223e4567-e89b-12d3-a456-426614174001";
const PATIENCE: Duration = Duration::from_secs(5);

fn id() -> SessionId {
    SESSION.parse().unwrap()
}

pub(crate) fn create() -> Command {
    let body = json!({
        "session_id": SESSION,
        "sync_mode": "per_participant",
        "participants": [
            {"participant_id": ALICE, "participant_index": 0, "total_time_ms": 60_000},
        ],
        "total_time_ms": 60_000,
        "warnings_ms": [10_000],
    });
    Command::Create(Box::new(parse_create(&body).unwrap().0))
}

/// The changes of one entry that holds `command`.
fn apply(machine: &mut Machine, revision: u64, at: u64, command: Command) -> AppliedEvent {
    let stamp = Stamp::from_unix_millis(at);
    let batch = CommandBatch { commands: vec![Stamped { stamp, command }] };
    AppliedEvent::Entry { revision, changes: machine.apply(&batch).changes }
}

struct Stage {
    hub: Hub,
    applied: mpsc::Sender<AppliedEvent>,
    machine: Machine,
}

fn stage() -> Stage {
    let (applied, receiver) = mpsc::channel(8);
    let now: Now = Arc::new(|| Stamp::from_unix_millis(77));
    let (hub, task) = Hub::new(receiver, now, Metrics::new());
    tokio::spawn(task);
    Stage { hub, applied, machine: Machine::default() }
}

impl Stage {
    async fn commit(&mut self, revision: u64, at: u64, command: Command) {
        let event = apply(&mut self.machine, revision, at, command);
        self.applied.send(event).await.unwrap();
    }
}

/// A mailbox that `sessions` are delivered to, and the subscriptions' numbers.
async fn watch(hub: &Hub, sessions: &[SessionId]) -> (Mailbox, Vec<(SessionId, u64)>) {
    let (mailbox, mut numbers) = (Mailbox::new(), Vec::new());
    mailbox.resize(sessions.len());
    for session in sessions {
        numbers.push((*session, hub.subscribe(*session, &mailbox).await.unwrap()));
    }
    (mailbox, numbers)
}

async fn next(mailbox: &mut Mailbox) -> Push {
    timeout(PATIENCE, mailbox.next()).await.unwrap().unwrap().push
}

fn read(text: &Utf8Bytes) -> Value {
    serde_json::from_str(text.as_str()).unwrap()
}

#[tokio::test]
async fn every_change_reaches_who_watches_the_session_and_nobody_else() {
    let mut stage = stage();
    let (mut watching, _) = watch(&stage.hub, &[id()]).await;
    let other = SESSION.to_uppercase();
    let other = SessionId::parse_loose(&other).unwrap();
    let (mut elsewhere, _) = watch(&stage.hub, &[other]).await;

    stage.commit(5, 1_000, create()).await;
    let expected = synckairos_protocol::command::Expected::Exactly(1);
    stage.commit(6, 2_000, Command::Start { session: id(), expected }).await;
    stage.commit(7, 55_000, Command::Tick { sessions_max: 10 }).await;
    stage.commit(8, 56_000, Command::Delete { session: id() }).await;

    let Push::Update { version: 1, revision: 5, text } = next(&mut watching).await else {
        panic!("created")
    };
    let created = read(&text);
    assert_eq!(created["type"], "STATE_UPDATE");
    assert_eq!(created["sessionId"], SESSION);
    assert_eq!(created["revision"], 5);
    assert_eq!(created["timestamp"], 77);
    assert_eq!(created["state"]["status"], "pending");
    let cause = json!({"type": "created", "reason": "command"});
    assert_eq!(created["cause"], cause);

    let Push::Update { version: 2, .. } = next(&mut watching).await else { panic!("started") };
    let Push::Notice(text) = next(&mut watching).await else { panic!("warned") };
    assert_eq!(read(&text)["threshold_ms"], 10_000);
    let Push::Deleted { revision: 8, text } = next(&mut watching).await else { panic!("deleted") };
    assert_eq!(read(&text)["cause"]["type"], "deleted");
    assert!(elsewhere.try_next().is_none());
}

#[tokio::test]
async fn a_slow_subscriber_is_dropped_and_told() {
    let mut stage = stage();
    let (slow, _) = watch(&stage.hub, &[id()]).await;
    stage.commit(1, 1_000, create()).await;
    let complete = |version| {
        let expected = synckairos_protocol::command::Expected::Exactly(version);
        Command::Complete { session: id(), expected }
    };
    for version in 1..=u64::try_from(QUEUE_MAX).unwrap() {
        stage.commit(version + 1, 2_000, complete(version)).await;
    }
    timeout(PATIENCE, slow.slow.cancelled()).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_asks_everybody_to_read_again() {
    let stage = stage();
    let (mut watching, _) = watch(&stage.hub, &[id()]).await;
    stage.applied.send(AppliedEvent::Installed { revision: 9 }).await.unwrap();
    assert_eq!(next(&mut watching).await, Push::Resync);
}

#[tokio::test]
async fn who_unsubscribed_is_forgotten() {
    let mut stage = stage();
    let (mut first, numbers) = watch(&stage.hub, &[id()]).await;
    stage.hub.unsubscribe(numbers).await;
    // Registered after the other was forgotten.
    let (mut second, _) = watch(&stage.hub, &[id()]).await;
    stage.commit(1, 1_000, create()).await;
    assert!(matches!(next(&mut second).await, Push::Update { version: 1, .. }));
    assert!(first.try_next().is_none());
}

#[tokio::test]
async fn a_mailbox_has_more_room_for_more_sessions_and_one_number_for_each() {
    let mut stage = stage();
    let other = SessionId::from_bits(9);
    let (mut mailbox, numbers) = watch(&stage.hub, &[id(), other]).await;
    stage.commit(1, 1_000, create()).await;
    let complete = |version| {
        let expected = synckairos_protocol::command::Expected::Exactly(version);
        Command::Complete { session: id(), expected }
    };
    for version in 1..u64::try_from(QUEUE_MAX + QUEUE_MORE).unwrap() {
        stage.commit(version + 1, 2_000, complete(version)).await;
    }
    for expected in 1..=u64::try_from(QUEUE_MAX + QUEUE_MORE).unwrap() {
        let delivery = timeout(PATIENCE, mailbox.next()).await.unwrap().unwrap();
        assert_eq!((delivery.session, delivery.subscription), numbers[0]);
        assert!(matches!(delivery.push, Push::Update { version, .. } if version == expected));
    }
    assert!(!mailbox.slow.is_cancelled());
}
