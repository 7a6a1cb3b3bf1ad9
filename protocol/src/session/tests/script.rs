//! A language for tests of the machine: a line a command, a line a consequence.
//!
//! ```text
//! create s per_participant a=5000 b=5000 increment=200 @0
//! switch s to=b from=a expect=2 @3500
//! ```
//! Participants are in lower case with their banks; `a=5000/X` is a member of group `X`, and
//! `X=9000` gives the group a bank. A version is expected as the leader would (the one it sees on
//! arrival), or `expect=` names it exactly, or `seen=` does as the leader.
//!
//! `s:4 running b@3500 due 8500 | a 2700 +2500 x1 !6000 | …` reads: session `s` at version 4, `b`
//! runs since 3500, something happens by itself at 8500, `a` has 2700 ms left, used 2500, finished
//! one cycle, and ran out of time at 6000.

use crate::{
    command::{Command, Expected, Stamped},
    error::Kind,
    event::{Answer, Cause, Change, Event},
    ids::{GroupId, ParticipantId, SessionId},
    machine::{Machine, Parts},
    reject::Reject,
    session::{
        Group, NewParticipant, NewSession, OnTimeout, Phase, Seat, Session, SyncMode, invariants,
    },
    time::{Millis, Stamp},
};

#[derive(Default)]
pub(super) struct Stage {
    pub(super) machine: Machine,
}

impl Stage {
    /// Applies the command of this line and tells what came of it: changes first, then the answer
    /// where it says more than the changes.
    pub(super) fn run(&mut self, line: &str) -> Vec<String> {
        let line = Line::parse(line);
        let stamped = Stamped { stamp: line.at, command: self.command(&line) };
        let mut changes = Vec::new();
        let answer = self.machine.apply_one(&stamped, &mut changes);
        self.check_machine();
        changes.iter().map(describe_change).chain(describe_answer(&answer)).collect()
    }

    pub(super) fn describe(&self, session: &str) -> String {
        let session = self.machine.session(SessionId::from_bits(bits_of(session)));
        session.map_or_else(|| String::from("gone"), |session| describe_session(session))
    }

    pub(super) fn describe_all(&self) -> impl Iterator<Item = String> {
        self.machine.sessions().map(|session| describe_session(session))
    }

    fn check_machine(&self) {
        let (now, sessions) = (self.machine.now(), || self.machine.sessions());
        for session in sessions() {
            assert_eq!(invariants::broken_rule(session, now), None);
        }
        let restored = Machine::from_parts(Parts {
            now,
            level: self.machine.level(),
            sessions: sessions().map(|session| (**session).clone()).collect(),
            answered: self.machine.answered().clone(),
            roster: self.machine.roster().clone(),
        });
        assert_eq!(self.machine, restored, "the indexes follow from the sessions");
    }

    fn command(&self, line: &Line<'_>) -> Command {
        let session = SessionId::from_bits(line.words.first().map_or(0, |name| bits_of(name)));
        let seen = self.machine.session(session).map_or(0, |session| session.version);
        let expected = match (line.number("expect"), line.number("seen")) {
            (Some(version), _) => Expected::Exactly(version),
            (None, version) => Expected::Seen(version.unwrap_or(seen)),
        };
        let participant = |key| line.option(key).map(participant);
        let sessions_max = line.number("max").map_or(u32::MAX, |max| u32::try_from(max).unwrap());
        match line.verb {
            "create" => Command::Create(Box::new(line.new_session(session))),
            "start" => Command::Start { session, expected },
            "switch" => {
                let (current, next) = (participant("from"), participant("to"));
                Command::Switch { session, expected, current, next }
            }
            "pause" => Command::Pause { session, expected },
            "resume" => Command::Resume { session, expected },
            "complete" => Command::Complete { session, expected },
            "delete" => Command::Delete { session },
            "tick" => Command::Tick { sessions_max },
            "sweep" => {
                let idle_before = Stamp::from_unix_millis(line.number("before").unwrap());
                Command::Sweep { idle_before, sessions_max }
            }
            verb => panic!("no such command: {verb}"),
        }
    }
}

struct Line<'a> {
    verb: &'a str,
    words: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
    at: Stamp,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let (text, at) = line.rsplit_once('@').unwrap_or_else(|| panic!("no stamp: {line}"));
        let mut words = text.split_whitespace();
        let verb = words.next().unwrap_or_else(|| panic!("no command: {line}"));
        let (mut names, mut options) = (Vec::new(), Vec::new());
        for word in words {
            match word.split_once('=') {
                Some(option) => options.push(option),
                None => names.push(word),
            }
        }
        Self { verb, words: names, options, at: Stamp::from_unix_millis(at.parse().unwrap()) }
    }

    fn option(&self, key: &str) -> Option<&'a str> {
        self.options.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.option(key).map(|value| value.parse().unwrap())
    }

    fn new_session(&self, id: SessionId) -> NewSession {
        let mut new = NewSession {
            id,
            mode: mode_of(self.words[1]),
            participants: Vec::new(),
            groups: Vec::new(),
            total_time: Millis::new(10_000),
            time_per_cycle: None,
            increment: Millis::ZERO,
            max_time: None,
            on_timeout: None,
            auto_advance: None,
            warnings: Vec::new(),
            metadata: None,
            first: None,
        };
        for (key, value) in &self.options {
            let millis = || Millis::new(value.parse().unwrap());
            match *key {
                "total" => new.total_time = millis(),
                "cycle" => new.time_per_cycle = Some(millis()),
                "increment" => new.increment = millis(),
                "ceiling" => new.max_time = Some(millis()),
                "timeout" => new.on_timeout = Some(timeout_of(value)),
                "auto" => new.auto_advance = Some(value.parse().unwrap()),
                "warnings" => {
                    new.warnings =
                        value.split(',').map(|ms| Millis::new(ms.parse().unwrap())).collect();
                }
                "metadata" => new.metadata = Some((*value).to_owned()),
                "first" => new.first = Some(participant(value)),
                group if group.starts_with(|letter: char| letter.is_ascii_uppercase()) => {
                    let id = GroupId::from_bits(bits_of(group));
                    new.groups.push(Group { id, bank: millis() });
                }
                name => {
                    let (bank, group) = match value.split_once('/') {
                        Some((bank, group)) => (bank, Some(GroupId::from_bits(bits_of(group)))),
                        None => (*value, None),
                    };
                    let (id, index) = (participant(name), new.participants.len() as u64);
                    let bank = Millis::new(bank.parse().unwrap());
                    new.participants.push(NewParticipant { id, index, bank, group });
                }
            }
        }
        new
    }
}

fn mode_of(word: &str) -> SyncMode {
    match word {
        "per_participant" => SyncMode::PerParticipant,
        "per_cycle" => SyncMode::PerCycle,
        "per_group" => SyncMode::PerGroup,
        "global" => SyncMode::Global,
        "count_up" => SyncMode::CountUp,
        word => panic!("no such mode: {word}"),
    }
}

fn timeout_of(word: &str) -> OnTimeout {
    match word {
        "notify" => OnTimeout::Notify,
        "skip" => OnTimeout::SkipCycle,
        "end" => OnTimeout::EndSession,
        action => OnTimeout::AutoAction { action: action.to_owned() },
    }
}

fn participant(name: &str) -> ParticipantId {
    ParticipantId::from_bits(bits_of(name))
}

/// An id whose bytes are the letters of its name.
fn bits_of(name: &str) -> u128 {
    name.bytes().fold(0, |bits, letter| bits << 8 | u128::from(letter))
}

fn name_of(key: [u8; 20]) -> String {
    key[..16].iter().filter(|byte| **byte != 0).copied().map(char::from).collect()
}

fn with_names(message: &str) -> String {
    let name = |word: &str| match SessionId::parse_loose(word) {
        Ok(id) => name_of(id.to_key()),
        Err(_) => word.to_owned(),
    };
    message.split(' ').map(name).collect::<Vec<_>>().join(" ")
}

fn describe_session(session: &Session) -> String {
    let who = |seat: Seat| name_of(session.participant(seat).id.to_key());
    let phase = match session.phase {
        Phase::Pending => String::from("pending"),
        Phase::Running { active, since } => format!("running {}@{}", who(active), at(since)),
        Phase::Paused { active } => format!("paused {}", who(active)),
        Phase::Expired { seat, at: stamp } => format!("expired {}@{}", who(seat), at(stamp)),
        Phase::Completed { at: stamp } => format!("completed @{}", at(stamp)),
    };
    let due = session.next_due().map_or_else(String::new, |due| format!(" due {}", at(due)));
    let mut text = format!("{}:{} {phase}{due}", name_of(session.id.to_key()), session.version);
    for (index, participant) in (0..).zip(&session.participants) {
        let left = session.time_remaining(Seat(index)).get();
        let (used, cycles) = (participant.used.get(), participant.cycles);
        text += &format!(" | {} {left} +{used} x{cycles}", who(Seat(index)));
        if let Some(expired) = participant.expired_at {
            text += &format!(" !{}", at(expired));
        }
    }
    text
}

fn describe_change(change: &Change) -> String {
    match change {
        Change::Updated { session, event, cause } => {
            let name = name_of(session.id.to_key());
            format!(
                "{name}:{} {}{}",
                session.version,
                describe_event(event),
                describe_cause(*cause)
            )
        }
        Change::Warned { session, warning } => {
            let (name, who) = (name_of(session.id.to_key()), name_of(warning.participant.to_key()));
            let (threshold, stamp) = (warning.threshold.get(), at(warning.at));
            format!("{name}:{} warned {who} of {threshold} @{stamp}", session.version)
        }
        Change::Deleted { session, at: stamp, cause } => {
            let name = name_of(session.to_key());
            format!("{name} deleted @{}{}", at(*stamp), describe_cause(*cause))
        }
    }
}

fn describe_event(event: &Event) -> String {
    let name = |id: &ParticipantId| name_of(id.to_key());
    let suffix = |action: &Option<String>| match action {
        Some(action) => format!(" {action}"),
        None => String::new(),
    };
    match event {
        Event::Created => String::from("created"),
        Event::Started { participant } => format!("started {}", name(participant)),
        Event::Switched { from, to } => format!("switched {}>{}", name(from), name(to)),
        Event::Paused => String::from("paused"),
        Event::Resumed => String::from("resumed"),
        Event::Completed => String::from("completed"),
        Event::ParticipantExpired { participant, due, action } => {
            format!("expired {}@{}{}", name(participant), at(*due), suffix(action))
        }
        Event::CycleSkipped { from, to, due, action } => {
            format!("skipped {}>{}@{}{}", name(from), name(to), at(*due), suffix(action))
        }
        Event::OutageCredited { participant, from, until, credited } => format!(
            "credited {} {} from {} until {}",
            name(participant),
            credited.get(),
            from.unix_millis(),
            until.unix_millis()
        ),
        Event::SessionExpired { participant, due } => {
            format!("ended {}@{}", name(participant), at(*due))
        }
    }
}

fn describe_cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Command => "",
        Cause::Timeout => " (timeout)",
        Cause::Auto => " (auto)",
    }
}

fn describe_answer(answer: &Result<Answer, Reject>) -> Option<String> {
    match answer {
        Ok(Answer::Switched { expired: Some(id), .. }) => {
            Some(format!("{} is out of time", name_of(id.to_key())))
        }
        Ok(Answer::Swept { sessions, more }) => {
            Some(format!("{sessions} done{}", if *more { ", more waiting" } else { "" }))
        }
        Ok(
            Answer::Session(_)
            | Answer::Switched { expired: None, .. }
            | Answer::Deleted
            | Answer::Batch(_)
            | Answer::Done
            | Answer::Admitted { .. },
        ) => None,
        Err(reject) => {
            Some(format!("{}: {}", Kind::from(reject).as_str(), with_names(&reject.to_string())))
        }
    }
}

fn at(stamp: Stamp) -> u64 {
    stamp.unix_millis()
}
