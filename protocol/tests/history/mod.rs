//! Random histories for the properties, and the books that they are checked against.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};
use synckairos_protocol::{
    codec::Kind,
    command::{Command, CommandBatch, Expected, Intent, Stamped},
    event::{Change, Event},
    ids::{GroupId, ParticipantId, SessionId},
    machine::Machine,
    session::{Group, NewParticipant, NewSession, OnTimeout, Seat, Session, SyncMode},
    time::{Millis, Stamp},
};

pub(crate) const MODES: [SyncMode; 5] = [
    SyncMode::PerParticipant,
    SyncMode::PerCycle,
    SyncMode::PerGroup,
    SyncMode::Global,
    SyncMode::CountUp,
];

/// Few sessions, so that commands meet.
const SESSIONS: u128 = 3;
const START: i64 = 1_000_000;

#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) log: Vec<Stamped>,
}

impl History {
    pub(crate) fn play(&self) -> Machine {
        let mut machine = Machine::default();
        machine.apply(&CommandBatch { commands: self.log.clone() });
        machine
    }
}

/// Creates, then whatever comes. Stamps mostly advance and sometimes trail.
pub(crate) fn histories() -> impl Strategy<Value = History> {
    let step = (-500_i64..2_000, commands());
    (new_sessions(), prop::collection::vec(step, 1..60)).prop_map(|(created, steps)| {
        let mut now = START;
        let mut log: Vec<Stamped> = Vec::new();
        for (number, mut new) in (0..).zip(created) {
            new.id = SessionId::from_bits(number);
            let session = new.id;
            let start = Command::Start { session, expected: Expected::Seen(1) };
            for command in [Command::Create(Box::new(new)), start] {
                log.push(Stamped { stamp: stamp(now), command });
            }
        }
        for (delay, command) in steps {
            now += delay;
            log.push(Stamped { stamp: stamp(now), command });
        }
        as_the_leader_saw(&mut log);
        History { log }
    })
}

/// Stands for what a leader with nothing else under way would have seen.
const AS_SEEN: Expected = Expected::Seen(u64::MAX);

fn as_the_leader_saw(log: &mut [Stamped]) {
    let mut machine = Machine::default();
    for stamped in log {
        match &mut stamped.command {
            Command::Start { session, expected }
            | Command::Switch { session, expected, .. }
            | Command::Pause { session, expected }
            | Command::Resume { session, expected }
            | Command::Complete { session, expected }
                if *expected == AS_SEEN =>
            {
                let version = machine.session(*session).map_or(0, |session| session.version);
                *expected = Expected::Seen(version);
            }
            Command::Start { .. }
            | Command::Switch { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Complete { .. }
            | Command::Create(_)
            | Command::Delete { .. }
            | Command::Tick { .. }
            | Command::Sweep { .. }
            | Command::CreateWith { .. }
            | Command::Atomic { .. }
            | Command::Once { .. }
            | Command::Outage { .. }
            | Command::Beat
            | Command::SetLevel { .. }
            | Command::CreateToken { .. }
            | Command::AdmitNode { .. } => {}
        }
        // A refusal is part of a history too.
        let _ = machine.apply_one(stamped, &mut Vec::new());
    }
}

fn stamp(millis: i64) -> Stamp {
    Stamp::from_unix_millis(millis.unsigned_abs())
}

fn new_sessions() -> impl Strategy<Value = Vec<NewSession>> {
    prop::collection::vec(new_session(), 1..=3)
}

fn new_session() -> impl Strategy<Value = NewSession> {
    let clock = || (990_u64..4_000).prop_map(|millis| Millis::new(millis.max(1_000)));
    let group = || (1_u128..4).prop_map(GroupId::from_bits);
    let participant = (clock(), prop::option::of(group()));
    let who = (
        0..SESSIONS,
        prop::sample::select(MODES.to_vec()),
        prop::collection::vec(participant, 1..5),
        prop::collection::btree_map(group(), clock(), 0..2),
        any::<Index>(),
    );
    let clocks = (
        clock(),
        prop::option::of(clock()),
        (0_u64..500).prop_map(Millis::new),
        prop::option::of(clock()),
        prop::collection::vec((1_u64..4_000).prop_map(Millis::new), 0..3),
    );
    (who, clocks, prop::option::of(timeouts()), any::<Option<bool>>()).prop_map(
        |((number, mode, banks, groups, first), clocks, on_timeout, auto_advance)| {
            let (total_time, time_per_cycle, increment, max_time, warnings) = clocks;
            let participants: Vec<NewParticipant> = (1_u64..)
                .zip(banks)
                .map(|(index, (bank, group))| {
                    let id = ParticipantId::from_bits(u128::from(index));
                    NewParticipant { id, index, bank, group }
                })
                .collect();
            NewSession {
                id: SessionId::from_bits(number),
                mode,
                first: Some(first.get(&participants).id),
                participants,
                groups: groups.into_iter().map(|(id, bank)| Group { id, bank }).collect(),
                total_time,
                time_per_cycle,
                increment,
                max_time,
                on_timeout,
                auto_advance,
                warnings,
                metadata: None,
            }
        },
    )
}

fn timeouts() -> impl Strategy<Value = OnTimeout> {
    prop_oneof![
        Just(OnTimeout::Notify),
        Just(OnTimeout::SkipCycle),
        Just(OnTimeout::EndSession),
        Just(OnTimeout::AutoAction { action: String::from("fold") }),
    ]
}

fn commands() -> impl Strategy<Value = Command> {
    let session = || (0..SESSIONS).prop_map(SessionId::from_bits);
    let participant =
        || prop::option::weighted(0.2, (1_u128..6).prop_map(ParticipantId::from_bits));
    let expected = || {
        prop_oneof![
            8 => Just(AS_SEEN),
            1 => (0_u64..12).prop_map(Expected::Seen),
            1 => (0_u64..12).prop_map(Expected::Exactly),
        ]
    };
    let simple = || (session(), expected());
    prop_oneof![
        2 => new_session().prop_map(|new| Command::Create(Box::new(new))),
        1 => new_session().prop_map(|new| {
            Command::Create(Box::new(NewSession { total_time: Millis::ZERO, ..new }))
        }),
        4 => simple().prop_map(|(session, expected)| Command::Start { session, expected }),
        16 => (simple(), participant(), participant()).prop_map(
            |((session, expected), current, next)| {
                Command::Switch { session, expected, current, next }
            }
        ),
        4 => simple().prop_map(|(session, expected)| Command::Pause { session, expected }),
        5 => simple().prop_map(|(session, expected)| Command::Resume { session, expected }),
        1 => simple().prop_map(|(session, expected)| Command::Complete { session, expected }),
        1 => session().prop_map(|session| Command::Delete { session }),
        4 => (0_u32..4).prop_map(|sessions_max| Command::Tick { sessions_max }),
        1 => (0_u64..3_000, 0_u32..4).prop_map(|(span, sessions_max)| {
            let idle_before = stamp(START).after(Millis::new(span));
            Command::Sweep { idle_before, sessions_max }
        }),
    ]
}

/// What each bank was given, increments included. In modes whose banks are decoration, once.
pub(crate) type Books = BTreeMap<SessionId, BTreeMap<usize, u64>>;

/// Opens an account for each bank of a new session, and notes what a switch earns.
pub(crate) fn note_given(change: &Change, books: &mut Books) {
    let Change::Updated { session, event, .. } = change else { return };
    if *event == Event::Created {
        let bank = |seat| (bank_of(session, seat), session.time_remaining(seat).get());
        books.insert(session.id, seats(session).map(bank).collect());
    }
    let Event::Switched { from, .. } = event else { return };
    let seat = session.seat_of(*from).unwrap();
    if runs_down(session) && session.participant(seat).expired_at.is_none() {
        let given = books.get_mut(&session.id).unwrap().get_mut(&bank_of(session, seat)).unwrap();
        *given += session.increment.get();
    }
}

/// What a bank was given, what is in it, and what its owners used of it, as of the last charge.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) given: u64,
    pub(crate) in_bank: u64,
    pub(crate) used: u64,
    pub(crate) expired: bool,
}

pub(crate) fn accounts(session: &Session, books: &Books) -> Vec<Account> {
    let mut accounts: BTreeMap<usize, Account> = BTreeMap::new();
    for seat in seats(session) {
        let bank = bank_of(session, seat);
        let account = accounts.entry(bank).or_default();
        account.given = books[&session.id][&bank];
        account.in_bank = session.time_remaining(seat).get();
        if runs_down(session) {
            account.used += session.participant(seat).used.get();
            account.expired |= session.participant(seat).expired_at.is_some();
        }
    }
    accounts.into_values().collect()
}

fn seats(session: &Session) -> impl Iterator<Item = Seat> {
    (0..).zip(&session.participants).map(|(index, _)| Seat(index))
}

fn runs_down(session: &Session) -> bool {
    matches!(session.mode, SyncMode::PerParticipant | SyncMode::PerGroup)
}

/// Groups first, then those who have a bank of their own.
fn bank_of(session: &Session, seat: Seat) -> usize {
    let group = session.participant(seat).group.filter(|_| session.mode == SyncMode::PerGroup);
    let shared = group.and_then(|id| session.groups.iter().position(|group| group.id == id));
    shared.unwrap_or(session.groups.len() + seat.index())
}

pub(crate) fn intent_of(command: Command) -> Intent {
    let named = |expected| match expected {
        Expected::Exactly(version) => Some(version),
        Expected::Seen(_) => None,
    };
    match command {
        Command::Create(new) => Intent::Create(new),
        Command::Start { session, expected } => {
            Intent::Start { session, expected_version: named(expected) }
        }
        Command::Switch { session, expected, current, next } => {
            Intent::Switch { session, expected_version: named(expected), current, next }
        }
        Command::Pause { session, expected } => {
            Intent::Pause { session, expected_version: named(expected) }
        }
        Command::Resume { session, expected } => {
            Intent::Resume { session, expected_version: named(expected) }
        }
        Command::Complete { session, expected } => {
            Intent::Complete { session, expected_version: named(expected) }
        }
        Command::Delete { session } => Intent::Delete { session },
        Command::CreateWith { new, on_outage } => Intent::CreateWith { new, on_outage },
        Command::Atomic { commands } => {
            Intent::Atomic { intents: commands.into_iter().map(intent_of).collect() }
        }
        Command::Once { key, command } => {
            Intent::Once { key, intent: Box::new(intent_of(*command)) }
        }
        Command::Tick { .. }
        | Command::Sweep { .. }
        | Command::Outage { .. }
        | Command::Beat
        | Command::SetLevel { .. }
        | Command::CreateToken { .. }
        | Command::AdmitNode { .. } => Intent::Delete { session: SessionId::from_bits(u128::MAX) },
    }
}

/// An envelope around any payload, with a checksum that holds.
pub(crate) fn sealed(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let head = [&[kind as u8, 1, 0, 0], length.as_slice()].concat();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&head), payload);
    [b"SK".as_slice(), &head, &checksum.to_le_bytes(), payload].concat()
}
