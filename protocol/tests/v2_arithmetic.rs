//! `per_participant` with `notify` counts as v2 did, to the millisecond.
//!
//! The model below is v2 as observed: it looks at a clock only when a request comes in. What v3
//! adds, expiry at its due time, must not show in any number that v2 had.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use synckairos_protocol::{
    command::{Command, Expected, Stamped},
    event::Answer,
    ids::{ParticipantId, SessionId},
    machine::Machine,
    session::{NewParticipant, NewSession, Phase, Seat, SyncMode},
    time::{Millis, Stamp},
};

#[derive(Clone, Debug, PartialEq)]
struct Player {
    total: u64,
    used: u64,
    cycles: u64,
    has_expired: bool,
}

struct V2 {
    players: Vec<Player>,
    increment: u64,
    active: usize,
    /// `None` while paused.
    cycle_started_at: Option<u64>,
}

impl V2 {
    /// Who expired, where the participant switched away from is at 0.
    fn switch(&mut self, next: Option<usize>, now: u64) -> Option<usize> {
        self.charge(now);
        let (from, count) = (self.active, self.players.len());
        let player = &mut self.players[from];
        player.cycles += 1;
        player.has_expired |= player.total == 0;
        let expired = (player.total == 0).then_some(from);
        if !player.has_expired {
            player.total += self.increment;
        }
        self.active = next.unwrap_or((from + 1) % count);
        self.cycle_started_at = Some(now);
        expired
    }

    fn pause(&mut self, now: u64) {
        self.charge(now);
        self.cycle_started_at = None;
    }

    fn charge(&mut self, now: u64) {
        let elapsed = self.cycle_started_at.map_or(0, |since| now - since);
        let player = &mut self.players[self.active];
        player.used += elapsed;
        player.total = player.total.saturating_sub(elapsed);
    }
}

const SESSION: SessionId = SessionId::from_bits(1);

fn id_of(index: usize) -> ParticipantId {
    ParticipantId::from_bits(index as u128)
}

fn apply(machine: &mut Machine, now: u64, command: Command) -> Answer {
    let stamp = Stamp::from_unix_millis(now);
    machine.apply_one(&Stamped { stamp, command }, &mut Vec::new()).unwrap()
}

fn started(banks: &[u64], increment: u64) -> (V2, Machine) {
    let player = |bank: &u64| Player { total: *bank, used: 0, cycles: 0, has_expired: false };
    let players = banks.iter().map(player).collect();
    let participant = |(index, bank): (usize, &u64)| NewParticipant {
        id: id_of(index),
        index: 0,
        bank: Millis::new(*bank),
        group: None,
    };
    let new = NewSession {
        id: SESSION,
        mode: SyncMode::PerParticipant,
        participants: banks.iter().enumerate().map(participant).collect(),
        groups: Vec::new(),
        total_time: Millis::new(1_000),
        time_per_cycle: Some(Millis::new(1_000)),
        increment: Millis::new(increment),
        max_time: Some(Millis::new(1_000)),
        on_timeout: None,
        auto_advance: None,
        warnings: Vec::new(),
        metadata: None,
        first: None,
    };
    let mut machine = Machine::default();
    apply(&mut machine, 0, Command::Create(Box::new(new)));
    let start = Command::Start { session: SESSION, expected: Expected::Exactly(1) };
    apply(&mut machine, 0, start);
    (V2 { players, increment, active: 0, cycle_started_at: Some(0) }, machine)
}

fn players(machine: &Machine) -> Vec<Player> {
    let participants = &machine.session(SESSION).unwrap().participants;
    let player = participants.iter().map(|one| Player {
        total: one.bank.get(),
        used: one.used.get(),
        cycles: one.cycles,
        has_expired: one.expired_at.is_some(),
    });
    player.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn switches_pauses_and_resumes_count_as_v2_did(
        banks in prop::collection::vec(1_000_u64..4_000, 1..5),
        increment in 0_u64..500,
        steps in prop::collection::vec((0_u64..2_500, 0_usize..8), 1..40),
    ) {
        let (mut v2, mut machine) = started(&banks, increment);
        let session = SESSION;
        let mut now = 0;
        for (delay, choice) in steps {
            now += delay;
            let expected = Expected::Seen(machine.session(SESSION).unwrap().version);
            match choice {
                _ if v2.cycle_started_at.is_none() => {
                    v2.cycle_started_at = Some(now);
                    apply(&mut machine, now, Command::Resume { session, expected });
                }
                0 => {
                    v2.pause(now);
                    apply(&mut machine, now, Command::Pause { session, expected });
                }
                1 => {
                    apply(&mut machine, now, Command::Tick { sessions_max: 1 });
                    continue;
                }
                _ => {
                    let next = (choice < 4).then_some(choice % banks.len());
                    let expired = v2.switch(next, now).map(id_of);
                    let (current, next) = (None, next.map(id_of));
                    let switch = Command::Switch { session, expected, current, next };
                    let answer = apply(&mut machine, now, switch);
                    let Answer::Switched { expired: reported, .. } = answer else {
                        return Err(TestCaseError::fail("a switch is answered as one"));
                    };
                    prop_assert_eq!(reported, expired);
                }
            }
            // v2 marks an expiry at the next switch; by then both have.
            let marked = v2.players.iter().cloned();
            let marked = marked.map(|one| Player { has_expired: one.total == 0, ..one });
            prop_assert_eq!(players(&machine), marked.collect::<Vec<_>>());
            let seat = Seat(u16::try_from(v2.active).unwrap());
            let phase = match v2.cycle_started_at {
                Some(since) => {
                    Phase::Running { active: seat, since: Stamp::from_unix_millis(since) }
                }
                None => Phase::Paused { active: seat },
            };
            prop_assert_eq!(machine.session(SESSION).unwrap().phase, phase);
        }
    }
}
