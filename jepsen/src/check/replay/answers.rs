//! Every answer is what the session was at the version that it names.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Life, tell::difference};
use crate::{
    check::{
        act::{Act, Acts},
        state::{born, version, word},
        verdict::Anomaly,
    },
    history::{op::F, pair::Op, tape::Update},
    model::Session,
    test::run::Run,
};

/// Where to find a version.
pub(super) struct Index<'a> {
    lives: BTreeMap<&'a str, Vec<&'a Life<'a>>>,
}

impl<'a> Index<'a> {
    pub(super) fn of(lives: &'a [Life<'a>]) -> Self {
        let mut of: BTreeMap<&str, Vec<&Life<'_>>> = BTreeMap::new();
        for life in lives {
            of.entry(life.session).or_default().push(life);
        }
        Self { lives: of }
    }

    /// The life that a state is of. A switch is answered without its birth: then the only one
    /// that has this version.
    pub(super) fn life(&self, session: &str, state: &Value) -> Option<&'a Life<'a>> {
        let lives = self.lives.get(session)?;
        let version = version(state)?;
        let mut fit = lives.iter().filter(|life| {
            let birth = life.updates.first().and_then(|first| first.state.as_ref()).and_then(born);
            match born(state) {
                Some(born) => birth == Some(born),
                None => life.update(version).is_some(),
            }
        });
        let first = fit.next()?;
        fit.next().is_none().then_some(*first)
    }
}

impl Life<'_> {
    pub(super) fn update(&self, version: u64) -> Option<&Update> {
        let place = self.updates.binary_search_by_key(&version, |update| update.version).ok()?;
        self.updates.get(place).copied()
    }

    /// What the session was at this version, as told to subscribers.
    fn told(&self, version: u64) -> Option<&Value> {
        self.update(version)?.state.as_ref()
    }

    fn model(&self, version: u64) -> Option<&Session> {
        self.states.get(&version)
    }
}

/// Returns how many answers could be compared.
pub(super) fn check(
    run: &Run,
    acts: &Acts<'_>,
    index: &Index<'_>,
    anomalies: &mut Vec<Anomaly>,
) -> usize {
    let mut compared = 0;
    for (session, of) in acts.iter() {
        for act in of {
            let Some(answer) = act.answer.filter(|answer| !answer.is_null()) else { continue };
            let Some(life) = index.life(session, answer) else { continue };
            compared += 1;
            if let Some(what) = answered(life, act, answer) {
                anomalies.push(wrong(what, session, answer, life, act.op));
            }
        }
        twice(of, index, anomalies);
    }
    for op in &run.ops {
        for (session, state) in read(op) {
            let Some(life) = index.life(session, state) else { continue };
            let Some(told) = version(state).and_then(|version| life.told(version)) else {
                continue;
            };
            compared += 1;
            if let Some(difference) = difference(told, state) {
                let what = format!(
                    "a {} gave another state than subscribers were told: {difference}",
                    op.f.as_str()
                );
                anomalies.push(wrong(what, session, state, life, op));
            }
        }
    }
    compared
}

fn wrong(what: String, session: &str, state: &Value, life: &Life<'_>, op: &Op) -> Anomaly {
    let version = version(state).unwrap_or(0);
    let revision = life.update(version).map_or(0, |update| update.revision);
    let anomaly = Anomaly::new(what).session(session).node(&op.node).at(revision, version);
    anomaly.ops([op.index]).time(op.returned_ns.unwrap_or(op.invoked_ns))
}

/// What is wrong with the answer to a command.
fn answered(life: &Life<'_>, act: &Act<'_>, answer: &Value) -> Option<String> {
    let number = version(answer)?;
    let update = life.update(number)?;
    let told = update.state.as_ref()?;
    let named = match act.f {
        F::Create => "created",
        F::Start => "started",
        F::Switch => "switched",
        F::Pause => "paused",
        F::Resume => "resumed",
        F::Complete => "completed",
        F::Delete | F::Read | F::StaleRead | F::List | F::Batch | F::Time => return None,
    };
    let cause = word(&update.cause, "type");
    if cause != named {
        return Some(format!(
            "a {} was answered with version {number}, which came of {cause}",
            act.f.as_str()
        ));
    }
    let before = life.model(number.checked_sub(1)?);
    let expected = if act.f == F::Switch {
        let now = life.model(number)?;
        now.switched(before.and_then(Session::out_now))
    } else {
        told.clone()
    };
    // Where the version before is not known, nobody knows who was out of time.
    let is_known = act.f != F::Switch || before.is_some();
    if let Some(difference) = difference(&expected, answer).filter(|_| is_known) {
        return Some(format!(
            "a {} was answered with what is not so: {difference}",
            act.f.as_str()
        ));
    }
    let (before, request) = (before?, request(act)?);
    if let Err(why) = before.allows(request, told) {
        return Some(format!(
            "a {} was acknowledged that should have been refused: {why}",
            act.f.as_str()
        ));
    }
    let names = request["next_participant_id"].is_string();
    let became = told["active_participant_id"].as_str();
    (act.f == F::Switch && !names && before.follows() != became).then(|| {
        format!("a switch made {became:?} active, and {:?} is next in turn", before.follows())
    })
}

/// The command's body.
pub(super) fn request<'a>(act: &Act<'a>) -> Option<&'a Value> {
    let Some(commands) = act.op.request["commands"].as_array() else {
        return Some(&act.op.request);
    };
    let mut of_session = commands.iter().filter(|command| command["session_id"] == act.session);
    let first = of_session.next()?;
    of_session.next().is_none().then_some(first)
}

/// Two commands cannot have made the same version.
fn twice(acts: &[Act<'_>], index: &Index<'_>, anomalies: &mut Vec<Anomaly>) {
    let mut made: BTreeMap<(String, u64), &Act<'_>> = BTreeMap::new();
    for act in acts.iter().filter(|act| act.f != F::Create) {
        let Some(answer) = act.answer.filter(|answer| !answer.is_null()) else { continue };
        let (Some(life), Some(number)) = (index.life(act.session, answer), version(answer)) else {
            continue;
        };
        let birth = life.updates.first().and_then(|first| first.state.as_ref()).and_then(born);
        let key = (birth.unwrap_or_default().to_owned(), number);
        let Some(first) = made.get(&key) else {
            made.insert(key, act);
            continue;
        };
        let repeats = first.op.idem.is_some() && first.op.idem == act.op.idem;
        if !repeats && first.op.index != act.op.index {
            let what = format!("two commands were told that they made version {number}");
            let mut anomaly = wrong(what, act.session, answer, life, act.op);
            anomaly.ops = vec![first.op.index, act.op.index];
            anomalies.push(anomaly);
        }
    }
}

/// The states that a read gave.
pub(super) fn read(op: &Op) -> Vec<(&str, &Value)> {
    let Some(answer) = op.answer() else { return Vec::new() };
    let one = |state: &'_ Value| state["version"].is_u64();
    match (op.f, op.key.as_deref()) {
        (F::Read, Some(session)) if one(answer) => vec![(session, answer)],
        (F::StaleRead, Some(session)) if one(&answer["data"]) => vec![(session, &answer["data"])],
        (F::List, _) => {
            let states = answer["data"].as_array().into_iter().flatten();
            states.filter_map(|state| Some((state["session_id"].as_str()?, state))).collect()
        }
        (_, _) => Vec::new(),
    }
}
