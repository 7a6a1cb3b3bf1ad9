//! Operations: an invocation and what came of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::op::{Event, F, Failure, Kind, Process};

/// What came of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It took effect, and this was the answer.
    Ok { status: u16, value: Value },
    /// It certainly took no effect. `status` where a node said so.
    Fail { status: Option<u16>, error: Failure },
    /// It may have taken effect, then or later.
    Info { error: Failure },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Of the invocation's event: names the operation in reports.
    pub index: u64,
    pub process: u32,
    pub f: F,
    pub key: Option<String>,
    pub node: String,
    pub idem: Option<String>,
    pub request: Value,
    pub invoked_ns: u64,
    /// `None` where no answer came, or none that says what happened.
    pub returned_ns: Option<u64>,
    pub outcome: Outcome,
}

impl Op {
    /// The answer, where it took effect.
    pub fn answer(&self) -> Option<&Value> {
        match &self.outcome {
            Outcome::Ok { value, .. } => Some(value),
            Outcome::Fail { .. } | Outcome::Info { .. } => None,
        }
    }

    /// The refusal or failure, where it did not.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.outcome {
            Outcome::Ok { .. } => None,
            Outcome::Fail { error, .. } | Outcome::Info { error } => Some(error),
        }
    }

    /// May it have taken effect without anybody knowing?
    pub fn is_open(&self) -> bool {
        matches!(self.outcome, Outcome::Info { .. }) && self.f.writes()
    }
}

/// The operations of clients, in the order of their invocations. One that never completed is open.
pub fn pair(events: &[Event]) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    let mut open: BTreeMap<u32, usize> = BTreeMap::new();
    for event in events {
        let Process::Client(process) = event.process else { continue };
        if event.kind == Kind::Invoke {
            let Some(f) = F::parse(&event.f) else { continue };
            open.insert(process, ops.len());
            ops.push(Op {
                index: event.index,
                process,
                f,
                key: event.key.clone(),
                node: event.node.clone().unwrap_or_default(),
                idem: event.idem.clone(),
                request: event.value.clone(),
                invoked_ns: event.time,
                returned_ns: None,
                outcome: Outcome::Info {
                    error: Failure {
                        kind: String::from("UNFINISHED"),
                        effect: String::from("unknown"),
                        ..Failure::default()
                    },
                },
            });
            continue;
        }
        let Some(op) = open.remove(&process).and_then(|position| ops.get_mut(position)) else {
            continue;
        };
        let error = event.error.clone().unwrap_or_default();
        op.outcome = match event.kind {
            Kind::Ok => {
                Outcome::Ok { status: event.status.unwrap_or(200), value: event.value.clone() }
            }
            Kind::Fail => Outcome::Fail { status: event.status, error },
            Kind::Info | Kind::Invoke => Outcome::Info { error },
        };
        op.returned_ns = (event.kind != Kind::Info).then_some(event.time);
    }
    ops
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(index: u64, process: u64, kind: &str) -> Event {
        serde_json::from_value(json!({
            "index": index, "time": index * 10, "process": process, "type": kind, "f": "switch",
        }))
        .unwrap()
    }

    #[test]
    fn operations_overlap_and_some_never_end() {
        let events = [
            event(0, 1, "invoke"),
            event(1, 2, "invoke"),
            event(2, 1, "ok"),
            event(3, 1, "invoke"),
        ];
        let ops = pair(&events);
        assert_eq!(ops.len(), 3);
        assert_eq!(ops[0].returned_ns, Some(20));
        assert!(ops[1].is_open() && ops[2].is_open());
        assert_eq!(ops[2].invoked_ns, 30);
    }
}
