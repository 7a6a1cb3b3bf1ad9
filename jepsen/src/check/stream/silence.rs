//! Who is told nothing is told that it is: a connection either brings what others are told of, or
//! ends. Only observers are looked at, who read at once and never cut themselves off.

use std::collections::BTreeMap;

use super::Known;
use crate::{
    check::{
        state::{SECOND, to_ms},
        verdict::Anomaly,
        window,
    },
    history::tape::{Frame, Update, What},
    nemesis::{FaultRecord, Trouble},
};

/// A node that has heard no leader for three seconds says so, and closes. As much again for a
/// machine that is busy.
const SILENCE_MAX_NS: u64 = 6 * SECOND;
/// After a fault that may keep a node or a connection from saying anything.
const MARGIN_NS: u64 = 3 * SECOND;

pub(super) struct Silence {
    pub(super) anomalies: Vec<Anomaly>,
    pub(super) longest_ms: u64,
}

/// One session on one connection.
struct Listening<'a> {
    subscriber: &'a str,
    node: &'a str,
    session: &'a str,
    from_ns: u64,
    /// The connection, or the session's place on it, ended; or the node said that it is stale.
    to_ns: u64,
    heard: Vec<Told>,
}

/// A message about a session.
struct Told {
    version: Option<u64>,
    revision: Option<u64>,
    at_ns: u64,
}

pub(super) fn check(known: &Known<'_>, subscribers: &BTreeMap<&str, Vec<&Frame>>) -> Silence {
    let mut silence = Silence { anomalies: Vec::new(), longest_ms: 0 };
    for (name, frames) in subscribers {
        if !name.starts_with("observer") {
            continue;
        }
        for listening in places(name, frames, known.run.ending.quiet_ns) {
            let updates = known.run.tape.sessions.get(listening.session);
            let mut heard = listening.heard.iter().peekable();
            for update in updates.into_iter().flatten() {
                // Updates come in order, so whatever does not tell of this one tells of no later one.
                while heard.next_if(|told| !told.covers(update)).is_some() {}
                let told_ns = heard.peek().map(|told| told.at_ns);
                let Some(late_ns) = listening.late(update, told_ns) else { continue };
                if excused(known, (update.seen_ns, update.seen_ns + late_ns)) {
                    continue;
                }
                silence.longest_ms = silence.longest_ms.max(to_ms(late_ns));
                if SILENCE_MAX_NS < late_ns {
                    silence.anomalies.push(too_late(&listening, update, late_ns));
                    break;
                }
            }
        }
    }
    silence
}

fn too_late(listening: &Listening<'_>, update: &Update, late_ns: u64) -> Anomaly {
    let Listening { subscriber, node, session, .. } = listening;
    let late_ms = to_ms(late_ns);
    Anomaly::new(format!(
        "{subscriber} had not been told of it {late_ms} ms after {} was, and not that {node} is out \
         of touch",
        update.subscriber
    ))
    .session(session)
    .node(node)
    .at(update.revision, update.version)
    .time(update.seen_ns)
}

impl Listening<'_> {
    /// How long after somebody else it heard of the update, or had not when it ended; `None` where
    /// that was not its business.
    fn late(&self, update: &Update, told_ns: Option<u64>) -> Option<u64> {
        let concerned = self.from_ns <= update.seen_ns && update.seen_ns < self.to_ns;
        let until_ns = told_ns.unwrap_or(self.to_ns).min(self.to_ns);
        concerned.then(|| until_ns.saturating_sub(update.seen_ns))
    }
}

impl Told {
    /// Does whoever heard this know of the update?
    fn covers(&self, update: &Update) -> bool {
        match self.revision {
            Some(revision) => update.revision <= revision,
            None => self.version.is_none_or(|version| update.version <= version),
        }
    }
}

/// Where a subscriber asked to be told everything, and what it heard there.
fn places<'a>(name: &'a str, frames: &[&'a Frame], end_ns: u64) -> Vec<Listening<'a>> {
    let (mut done, mut open): (Vec<Listening<'a>>, BTreeMap<&str, Listening<'a>>) =
        (Vec::new(), BTreeMap::new());
    for frame in frames {
        let at = frame.time;
        let end = |mut listening: Listening<'a>| {
            listening.to_ns = at.min(end_ns);
            listening
        };
        match frame.what {
            What::Open | What::Close => {
                done.extend(std::mem::take(&mut open).into_values().map(end))
            }
            What::Subscribe => {
                let Some(session) = frame.session.as_deref().filter(|_| frame.since.is_some())
                else {
                    continue;
                };
                let (subscriber, node) = (name, frame.node.as_str());
                // From when the node has come to it.
                let (from_ns, to_ns, heard) = (u64::MAX, end_ns, Vec::new());
                let new = Listening { subscriber, node, session, from_ns, to_ns, heard };
                done.extend(open.insert(session, new).map(end));
            }
            What::Message => {
                let message = &frame.value;
                let kind = message["type"].as_str().unwrap_or_default();
                if kind == "STALE" {
                    done.extend(std::mem::take(&mut open).into_values().map(end));
                    continue;
                }
                let Some(session) = message["sessionId"].as_str() else { continue };
                let Some(listening) = open.get_mut(session) else { continue };
                let (version, revision) =
                    (message["version"].as_u64(), message["revision"].as_u64());
                let told = Told { version, revision, at_ns: at };
                match kind {
                    "SUBSCRIBED" => listening.from_ns = at,
                    "STATE_UPDATE" | "STATE_SYNC" => listening.heard.push(told),
                    "SESSION_DELETED" => {
                        listening.heard.push(told);
                        done.extend(open.remove(session).map(end));
                    }
                    "UNSUBSCRIBED" => done.extend(open.remove(session).map(end)),
                    _ => {}
                }
            }
        }
    }
    done.extend(open.into_values());
    done
}

/// Was there a fault that may keep a node from saying that it is out of touch, or its word from
/// arriving?
fn excused(known: &Known<'_>, span: (u64, u64)) -> bool {
    let gags = |fault: &&FaultRecord| match fault.planned.trouble {
        Trouble::Partition
        | Trouble::Kill
        | Trouble::Stop
        | Trouble::Transfer
        | Trouble::Clock
        | Trouble::Drift => false,
        // A follower that is to need a snapshot is kept away, sometimes by standing still.
        Trouble::Snapshot => fault.evidence["held"] == "stopped",
        Trouble::Pause
        | Trouble::Packet
        | Trouble::ClientPartition
        | Trouble::Power
        | Trouble::LyingDisk
        | Trouble::DiskError
        | Trouble::DiskFull
        | Trouble::SlowDisk
        | Trouble::Corrupt
        | Trouble::DataLoss
        | Trouble::Membership
        | Trouble::RollingRestart
        | Trouble::Upgrade
        | Trouble::Flood
        | Trouble::Squeeze => true,
    };
    let mut faults = window::installed(known.run).filter(gags);
    faults.any(|fault| window::touches(fault, span, MARGIN_NS))
}
