//! What the machine alone does on one core: commands, ticks, and the form of a batch on disk.
#![allow(clippy::unwrap_used)]

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use synckairos_protocol::{
    codec::{self, Kind},
    command::{Command, CommandBatch, Expected, Stamped},
    event::Answer,
    ids::{ParticipantId, SessionId},
    machine::Machine,
    session::{NewParticipant, NewSession, SyncMode},
    time::{Millis, Stamp},
};

const SESSIONS: u32 = 10_000;
const CREATES: u32 = 1_000;
const BATCH_COMMANDS: u32 = 256;
const BANK: Millis = Millis::new(60_000);

fn id(number: u32) -> SessionId {
    SessionId::from_bits(u128::from(number) << 64)
}

fn new_session(number: u32) -> NewSession {
    let participant = |bits| NewParticipant {
        id: ParticipantId::from_bits(bits),
        index: 0,
        bank: BANK,
        group: None,
    };
    NewSession {
        id: id(number),
        mode: SyncMode::PerParticipant,
        participants: vec![participant(1), participant(2)],
        groups: Vec::new(),
        total_time: BANK,
        time_per_cycle: None,
        increment: Millis::new(1_000),
        max_time: None,
        on_timeout: None,
        auto_advance: None,
        warnings: Vec::new(),
        metadata: None,
        first: None,
    }
}

fn create(number: u32) -> Command {
    Command::Create(Box::new(new_session(number)))
}

fn switch(number: u32, seen: u64) -> Command {
    let expected = Expected::Seen(seen);
    Command::Switch { session: id(number), expected, current: None, next: None }
}

fn at_zero(command: Command) -> Stamped {
    Stamped { stamp: Stamp::ZERO, command }
}

/// A machine whose sessions all started at 0.
fn running(sessions: u32) -> Machine {
    let mut machine = Machine::default();
    for number in 0..sessions {
        let start = Command::Start { session: id(number), expected: Expected::Exactly(1) };
        for command in [create(number), start] {
            machine.apply_one(&at_zero(command), &mut Vec::new()).unwrap();
        }
    }
    machine
}

fn switches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("switch");
    group.throughput(Throughput::Elements(1));
    for sessions in [1, SESSIONS] {
        let mut machine = running(sessions);
        let (mut now, mut number, mut changes) = (Stamp::ZERO, 0, Vec::new());
        // Every session has been created and started.
        let mut round = 2;
        group.bench_function(format!("{sessions} sessions"), |bencher| {
            bencher.iter(|| {
                let stamped = Stamped { stamp: now, command: switch(number, round) };
                number = (number + 1) % sessions;
                now = now.after(Millis::new(u64::from(number == 0)));
                round += u64::from(number == 0);
                machine.apply_one(black_box(&stamped), &mut changes).unwrap();
                changes.clear();
            });
        });
    }
    group.finish();
}

fn creates(criterion: &mut Criterion) {
    let commands = (0..CREATES).map(create).map(at_zero).collect();
    let batch = CommandBatch { commands };
    let mut group = criterion.benchmark_group("create");
    group.throughput(Throughput::Elements(u64::from(CREATES)));
    group.bench_function("into an empty machine", |bencher| {
        let create_all = |mut machine: Machine| (machine.apply(&batch), machine);
        bencher.iter_batched(Machine::default, create_all, BatchSize::LargeInput);
    });
    group.finish();
}

fn ticks(criterion: &mut Criterion) {
    let machine = running(SESSIONS);
    let stamp = Stamp::ZERO.after(BANK);
    let tick = Stamped { stamp, command: Command::Tick { sessions_max: SESSIONS } };
    let mut group = criterion.benchmark_group("tick");
    group.throughput(Throughput::Elements(u64::from(SESSIONS)));
    group.bench_function("all sessions fall due at once", |bencher| {
        bencher.iter_batched(
            || machine.clone(),
            |mut machine| {
                let mut changes = Vec::new();
                while let Ok(Answer::Swept { more: true, .. }) =
                    machine.apply_one(&tick, &mut changes)
                {}
                (machine, changes)
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn forms(criterion: &mut Criterion) {
    let commands = (0..BATCH_COMMANDS).map(|number| switch(number, 2)).map(at_zero).collect();
    let batch = CommandBatch { commands };
    let bytes = codec::encode(Kind::LogEntry, 1, &batch).unwrap();
    let mut group = criterion.benchmark_group("batch of switches");
    group.throughput(Throughput::Elements(u64::from(BATCH_COMMANDS)));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| codec::encode(Kind::LogEntry, 1, black_box(&batch)));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| codec::decode::<CommandBatch>(Kind::LogEntry, 1, black_box(&bytes)));
    });
    group.finish();
}

criterion_group! {
    name = machine;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    targets = switches, creates, ticks, forms
}
criterion_main!(machine);
