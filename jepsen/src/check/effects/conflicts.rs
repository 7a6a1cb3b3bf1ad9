//! Whether commands were checked against each other, and batches kept whole.
//!
//! A command that names no version is checked against the one that the leader had applied when it
//! arrived. Commands that share a revision share a log entry, so all of them arrived before any
//! was applied: only one may change a session, unless the others named the version before theirs
//! or came in one batch with it. Those of later entries may have arrived in time, for all we know.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{explain::command_of, timeline::tells_of};
use crate::{
    check::{
        act::{Act, Acts},
        state::born,
        verdict::Anomaly,
    },
    history::{op::F, tape::Update},
    test::run::Run,
};

pub(super) fn judge(run: &Run, acts: &Acts<'_>) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    // Where the answers of each batch are on the tape.
    let mut batches: BTreeMap<u64, BTreeMap<u64, (&str, u64)>> = BTreeMap::new();
    for (session, of) in acts.iter() {
        let updates = run.tape.sessions.get(session).map_or(&[][..], Vec::as_slice);
        let mut begun = BTreeSet::new();
        for act in of {
            let comes_first = begun.insert(act.op.index);
            let Some(update) = updates.iter().find(|update| tells_of(act, update, updates)) else {
                continue;
            };
            // A create may be answered with what an earlier one made.
            if act.op.f == F::Batch && act.f != F::Create {
                let of_batch = batches.entry(act.op.index).or_default();
                of_batch.insert(update.revision, (session, update.version));
            }
            if comes_first && is_checked(act) {
                anomalies.extend(overtaken(act, update, updates));
            }
        }
        anomalies.extend(shared(of, acts.deletes(session).is_empty()));
    }
    for (op, parts) in batches {
        if let (Some((first, _)), Some((last, (session, version)))) =
            (parts.first_key_value(), parts.last_key_value())
            && first != last
        {
            let what = format!("parts of one batch took effect at revisions {first} and {last}");
            let anomaly = Anomaly::new(what).session(session).at(*last, *version);
            anomalies.push(anomaly.ops([op]));
        }
    }
    anomalies
}

/// Does the leader check it against what it saw?
fn is_checked(act: &Act<'_>) -> bool {
    let named = act.request.get("expected_version").and_then(Value::as_u64);
    act.f != F::Create && act.f != F::Delete && named.is_none()
}

/// Another command changed the session in the same log entry before.
fn overtaken(act: &Act<'_>, update: &Update, updates: &[Update]) -> Option<Anomaly> {
    let birth = update.state.as_ref().and_then(born);
    let before = updates.iter().rev().find(|other| {
        other.revision == update.revision
            && other.version < update.version
            && other.state.as_ref().and_then(born) == birth
            && command_of(other).is_some_and(|f| f != F::Create)
    })?;
    let what = format!(
        "a {} that named no version made version {}, and another command made version {} in the \
         same log entry: it should have been a conflict",
        act.f.as_str(),
        update.version,
        before.version
    );
    let anomaly = Anomaly::new(what).session(act.session).at(update.revision, update.version);
    Some(anomaly.time(update.seen_ns).ops([act.op.index]))
}

/// Two commands were answered with one version. `single` where the session had one life.
fn shared(acts: &[Act<'_>], single: bool) -> Vec<Anomaly> {
    let mut told: BTreeMap<(u64, Option<&str>), &Act<'_>> = BTreeMap::new();
    let mut anomalies = Vec::new();
    for act in acts.iter().filter(|act| act.f != F::Create) {
        let Some(version) = act.version() else { continue };
        let birth = act.answer.and_then(born);
        // A switch is answered without the session's birth.
        if birth.is_none() && !single {
            continue;
        }
        let life = birth.filter(|_| !single);
        let Some(other) = told.insert((version, life), act) else { continue };
        let one_request = act.op.idem.is_some() && act.op.idem == other.op.idem;
        if !one_request {
            let what = format!(
                "a {} and a {} were both answered with version {version}",
                other.f.as_str(),
                act.f.as_str()
            );
            let mut anomaly = Anomaly::new(what).session(act.session);
            anomaly.version = Some(version);
            anomalies.push(anomaly.ops([other.op.index, act.op.index]));
        }
    }
    anomalies
}
