//! Event streams whose client is a queue.

use std::sync::Arc;

use synckairos_protocol::{
    command::{CommandBatch, Stamped},
    machine::Machine,
};
use synckairos_raft_store::{AppliedEvent, StoredUpdate};
use tokio::sync::watch;

use super::*;
use crate::{
    push::{
        Hub, Past, Replays,
        hub::{Now, tests::create},
    },
    telemetry::metrics::Metrics,
};

const PATIENCE: Duration = Duration::from_secs(5);

struct Stage {
    context: Context,
    applied: mpsc::Sender<AppliedEvent>,
    stale: watch::Sender<Option<Stamp>>,
}

/// A client's end of a stream.
struct Listener {
    ready: oneshot::Receiver<Result<(), Refusal>>,
    events: mpsc::Receiver<Bytes>,
    ended: tokio::task::JoinHandle<Ended>,
}

/// A session at version 1, made at revision 4, and its change.
fn created() -> (SessionId, Past, AppliedEvent) {
    let mut machine = Machine::default();
    let stamp = Stamp::from_unix_millis(1_000);
    let batch = CommandBatch { commands: vec![Stamped { stamp, command: create() }] };
    let changes = machine.apply(&batch).changes;
    let [synckairos_protocol::event::Change::Updated { session, event, cause }] = &changes[..]
    else {
        panic!("{changes:?}")
    };
    let update = StoredUpdate {
        revision: 4,
        event: event.clone(),
        cause: *cause,
        session: Arc::clone(session),
    };
    let past =
        Past { updates: Some(vec![update]), session: Some(Arc::clone(session)), revision: Some(4) };
    (session.id, past, AppliedEvent::Entry { revision: 4, changes })
}

/// A node that has applied `past`.
fn stage(past: Past, keep_alive: Duration) -> Stage {
    let (applied, receiver) = mpsc::channel(8);
    let clock: Now = Arc::new(|| Stamp::from_unix_millis(77));
    let (hub, task) = Hub::new(receiver, Arc::clone(&clock), Metrics::new());
    tokio::spawn(task);
    let (stale, staleness) = watch::channel(None);
    let session = past.session.clone();
    let source = Source {
        hub,
        read: Arc::new(move |_| {
            let session = session.clone();
            Box::pin(async move { Ok(session) })
        }),
        past: Arc::new(move |_, after| {
            let mut past = past.clone();
            past.updates = past.updates.filter(|_| after.is_some_and(|point| point.version == 0));
            Box::pin(async move { past })
        }),
        clock,
        replays: Replays::default(),
    };
    let (stopping, send) = (CancellationToken::new(), PATIENCE);
    Stage { context: Context { source, staleness, stopping, send, keep_alive }, applied, stale }
}

impl Stage {
    fn listen(&self, session: SessionId, begin: Begin) -> Listener {
        let (sender, ready) = oneshot::channel();
        let (outlet, events) = mpsc::channel(4);
        let context = self.context.clone();
        let ended = tokio::spawn(run(context, (session, begin), sender, outlet));
        Listener { ready, events, ended }
    }
}

impl Listener {
    async fn next(&mut self) -> String {
        let written = timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap();
        String::from_utf8(written.to_vec()).unwrap()
    }

    async fn ended(self) -> Ended {
        timeout(PATIENCE, self.ended).await.unwrap().unwrap()
    }
}

fn nothing() -> Past {
    Past { updates: None, session: None, revision: None }
}

#[test]
fn an_id_says_where_its_client_is() {
    let after = |version, revision| Some(Begin::After(Point { version, revision }));
    let table = [
        ("7", after(7, None)),
        ("7-31", after(7, Some(31))),
        ("0", after(0, None)),
        ("end", Some(Begin::Ended)),
        ("", None),
        ("-1", None),
        ("7-", None),
        ("7-3-1", None),
    ];
    for (id, begin) in table {
        assert_eq!(Begin::parse(id), begin, "{id}");
    }
}

#[tokio::test]
async fn a_stream_begins_with_the_state_or_with_what_was_missed() {
    let (session, past, _) = created();
    let stage = stage(past, PATIENCE);
    let table = [
        (Begin::State, "id: 1-4\nevent: STATE_SYNC\ndata: {\"type\":\"STATE_SYNC\","),
        (
            Begin::After(Point { version: 0, revision: None }),
            "id: 1-4\nevent: STATE_UPDATE\ndata: {\"type\":\"STATE_UPDATE\",",
        ),
    ];
    for (begin, expected) in table {
        let mut listener = stage.listen(session, begin);
        assert_eq!(listener.next().await, RETRY);
        let first = listener.next().await;
        assert!(first.starts_with(expected), "{first}");
        assert!(first.ends_with("}\n\n"), "{first}");
        assert!((&mut listener.ready).await.unwrap().is_ok());
        let deleted = synckairos_protocol::event::Change::Deleted {
            session,
            at: Stamp::ZERO,
            cause: synckairos_protocol::event::Cause::Command,
        };
        let event = AppliedEvent::Entry { revision: 5, changes: vec![deleted] };
        stage.applied.send(event).await.unwrap();
        let last = listener.next().await;
        assert!(last.starts_with("id: end\nevent: SESSION_DELETED\n"), "{last}");
        assert_eq!(listener.ended().await, Ended::Done);
    }
}

#[tokio::test]
async fn a_session_that_is_not_there_is_refused_or_waited_for() {
    let (session, _, event) = created();
    let stage = stage(nothing(), PATIENCE);
    let listener = stage.listen(session, Begin::State);
    let refusal = listener.ready.await.unwrap().unwrap_err();
    assert_eq!(refusal, Refusal::Rejected(Reject::SessionNotFound(session)));

    let mut gone = stage.listen(session, Begin::After(Point { version: 3, revision: None }));
    assert_eq!(gone.next().await, RETRY);
    assert!(gone.next().await.starts_with("id: end\nevent: SESSION_DELETED\n"));
    assert_eq!(gone.ended().await, Ended::Done);

    let mut early = stage.listen(session, Begin::After(Point { version: 0, revision: None }));
    assert_eq!(early.next().await, RETRY);
    stage.applied.send(event).await.unwrap();
    assert!(early.next().await.starts_with("id: 1-4\nevent: STATE_UPDATE\n"));
}

#[tokio::test]
async fn silence_is_filled_and_a_lost_leader_told() {
    let (session, past, _) = created();
    let stage = stage(past, Duration::from_millis(20));
    let mut listener = stage.listen(session, Begin::State);
    assert_eq!(listener.next().await, RETRY);
    assert!(listener.next().await.starts_with("id: 1-4\n"));
    assert_eq!(listener.next().await, KEEP_ALIVE);
    stage.stale.send_replace(Some(Stamp::from_unix_millis(5)));
    let expected = "event: STALE\ndata: {\"type\":\"STALE\",\"since_ms\":5}\n\n";
    while listener.next().await != expected {}
    assert_eq!(listener.ended().await, Ended::Done);
}

#[tokio::test]
async fn who_leaves_ends_the_stream_and_who_does_not_read_is_given_up() {
    let (session, past, event) = created();
    let stage = stage(past, PATIENCE);
    let mut listener = stage.listen(session, Begin::State);
    assert_eq!(listener.next().await, RETRY);
    drop(listener.events);
    assert_eq!(timeout(PATIENCE, listener.ended).await.unwrap().unwrap(), Ended::Done);

    let waiting = stage.listen(session, Begin::After(Point { version: 9, revision: None }));
    let AppliedEvent::Entry { changes, .. } = event else { panic!("an entry") };
    let room = u64::try_from(crate::push::hub::QUEUE_MAX).unwrap() + 200;
    for revision in 10..10 + room {
        let event = AppliedEvent::Entry { revision, changes: changes.clone() };
        stage.applied.send(event).await.unwrap();
    }
    assert_eq!(waiting.ended().await, Ended::Slow);
}
