//! What format level 2 brought to the machine: batches, keys, outages, members.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with the other properties, which use all of it")]
mod history;

use std::sync::Arc;

use history::histories;
use proptest::prelude::*;
use synckairos_protocol::{
    answered::Answered,
    command::{Command, Expected, RequestKey, Stamped},
    event::{Answer, Change, Event},
    ids::{ParticipantId, SessionId},
    limits,
    machine::{LEVEL_NEWEST, Machine, Parts},
    reject::Reject,
    session::{NewParticipant, NewSession, OnOutage, OnTimeout, Phase, Session, SyncMode},
    time::{Millis, Stamp},
};

const START: u64 = 1_000_000;

fn session(number: u128) -> SessionId {
    SessionId::from_bits(number)
}

fn at(millis: u64) -> Stamp {
    Stamp::from_unix_millis(START + millis)
}

fn new_session(number: u128, bank: u64) -> Box<NewSession> {
    let participant = |index: u64| NewParticipant {
        id: ParticipantId::from_bits(u128::from(index + 1)),
        index,
        bank: Millis::new(bank),
        group: None,
    };
    Box::new(NewSession {
        id: session(number),
        mode: SyncMode::PerParticipant,
        participants: vec![participant(0), participant(1)],
        groups: Vec::new(),
        total_time: Millis::new(2 * bank),
        time_per_cycle: None,
        increment: Millis::ZERO,
        max_time: None,
        on_timeout: Some(OnTimeout::EndSession),
        auto_advance: None,
        warnings: Vec::new(),
        metadata: None,
        first: None,
    })
}

fn switch(number: u128, expected: Expected) -> Command {
    Command::Switch { session: session(number), expected, current: None, next: None }
}

fn start(number: u128) -> Command {
    Command::Start { session: session(number), expected: Expected::Seen(1) }
}

struct Play {
    machine: Machine,
    changes: Vec<Change>,
}

impl Play {
    fn new() -> Self {
        let mut play = Self { machine: Machine::default(), changes: Vec::new() };
        play.at(0, Command::SetLevel { level: LEVEL_NEWEST }).unwrap();
        play
    }

    fn at(&mut self, millis: u64, command: Command) -> Result<Answer, Reject> {
        self.machine.apply_one(&Stamped { stamp: at(millis), command }, &mut self.changes)
    }

    fn state(&self, number: u128) -> &Arc<Session> {
        self.machine.session(session(number)).unwrap()
    }

    fn bank(&self, number: u128, seat: usize) -> u64 {
        self.state(number).participants[seat].bank.get()
    }
}

#[test]
fn nothing_of_level_two_is_done_at_level_one() {
    let mut machine = Machine::default();
    let commands = [
        Command::Beat,
        Command::Atomic { commands: vec![start(1)] },
        Command::CreateWith { new: new_session(1, 9_000), on_outage: OnOutage::Freeze },
    ];
    for command in commands {
        let stamped = Stamped { stamp: at(0), command };
        let refused = machine.apply_one(&stamped, &mut Vec::new());
        assert_eq!(refused, Err(Reject::LevelTooLow { needed: 2, level: 1 }));
    }
}

#[test]
fn levels_only_rise() {
    let mut play = Play::new();
    play.at(1, Command::SetLevel { level: 1 }).unwrap();
    assert_eq!(play.machine.level(), LEVEL_NEWEST);
}

#[test]
fn a_batch_is_done_in_order_and_later_commands_follow_on_earlier_ones() {
    let mut play = Play::new();
    let commands = vec![
        Command::Create(new_session(1, 60_000)),
        start(1),
        switch(1, Expected::Seen(0)),
        switch(1, Expected::Exactly(3)),
        Command::Create(new_session(2, 60_000)),
    ];
    let Ok(Answer::Batch(answers)) = play.at(5, Command::Atomic { commands }) else {
        panic!("refused")
    };
    assert_eq!(answers.len(), 5);
    assert_eq!(play.state(1).version, 4);
    assert_eq!(play.state(2).version, 1);
    assert_eq!(play.changes.len(), 5);
}

#[test]
fn a_refused_command_takes_its_whole_batch_with_it() {
    let mut play = Play::new();
    for number in [1, 2] {
        play.at(0, Command::Create(new_session(number, 60_000))).unwrap();
    }
    play.at(1, start(1)).unwrap();
    let (before, told) = (play.machine.clone(), play.changes.len());
    let commands = vec![
        switch(1, Expected::Seen(2)),
        Command::Delete { session: session(2) },
        Command::Create(new_session(3, 60_000)),
        switch(1, Expected::Exactly(2)),
    ];
    let refused = play.at(1, Command::Atomic { commands }).unwrap_err();
    let moved = Reject::VersionMoved { session: session(1), expected: 2, actual: 3 };
    assert_eq!(refused, Reject::InBatch { index: 3, reject: Box::new(moved) });
    assert_eq!(play.machine, before);
    assert_eq!(play.changes.len(), told);
}

#[test]
fn what_fell_due_before_a_refused_batch_stays() {
    let mut play = Play::new();
    play.at(0, Command::Create(new_session(1, 5_000))).unwrap();
    play.at(0, start(1)).unwrap();
    let commands = vec![switch(1, Expected::Seen(2))];
    let refused = play.at(6_000, Command::Atomic { commands }).unwrap_err();
    assert!(matches!(refused, Reject::InBatch { index: 0, .. }), "{refused}");
    assert!(matches!(play.state(1).phase, Phase::Expired { at: due, .. } if due == at(5_000)));
}

#[test]
fn batches_have_bounds_and_hold_commands_of_sessions_only() {
    let mut play = Play::new();
    let delete = Command::Delete { session: session(9) };
    let table = [
        (Vec::new(), false),
        (vec![delete.clone(); limits::ATOMIC_COMMANDS_MAX], true),
        (vec![delete.clone(); limits::ATOMIC_COMMANDS_MAX + 1], false),
        (vec![Command::Beat], false),
        (vec![Command::Atomic { commands: vec![delete] }], false),
    ];
    for (commands, accepted) in table {
        let answer = play.at(1, Command::Atomic { commands });
        assert_eq!(answer.is_ok(), accepted, "{answer:?}");
    }
}

fn once(key: &str, digest: u8, command: Command) -> Command {
    let key = RequestKey { key: key.to_owned(), digest: [digest; 32] };
    Command::Once { key, command: Box::new(command) }
}

#[test]
fn a_repeated_request_has_one_effect_and_one_answer() {
    let mut play = Play::new();
    play.at(0, Command::Create(new_session(1, 60_000))).unwrap();
    play.at(0, start(1)).unwrap();
    let first = play.at(1_000, once("k", 1, switch(1, Expected::Seen(2))));
    let told = play.changes.len();
    assert!(first.is_ok());
    // The leader of a repeat sees another version, and the answer is still the first.
    assert_eq!(play.at(2_000, once("k", 1, switch(1, Expected::Seen(3)))), first);
    assert_eq!(play.changes.len(), told);
    assert_eq!(play.state(1).version, 3);
    let reused = play.at(2_000, once("k", 2, switch(1, Expected::Seen(3))));
    assert_eq!(reused, Err(Reject::KeyReused { key: String::from("k") }));

    let refused = play.at(3_000, once("r", 1, switch(7, Expected::Seen(0))));
    assert_eq!(refused, Err(Reject::SessionNotFound(session(7))));
    play.at(3_000, Command::Create(new_session(7, 60_000))).unwrap();
    assert_eq!(play.at(3_000, once("r", 1, switch(7, Expected::Seen(1)))), refused);

    let day = limits::ANSWERED_KEPT.get();
    assert!(play.at(1_000 + day, once("k", 2, Command::Delete { session: session(7) })).is_ok());
}

#[test]
fn answers_survive_a_restore() {
    let mut play = Play::new();
    for number in 0..5 {
        let create = Command::Create(new_session(number, 60_000));
        play.at(0, once(&number.to_string(), 1, create)).unwrap();
    }
    let answered = play.machine.answered();
    let records = answered.range().map(|number| (**answered.record(number).unwrap()).clone());
    let restored = Machine::from_parts(Parts {
        now: play.machine.now(),
        level: play.machine.level(),
        sessions: play.machine.sessions().map(|session| (**session).clone()).collect(),
        answered: Answered::restore(answered.range().start, records),
        roster: play.machine.roster().clone(),
    });
    assert_eq!(restored, play.machine);
}

#[test]
fn a_node_that_lost_its_answer_gets_it_again_after_a_restore() {
    let mut play = Play::new();
    play.machine.note_members([1, 2, 3].into(), &[1, 2, 3].into());
    let (id, digest, expires_at) = ([7; 16], [8; 32], at(60_000));
    play.at(0, Command::CreateToken { id, digest, expires_at, replaces: Some(2) }).unwrap();
    let admit = |key: u8, place: &str| Command::AdmitNode {
        token: id,
        digest,
        key: [key; 32],
        peer: format!("{place}:7400"),
        http: format!("{place}:3000"),
    };
    let admitted = Ok(Answer::Admitted { node: 4, replaces: Some(2) });
    assert_eq!(play.at(1, admit(1, "a")), admitted);
    play.machine = Machine::from_parts(Parts {
        now: play.machine.now(),
        level: play.machine.level(),
        roster: play.machine.roster().clone(),
        ..Parts::default()
    });
    assert_eq!(play.at(2, admit(1, "a")), admitted);
    for other in [admit(1, "b"), admit(2, "a")] {
        assert_eq!(play.at(3, other), Err(Reject::TokenUsed { node: 4 }));
    }
    assert_eq!(play.machine.roster().next_node(), 5);
}

#[test]
fn an_outage_is_charged_only_to_those_who_did_not_ask_otherwise() {
    let mut play = Play::new();
    play.at(0, Command::Create(new_session(1, 60_000))).unwrap();
    let new = new_session(2, 60_000);
    play.at(0, Command::CreateWith { new, on_outage: OnOutage::Freeze }).unwrap();
    for number in [1, 2] {
        play.at(1_000, start(number)).unwrap();
    }
    play.at(20_000, Command::Outage { from: at(5_000) }).unwrap();
    for number in [1, 2] {
        let version = play.state(number).version;
        play.at(21_000, switch(number, Expected::Seen(version))).unwrap();
    }
    assert_eq!((play.bank(1, 0), play.bank(2, 0)), (40_000, 55_000));
    let credited: Vec<_> = play
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Updated {
                session,
                event: Event::OutageCredited { from, until, credited, .. },
                ..
            } => Some((session.id, *from, *until, credited.get())),
            Change::Updated { .. } | Change::Warned { .. } | Change::Deleted { .. } => None,
        })
        .collect();
    assert_eq!(credited, [(session(2), at(5_000), at(20_000), 15_000)]);
}

#[test]
fn what_fell_due_before_an_outage_did_and_what_would_have_within_it_did_not() {
    let mut play = Play::new();
    for (number, bank) in [(1, 3_000), (2, 9_000)] {
        let new = new_session(number, bank);
        play.at(0, Command::CreateWith { new, on_outage: OnOutage::Freeze }).unwrap();
        play.at(0, start(number)).unwrap();
    }
    play.at(20_000, Command::Outage { from: at(5_000) }).unwrap();
    assert!(matches!(play.state(1).phase, Phase::Expired { at: due, .. } if due == at(3_000)));
    assert_eq!(play.machine.next_deadline(), Some(at(24_000)));
    play.at(30_000, Command::Tick { sessions_max: 10 }).unwrap();
    assert!(matches!(play.state(2).phase, Phase::Expired { at: due, .. } if due == at(24_000)));
    assert!(!play.machine.frozen_running());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A batch of one is its command; a batch that is refused is time passing.
    #[test]
    fn a_batch_of_one_is_its_command(history in histories()) {
        let (mut plain, mut batched) = (Play::new(), Play::new());
        for stamped in history.log {
            if stamped.command.session().is_none() {
                continue;
            }
            let stamp = stamped.stamp;
            let commands = vec![stamped.command.clone()];
            let one = plain.machine.apply_one(&stamped, &mut plain.changes);
            let atomic = Stamped { stamp, command: Command::Atomic { commands } };
            let all = batched.machine.apply_one(&atomic, &mut batched.changes);
            match (one, all) {
                (Ok(one), Ok(Answer::Batch(all))) => prop_assert_eq!(vec![one], all),
                (Err(one), Err(Reject::InBatch { index: 0, reject })) => {
                    prop_assert_eq!(one, *reject);
                }
                (one, all) => prop_assert!(false, "{one:?} against {all:?}"),
            }
        }
        prop_assert_eq!(plain.machine, batched.machine);
        prop_assert_eq!(plain.changes, batched.changes);
    }

    /// However often each request arrives, its effect is that of one.
    #[test]
    fn repeats_have_no_effect(history in histories(), repeats in prop::collection::vec(1_usize..4, 60)) {
        let (mut plain, mut repeated) = (Play::new(), Play::new());
        for (number, stamped) in history.log.into_iter().enumerate() {
            if stamped.command.session().is_none() {
                continue;
            }
            let first = plain.machine.apply_one(&stamped, &mut plain.changes);
            let command = once(&number.to_string(), 1, stamped.command);
            for _ in 0..*repeats.get(number).unwrap_or(&2) {
                let again = Stamped { stamp: stamped.stamp, command: command.clone() };
                let answer = repeated.machine.apply_one(&again, &mut repeated.changes);
                prop_assert_eq!(&answer, &first);
            }
        }
        prop_assert!(plain.machine.sessions().eq(repeated.machine.sessions()));
        prop_assert_eq!(plain.changes, repeated.changes);
    }
}
