//! What holds whatever happens: random sessions, random commands, clocks that trail.
#![allow(clippy::unwrap_used)]

mod history;

use std::{collections::BTreeMap, sync::Arc};

use history::{Books, History, histories};
use proptest::prelude::*;
use synckairos_protocol::{
    codec::{self, HEADER_BYTES, Kind},
    command::{Command, CommandBatch, Intent, Stamped},
    event::{Answer, Change, Event},
    ids::SessionId,
    machine::Machine,
    reject::Reject,
    session::{Session, Status, invariants},
    time::{Millis, Stamp},
};

fn tick(stamp: Stamp) -> Stamped {
    Stamped { stamp, command: Command::Tick { sessions_max: u32::MAX } }
}

fn snapshot(machine: &Machine) -> BTreeMap<SessionId, Session> {
    machine.sessions().map(|session| (session.id, (**session).clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The machine is a function of its log: neither the replica nor the cut into batches shows.
    #[test]
    fn apply_is_deterministic_and_batches_do_not_show(
        history in histories(), cuts in prop::collection::vec(1_usize..8, 1..60),
    ) {
        let (mut one, mut other) = (Machine::default(), Machine::default());
        let mut single = (Vec::new(), Vec::new());
        for stamped in &history.log {
            single.0.push(one.apply_one(stamped, &mut single.1));
        }
        let mut batched = (Vec::new(), Vec::new());
        let mut rest = history.log.as_slice();
        for cut in cuts.iter().cycle() {
            let (batch, later) = rest.split_at((*cut).min(rest.len()));
            let outcome = other.apply(&CommandBatch { commands: batch.to_vec() });
            batched.0.extend(outcome.answers);
            batched.1.extend(outcome.changes);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(single, batched);
        prop_assert_eq!(one, other);
    }

    /// Replicas that were restored from rows are the machine that wrote them.
    #[test]
    fn every_state_keeps_its_rules_and_can_be_restored(history in histories()) {
        let mut machine = Machine::default();
        for stamped in &history.log {
            let _ = machine.apply_one(stamped, &mut Vec::new());
            for session in machine.sessions() {
                prop_assert_eq!(invariants::broken_rule(session, machine.now()), None);
            }
            let rows = machine.sessions().map(|session| (**session).clone());
            prop_assert_eq!(&Machine::restore(machine.now(), rows), &machine);
        }
        machine.apply_one(&tick(machine.now()), &mut Vec::new()).unwrap();
        prop_assert!(machine.next_deadline().is_none_or(|due| machine.now() < due));
    }

    /// Who sees the changes knows the state, and misses no version.
    #[test]
    fn changes_tell_everything_once_and_in_order(history in histories()) {
        let mut machine = Machine::default();
        let mut mirror: BTreeMap<SessionId, Arc<Session>> = BTreeMap::new();
        for stamped in &history.log {
            let mut changes = Vec::new();
            let _ = machine.apply_one(stamped, &mut changes);
            for change in changes {
                match change {
                    Change::Updated { session, event, .. } => {
                        let before = mirror.get(&session.id).map_or(0, |known| known.version);
                        prop_assert_eq!(session.version, before + 1);
                        prop_assert_eq!(before == 0, event == Event::Created);
                        mirror.insert(session.id, session);
                    }
                    Change::Warned { session, warning } => {
                        prop_assert_eq!(session.version, mirror[&session.id].version);
                        prop_assert!(warning.at <= machine.now());
                        mirror.insert(session.id, session);
                    }
                    Change::Deleted { session, .. } => {
                        prop_assert!(mirror.remove(&session).is_some());
                    }
                }
            }
            prop_assert!(machine.sessions().eq(mirror.values()));
        }
    }

    /// A refused command is time passing, for its session and for nobody else.
    #[test]
    fn a_refusal_changes_nothing_but_what_time_did(history in histories()) {
        let mut machine = Machine::default();
        for stamped in &history.log {
            let before = snapshot(&machine);
            let mut changes = Vec::new();
            if machine.apply_one(stamped, &mut changes).is_ok() {
                continue;
            }
            let mut expected = before;
            let mut expected_changes = Vec::new();
            let id = stamped.command.session().unwrap();
            if let Some(session) = expected.get(&id).cloned() {
                let mut alone = Machine::restore(machine.now(), [session]);
                alone.apply_one(&tick(machine.now()), &mut expected_changes).unwrap();
                expected.extend(snapshot(&alone));
            }
            prop_assert_eq!(snapshot(&machine), expected);
            prop_assert_eq!(changes, expected_changes);
        }
    }

    /// A timer that fires early, late or twice makes no difference.
    #[test]
    fn settling_in_two_steps_is_settling_in_one(
        history in histories(), first in 0_u64..10_000, second in 0_u64..20_000,
    ) {
        let machine = history.play();
        let halfway = machine.now().after(Millis::new(first));
        let end = halfway.after(Millis::new(second));
        for session in machine.sessions() {
            let (mut steps, mut at_once) = (Vec::new(), Vec::new());
            let settled = Arc::clone(session).settle(halfway, &mut steps).settle(end, &mut steps);
            prop_assert_eq!(settled, Arc::clone(session).settle(end, &mut at_once));
            prop_assert_eq!(steps, at_once);
        }
    }

    /// What was given and earned is what is left, and what was used without the overtime.
    #[test]
    fn time_is_conserved(history in histories()) {
        let mut machine = Machine::default();
        let mut books = Books::new();
        for stamped in &history.log {
            let mut changes = Vec::new();
            let _ = machine.apply_one(stamped, &mut changes);
            for change in &changes {
                history::note_given(change, &mut books);
            }
            for session in machine.sessions() {
                let used: u64 = session.participants.iter().map(|one| one.used.get()).sum();
                prop_assert_eq!(used, session.elapsed.get());
                for account in history::accounts(session, &books) {
                    let in_time = account.in_bank + account.used == account.given;
                    let overdrawn = account.in_bank == 0 && account.given <= account.used;
                    let expected = if account.expired { overdrawn } else { in_time };
                    prop_assert!(expected, "{:?} of {:?}", account, session);
                }
            }
        }
    }

    #[test]
    fn decode_undoes_encode(history in histories()) {
        let mut machine = Machine::default();
        let outcome = machine.apply(&CommandBatch { commands: history.log.clone() });
        let batch = CommandBatch { commands: history.log };
        prop_assert_eq!(reread(Kind::LogEntry, &batch), batch.clone());
        for stamped in batch.commands {
            let intent = history::intent_of(stamped.command);
            prop_assert_eq!(reread(Kind::PeerRequest, &intent), intent);
        }
        for session in machine.sessions() {
            prop_assert_eq!(&reread::<Session>(Kind::SessionRow, session), &**session);
        }
        for answer in outcome.answers {
            let read = reread::<Result<Answer, Reject>>(Kind::PeerReply, &answer);
            prop_assert_eq!(read, answer);
        }
    }

    #[test]
    fn random_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_as_everything(&bytes);
        read_as_everything(&history::sealed(Kind::LogEntry, &bytes));
        read_as_everything(&history::sealed(Kind::SessionRow, &bytes));
        read_as_everything(&history::sealed(Kind::PeerReply, &bytes));
    }

    /// Bytes that were changed by somebody who knows the checksum: whatever can be read and keeps
    /// the rules can be run.
    #[test]
    fn changed_bytes_do_no_harm(
        history in histories(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let batch = CommandBatch { commands: history.log.clone() };
        let mut machine = history.play();
        let bytes = edited(Kind::LogEntry, &batch, &edits);
        read_as_everything(&bytes);
        if let Ok(batch) = codec::decode::<CommandBatch>(Kind::LogEntry, 1, &bytes) {
            machine.clone().apply(&batch);
        }
        machine.apply_one(&tick(machine.now()), &mut Vec::new()).unwrap();
        for session in machine.sessions() {
            let bytes = edited(Kind::SessionRow, &**session, &edits);
            read_as_everything(&bytes);
            let Ok(read) = codec::decode::<Session>(Kind::SessionRow, 1, &bytes) else { continue };
            if invariants::broken_rule(&read, machine.now()).is_none() {
                let mut restored = Machine::restore(machine.now(), [read]);
                restored.apply(&CommandBatch { commands: history.log.clone() });
                restored.apply_one(&tick(Stamp::from_unix_millis(u64::MAX)), &mut Vec::new())
                    .unwrap();
            }
        }
    }
}

/// The properties above say something only if histories reach everything.
#[test]
fn histories_reach_every_status_and_mode() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut seen, mut refused, mut skipped) = (Vec::new(), 0, 0);
    for _ in 0..400 {
        let history: History = histories().new_tree(&mut runner).unwrap().current();
        let mut machine = Machine::default();
        let outcome = machine.apply(&CommandBatch { commands: history.log });
        refused += outcome.answers.iter().filter(|answer| answer.is_err()).count();
        for change in &outcome.changes {
            let Change::Updated { session, event, .. } = change else { continue };
            seen.push((session.mode, session.status()));
            skipped += usize::from(matches!(event, Event::CycleSkipped { .. }));
        }
    }
    let statuses = |mode| {
        let all =
            [Status::Pending, Status::Running, Status::Paused, Status::Expired, Status::Completed];
        all.into_iter().all(|status| seen.contains(&(mode, status)))
    };
    for mode in history::MODES {
        assert!(statuses(mode), "{mode:?}");
    }
    assert!(400 < refused && 100 < skipped, "{refused} refused, {skipped} skipped");
}

fn reread<T>(kind: Kind, value: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    codec::decode(kind, 1, &codec::encode(kind, 1, value).unwrap()).unwrap()
}

fn edited<T: serde::Serialize>(
    kind: Kind,
    value: &T,
    edits: &[(prop::sample::Index, u8)],
) -> Vec<u8> {
    let mut payload = codec::encode(kind, 1, value).unwrap().split_off(HEADER_BYTES);
    for (index, byte) in edits {
        let position = index.index(payload.len());
        payload[position] = *byte;
    }
    history::sealed(kind, &payload)
}

fn read_as_everything(bytes: &[u8]) {
    let _ = codec::decode::<CommandBatch>(Kind::LogEntry, 1, bytes);
    let _ = codec::decode::<Session>(Kind::SessionRow, 1, bytes);
    let _ = codec::decode::<Intent>(Kind::PeerRequest, 1, bytes);
    let _ = codec::decode::<Result<Answer, Reject>>(Kind::PeerReply, 1, bytes);
}
