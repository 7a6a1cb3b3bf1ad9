//! Operations whose stamp and place in the log are known.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    check::{
        act::{Act, Acts},
        state::{MS, born, signed, stamp_ms},
    },
    history::{op::F, tape::Update},
    test::run::Run,
};

/// An act with its stamp. Times are on the runner's clock, the stamp is cluster time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamped<'a> {
    pub(super) session: &'a str,
    pub(super) revision: u64,
    pub(super) version: u64,
    pub(super) stamp_ns: i64,
    pub(super) invoked_ns: i64,
    pub(super) returned_ns: i64,
    /// Index of the invocation in the history.
    pub(super) op: u64,
}

pub(super) struct All<'a> {
    /// In the order of the log.
    pub(super) ops: Vec<Stamped<'a>>,
    /// Acknowledged, but no subscriber was told of what they did.
    pub(super) without_revision: u64,
}

pub(super) fn of(run: &Run) -> All<'_> {
    let mut versions: BTreeMap<(&str, u64), Vec<&Update>> = BTreeMap::new();
    for update in run.tape.sessions.values().flatten() {
        versions.entry((update.session.as_str(), update.version)).or_default().push(update);
    }
    let acts = Acts::of(run);
    let mut all = All { ops: Vec::new(), without_revision: 0 };
    for (session, acts) in acts.iter() {
        let first_create =
            acts.iter().filter(|act| act.f == F::Create).map(|act| act.from_ns).min();
        for act in acts.iter().filter(|act| act.is_certain() && act.f != F::Delete) {
            let Some(version) = act.version() else { continue };
            let known = versions.get(&(session, version)).map_or(&[][..], Vec::as_slice);
            let Some((update, stamp)) = known.iter().find_map(|update| done_by(act, update)) else {
                all.without_revision += 1;
                continue;
            };
            // An identical create is told of the first one.
            let from_ns = match first_create {
                Some(first) if act.f == F::Create => first.min(act.from_ns),
                Some(_) | None => act.from_ns,
            };
            all.ops.push(Stamped {
                session,
                revision: update.revision,
                version,
                stamp_ns: stamp.saturating_mul(MS),
                invoked_ns: signed(from_ns),
                returned_ns: signed(act.until_ns.unwrap_or(u64::MAX)),
                op: act.op.index,
            });
        }
    }
    all.ops.sort_by_key(|op| (op.revision, op.session, op.version));
    all
}

/// Is this what the act did? Its stamp then.
fn done_by<'a>(act: &Act<'_>, update: &'a Update) -> Option<(&'a Update, i64)> {
    let (state, answer) = (update.state.as_ref()?, act.answer?);
    let same = |field: &str| answer.get(field).is_none_or(|told| *told == state[field]);
    // A switch is answered without the session's own times.
    let is_it = match born(answer) {
        Some(birth) => born(state) == Some(birth),
        None => answer["cycle_started_at"] != Value::Null && same("cycle_started_at"),
    };
    let stamp = stamp_ms(state, "updated_at").filter(|_| is_it && same("updated_at"))?;
    Some((update, stamp))
}
