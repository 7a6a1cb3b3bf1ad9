//! The projection of a state is the state of the settled session, in every mode.

use synckairos_protocol::{
    command::{Command, Expected, Stamped},
    ids::{GroupId, SessionId},
    machine::Machine,
    session::NewSession,
    wire::words::MODES,
};

use super::*;
use crate::requests::new_session;

const SESSION: SessionId = SessionId::from_bits(7);
const START: u64 = 1_700_000_000_000;

/// Small numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.roll(2) == 0).then(|| value(self))
    }
}

fn player(number: u64) -> ParticipantId {
    ParticipantId::from_bits(u128::from(number) + 1)
}

fn random_session(mode: SyncMode, dice: &mut Dice) -> NewSession {
    let seconds = |dice: &mut Dice| Millis::new(1_000 + dice.roll(9_000));
    let players = 1 + dice.roll(4);
    let banks: Vec<_> = (0..players).map(|number| (player(number), seconds(dice))).collect();
    let mut new = NewSession {
        time_per_cycle: dice.maybe(seconds),
        increment: Millis::new(dice.roll(3) * 500),
        max_time: dice.maybe(seconds),
        auto_advance: dice.maybe(|dice| dice.roll(2) == 0),
        warnings: (0..dice.roll(3)).map(|_| Millis::new(1 + dice.roll(3_000))).collect(),
        metadata: dice.maybe(|_| String::from(r#"{"table":9}"#)),
        first: dice.maybe(|dice| player(dice.roll(players))),
        on_timeout: dice.maybe(|dice| match dice.roll(4) {
            0 => OnTimeout::Notify,
            1 => OnTimeout::SkipCycle,
            2 => OnTimeout::EndSession,
            _ => OnTimeout::AutoAction { action: String::from("fold") },
        }),
        ..new_session(SESSION, mode, &banks)
    };
    for participant in &mut new.participants {
        participant.group = dice.maybe(|dice| GroupId::from_bits(u128::from(dice.roll(2))));
    }
    new
}

/// As the leader would expect it, with nothing else under way.
fn seen(machine: &Machine) -> Expected {
    Expected::Seen(machine.session(SESSION).map_or(0, |session| session.version))
}

fn random_command(dice: &mut Dice, players: u64, expected: Expected) -> Command {
    let session = SESSION;
    match dice.roll(8) {
        0 => Command::Pause { session, expected },
        1 | 2 => Command::Resume { session, expected },
        3 if dice.roll(20) == 0 => Command::Complete { session, expected },
        _ => {
            let next = dice.maybe(|dice| player(dice.roll(players)));
            Command::Switch { session, expected, current: None, next }
        }
    }
}

/// Does the projection of what clients see agree with the machine at `now`?
fn check(session: &Arc<Session>, now: Stamp) {
    let settled = Arc::clone(session).settle(now, &mut Vec::new());
    let projection = project(&SessionState::from(&**session), now).unwrap();
    assert_eq!(*projection.state(), SessionState::from(&*settled));

    // Through JSON, as it really travels.
    let json = serde_json::to_string(&SessionState::from(&**session)).unwrap();
    let read: SessionState = serde_json::from_str(&json).unwrap();
    assert_eq!(*project(&read, now).unwrap().state(), SessionState::from(&*settled));

    // A pause writes down what the running clock shows.
    let mut machine = Machine::restore(session.updated_at, [Session::clone(&settled)]);
    let command = Command::Pause { session: SESSION, expected: seen(&machine) };
    if machine.apply_one(&Stamped { stamp: now, command }, &mut Vec::new()).is_err() {
        return;
    }
    let paused = SessionState::from(&**machine.session(SESSION).unwrap());
    assert_eq!(projection.clock_remaining(), paused.time_remaining_ms);
    assert_eq!(projection.elapsed(), paused.elapsed_ms);
    for participant in &paused.participants {
        let id = participant.participant_id;
        assert_eq!(projection.time_remaining(id), Some(participant.time_remaining_ms));
        assert_eq!(projection.time_used(id), Some(participant.time_used_ms));
    }
}

#[test]
fn projections_agree_with_the_machine() {
    let mut dice = Dice(0x5eed_cafe);
    for (mode, _) in MODES {
        for _ in 0..400 {
            let new = random_session(mode, &mut dice);
            let players = new.participants.len() as u64;
            let (mut machine, mut now) = (Machine::default(), Stamp::from_unix_millis(START));
            let (session, expected) = (SESSION, Expected::Exactly(1));
            let opening = [Command::Create(Box::new(new)), Command::Start { session, expected }];
            for command in opening {
                machine.apply_one(&Stamped { stamp: now, command }, &mut Vec::new()).unwrap();
                check(machine.session(SESSION).unwrap(), now.after(Millis::new(50)));
            }
            for _ in 0..12 {
                now = now.after(Millis::new(dice.roll(4_000)));
                let command = random_command(&mut dice, players, seen(&machine));
                let _ = machine.apply_one(&Stamped { stamp: now, command }, &mut Vec::new());
                for ahead in [0, 1, dice.roll(2_000), dice.roll(60_000)] {
                    check(machine.session(SESSION).unwrap(), now.after(Millis::new(ahead)));
                }
            }
        }
    }
}

fn running() -> SessionState {
    let mut machine = Machine::default();
    let stamp = Stamp::from_unix_millis(START);
    let banks = [(player(0), Millis::new(5_000)), (player(1), Millis::new(5_000))];
    let new = new_session(SESSION, SyncMode::PerParticipant, &banks);
    let (session, expected) = (SESSION, Expected::Seen(1));
    for command in [Command::Create(Box::new(new)), Command::Start { session, expected }] {
        machine.apply_one(&Stamped { stamp, command }, &mut Vec::new()).unwrap();
    }
    SessionState::from(&**machine.session(SESSION).unwrap())
}

#[test]
fn the_clock_runs_down_to_the_millisecond() {
    let state = running();
    // A clock of ours that is behind shows no more than there is.
    for (at, left) in [(-500, 5_000), (0, 5_000), (1, 4_999), (4_999, 1), (5_000, 0), (9_000, 0)] {
        let now = Stamp::from_unix_millis(START.saturating_add_signed(at));
        let projection = project(&state, now).unwrap();
        assert_eq!(projection.clock_remaining(), Some(Millis::new(left)), "{at}");
        assert_eq!(projection.time_remaining(player(1)), Some(Millis::new(5_000)), "{at}");
        assert_eq!(projection.state().participants[0].has_expired, 5_000 <= at, "{at}");
        assert_eq!(projection.time_remaining(player(9)), None);
    }
}

#[test]
fn contradictions_are_refused() {
    let damage: [fn(&mut SessionState); 5] = [
        |state| state.active_participant_id = None,
        |state| state.active_participant_id = Some(player(9)),
        |state| state.participants.clear(),
        |state| state.version = u64::MAX,
        |state| state.participants[1].cycle_count = u64::MAX,
    ];
    for damage in damage {
        let mut state = running();
        damage(&mut state);
        assert!(project(&state, Stamp::from_unix_millis(START + 60_000)).is_err());
    }
}
