//! Everything that happened, repeated in the order of the log against a model that was written
//! for this: every field of every version, of every answer, times included, and the order in real
//! time over all sessions.

mod answers;
mod order;
mod tell;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    act::Acts,
    state::{born, word},
    verdict::{Anomaly, Verdict},
};
use crate::{
    history::{op::F, tape::Update},
    model::Session,
    test::run::Run,
};
use tell::{difference, stamp};

/// One life of a session, from its creation to its deletion, as subscribers were told of it.
struct Life<'a> {
    session: &'a str,
    updates: Vec<&'a Update>,
    /// The model's state after each version, where it could be replayed.
    states: BTreeMap<u64, Session>,
    /// The revision of its deletion.
    ended: Option<u64>,
}

pub fn check(run: &Run) -> Verdict {
    let acts = Acts::of(run);
    let mut anomalies = Vec::new();
    let (mut replayed, mut gaps) = (0_usize, 0_usize);
    let mut lives = Vec::new();
    for (session, updates) in &run.tape.sessions {
        for mut life in split(session, updates) {
            let (steps, missing, anomaly) = replay(&mut life, &acts);
            replayed += steps;
            gaps += missing;
            anomalies.extend(anomaly);
            lives.push(life);
        }
    }
    for conflict in &run.tape.conflicts {
        let [one, other] = &conflict.subscribers;
        let what = format!("{one} and {other} were told different things about one version");
        anomalies.push(
            Anomaly::new(what).session(&conflict.session).at(conflict.revision, conflict.version),
        );
    }
    let index = answers::Index::of(&lives);
    let answers = answers::check(run, &acts, &index, &mut anomalies);
    let ordered = order::check(run, &acts, &index, &mut anomalies);
    let verdict = Verdict::of("replay", anomalies)
        .with("versions", replayed)
        .with("gaps", gaps)
        .with("answers", answers)
        .with("ordered", ordered);
    if replayed == 0 {
        return verdict.unknown("no subscriber was told of any change");
    }
    verdict
}

fn split<'a>(session: &'a str, updates: &'a [Update]) -> Vec<Life<'a>> {
    let mut lives: Vec<Life<'a>> = Vec::new();
    for update in updates {
        let same = |life: &Life<'_>| {
            let last = life.updates.last().and_then(|last| last.state.as_ref()).and_then(born);
            life.ended.is_none()
                && last.is_some()
                && (update.state.is_none() || update.state.as_ref().and_then(born) == last)
        };
        if !lives.last().is_some_and(same) {
            let (updates, states) = (Vec::new(), BTreeMap::new());
            lives.push(Life { session, updates, states, ended: None });
        }
        let Some(life) = lives.last_mut() else { continue };
        if update.state.is_some() {
            life.updates.push(update);
        } else {
            life.ended = Some(update.revision);
        }
    }
    lives
}

/// Repeats a life. Returns how many versions were repeated, how many were missing, and the first
/// thing that is wrong: the rest follows from it.
fn replay(life: &mut Life<'_>, acts: &Acts<'_>) -> (usize, usize, Option<Anomaly>) {
    let (mut replayed, mut gaps) = (0, 0);
    let mut model: Option<Session> = None;
    let mut last = (0_u64, 0_u64);
    for update in life.updates.clone() {
        let Some(state) = &update.state else { continue };
        let wrong = |what: String| {
            let anomaly = Anomaly::new(what).session(life.session).time(update.seen_ns);
            Some(anomaly.at(update.revision, update.version))
        };
        if update.revision < last.0 || (last.1 != 0 && update.version <= last.1) {
            let what = format!(
                "version {} stands at revision {}, and version {} at {}",
                last.1, last.0, update.version, update.revision
            );
            return (replayed, gaps, wrong(what));
        }
        let next = match (model.take(), word(&update.cause, "type")) {
            (None, "created") if update.version == 1 => match made(life.session, state, acts) {
                Ok(next) => Some(next),
                Err(what) => return (replayed, gaps, wrong(what)),
            },
            (Some(mut before), cause) if before.version + 1 == update.version => {
                let version = before.version;
                let step = stamp(state).ok_or_else(|| String::from("it has no time stamp"));
                if let Err(why) = step.and_then(|stamp| before.step(&update.cause, stamp)) {
                    let what = format!("version {version} cannot have {cause}: {why}");
                    return (replayed, gaps, wrong(what));
                }
                Some(before)
            }
            (_, _) => None,
        };
        let next = match next {
            Some(next) => {
                if let Some(difference) = difference(&next.shown(), state) {
                    let cause = word(&update.cause, "type");
                    let what =
                        format!("after {cause} the session is not what it should be: {difference}");
                    return (replayed, gaps, wrong(what));
                }
                replayed += 1;
                next
            }
            None => {
                gaps += usize::from(last.1 + 1 != update.version);
                let Some(seen) = Session::seen(state) else {
                    return (replayed, gaps, wrong(String::from("the state is no session")));
                };
                seen
            }
        };
        last = (update.revision, update.version);
        life.states.insert(update.version, next.clone());
        model = Some(next);
    }
    (replayed, gaps, None)
}

/// The session as one of those who asked for it described it.
fn made(session: &str, state: &Value, acts: &Acts<'_>) -> Result<Session, String> {
    let now = stamp(state).ok_or_else(|| String::from("it has no time stamp"))?;
    let mut first: Option<String> = None;
    for act in acts.on(session).iter().filter(|act| act.f == F::Create) {
        let Some(made) = answers::request(act).and_then(|body| Session::made(body, now)) else {
            continue;
        };
        let Some(difference) = difference(&made.shown(), state) else { return Ok(made) };
        first.get_or_insert(difference);
    }
    Err(match first {
        Some(difference) => format!("the session is not what was asked for: {difference}"),
        None => String::from("nobody asked for this session"),
    })
}
