//! Every order in which history and live pushes can come.

use synckairos_protocol::{
    event::{Cause, Event},
    time::Millis,
};

use super::*;
use crate::push::hub::tests::create;

/// A session at this version.
fn session(version: u64) -> Session {
    let mut machine = synckairos_protocol::machine::Machine::default();
    let stamped = synckairos_protocol::command::Stamped {
        stamp: Stamp::from_unix_millis(Millis::new(1_000).get()),
        command: create(),
    };
    let batch = synckairos_protocol::command::CommandBatch { commands: vec![stamped] };
    machine.apply(&batch);
    let id = "123e4567-e89b-12d3-a456-426614174000".parse().unwrap();
    let session = machine.session(id).unwrap();
    Session { version, ..(**session).clone() }
}

fn stored(version: u64, revision: u64) -> StoredUpdate {
    StoredUpdate {
        revision,
        event: Event::Paused,
        cause: Cause::Command,
        session: Arc::new(session(version)),
    }
}

fn live(version: u64, revision: u64) -> Push {
    Push::Update { version, revision, text: Utf8Bytes::from_static("{}") }
}

fn deleted(revision: u64) -> Push {
    Push::Deleted { revision, text: Utf8Bytes::from_static("{}") }
}

/// What a client hears, in a word or two each.
fn words(told: &mut Told, past: &Past, pushes: Vec<Push>) -> String {
    let id = session(1).id;
    let word = |telling: &Telling| match telling.point {
        Some(point) => format!("{} {}", telling.name, point.version),
        None => telling.name.to_owned(),
    };
    let caught_up = told.catch_up(id, past, false, Stamp::ZERO);
    let mut words: Vec<String> = caught_up.tellings.iter().map(word).collect();
    for push in pushes {
        match told.take(push) {
            News::Old => {}
            News::Tell(telling) | News::End(telling) => words.push(word(&telling)),
            News::Resync => words.push(String::from("resync")),
        }
    }
    words.join(", ")
}

fn past(updates: Option<Vec<StoredUpdate>>, latest: Option<(u64, u64)>) -> Past {
    Past {
        updates,
        session: latest.map(|(version, _)| Arc::new(session(version))),
        revision: latest.map(|(_, revision)| revision),
    }
}

#[test]
fn each_version_is_told_once_and_in_order() {
    let at = |version, revision| Some(Point { version, revision });
    let table = [
        (
            at(2, Some(5)),
            past(Some(vec![stored(3, 7), stored(4, 7)]), Some((4, 7))),
            vec![live(3, 7), live(4, 7), live(5, 7), live(6, 9)],
            "STATE_UPDATE 3, STATE_UPDATE 4, STATE_UPDATE 5, STATE_UPDATE 6",
        ),
        (
            at(2, None),
            past(Some(vec![]), Some((2, 5))),
            vec![live(1, 4), live(2, 5), live(3, 8)],
            "STATE_UPDATE 3",
        ),
        (
            at(2, None),
            past(Some(vec![stored(4, 9)]), Some((4, 9))),
            vec![live(4, 9), live(5, 10)],
            "STATE_SYNC 4, STATE_UPDATE 5",
        ),
        (at(9, None), past(None, Some((4, 9))), vec![live(5, 10)], "STATE_SYNC 4, STATE_UPDATE 5"),
        (at(9, None), past(None, None), vec![], "SESSION_DELETED"),
        (at(0, None), past(None, None), vec![live(1, 3)], "STATE_UPDATE 1"),
        (
            None,
            past(None, Some((4, 9))),
            vec![live(4, 9), live(5, 10)],
            "STATE_SYNC 4, STATE_UPDATE 5",
        ),
        (None, past(None, None), vec![live(7, 9), deleted(12)], "STATE_UPDATE 7, SESSION_DELETED"),
    ];
    for (from, past, pushes, expected) in table {
        let heard = words(&mut Told::up_to(from), &past, pushes);
        assert_eq!(heard, expected, "{from:?} {past:?}");
    }
}

#[test]
fn the_end_of_an_earlier_session_is_no_news() {
    let mut told = Told::default();
    let heard = words(
        &mut told,
        &past(None, Some((1, 30))),
        vec![live(8, 20), deleted(21), live(1, 30), live(2, 31), deleted(32)],
    );
    assert_eq!(heard, "STATE_SYNC 1, STATE_UPDATE 2, SESSION_DELETED");
}

#[test]
fn a_state_without_a_revision_still_hides_what_it_covers() {
    let mut told = Told::default();
    told.synced(4);
    let pushes = vec![live(3, 8), live(4, 9), live(5, 10)];
    assert_eq!(words(&mut told, &past(Some(vec![]), Some((4, 9))), pushes), "STATE_UPDATE 5");
    told.synced(5);
    assert_eq!(told.point(), Some(Point { version: 5, revision: Some(10) }));
}
