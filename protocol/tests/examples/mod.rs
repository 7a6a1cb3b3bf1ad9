//! One example of everything that has a form: every variant, every optional field both ways.

use std::sync::Arc;

use synckairos_protocol::{
    codec::Kind,
    command::{Command, CommandBatch, Expected, Intent, RequestKey, Stamped},
    event::{Answer, Cause, Event, Warning},
    ids::{GroupId, ParticipantId, SessionId},
    machine::Machine,
    reject::{Reject, Verb},
    session::{
        Group, NewParticipant, NewSession, OnOutage, OnTimeout, Session, Status, SyncMode,
        v1::{AnswerV1, SessionV1},
    },
    time::{Millis, Stamp},
};

/// An example and what it is called in the file.
pub(crate) type Named<T> = Vec<(String, T)>;

pub(crate) const KINDS: [Kind; 19] = [
    Kind::LogEntry,
    Kind::Vote,
    Kind::LogPosition,
    Kind::NodeIdentity,
    Kind::SessionRow,
    Kind::StateMeta,
    Kind::SnapshotHeader,
    Kind::SnapshotChunk,
    Kind::SnapshotTrailer,
    Kind::PeerHello,
    Kind::PeerRequest,
    Kind::PeerReply,
    Kind::AnsweredRow,
    Kind::UpdateRow,
    Kind::RosterRow,
    Kind::BackupManifest,
    Kind::JoinToken,
    Kind::JoinRequest,
    Kind::JoinReply,
];

const MODES: [SyncMode; 5] = [
    SyncMode::PerParticipant,
    SyncMode::PerCycle,
    SyncMode::PerGroup,
    SyncMode::Global,
    SyncMode::CountUp,
];

fn session_id() -> SessionId {
    "123E4567-e89b-42d3-a456-426614174000".parse().unwrap()
}

fn participant_id(number: u128) -> ParticipantId {
    ParticipantId::from_bits(0x00a0_0000_0000_4000_8000_0000_0000_0000 + number)
}

fn stamp(millis: u64) -> Stamp {
    Stamp::from_unix_millis(1_769_846_400_000 + millis)
}

/// With only what a creator must give.
fn bare(mode: SyncMode) -> NewSession {
    let bank = Millis::new(300_000);
    let participant =
        |number| NewParticipant { id: participant_id(number), index: 0, bank, group: None };
    NewSession {
        id: session_id(),
        mode,
        participants: vec![participant(1), participant(2)],
        groups: Vec::new(),
        total_time: Millis::new(600_000),
        time_per_cycle: None,
        increment: Millis::ZERO,
        max_time: None,
        on_timeout: None,
        auto_advance: None,
        warnings: Vec::new(),
        metadata: None,
        first: None,
    }
}

/// With everything that a creator may give.
fn full(mode: SyncMode) -> NewSession {
    let group = GroupId::from_bits(0x00b0_0000_0000_4000_8000_0000_0000_0001);
    let mut new = NewSession {
        groups: vec![Group { id: group, bank: Millis::new(120_000) }],
        time_per_cycle: Some(Millis::new(30_000)),
        increment: Millis::new(2_000),
        max_time: Some(Millis::new(86_400_000)),
        on_timeout: Some(OnTimeout::AutoAction { action: String::from("fold") }),
        auto_advance: Some(false),
        warnings: vec![Millis::new(10_000), Millis::new(1_000)],
        metadata: Some(String::from(r#"{"table":7}"#)),
        first: Some(participant_id(2)),
        ..bare(mode)
    };
    new.participants[0].group = Some(group);
    new.participants[1].index = 9;
    new
}

fn creates() -> Vec<NewSession> {
    let timeouts = [
        OnTimeout::Notify,
        OnTimeout::SkipCycle,
        OnTimeout::EndSession,
        OnTimeout::AutoAction { action: String::new() },
    ];
    let with_timeout =
        |on_timeout| NewSession { on_timeout: Some(on_timeout), ..bare(SyncMode::PerCycle) };
    let bare = MODES.map(bare).into_iter();
    bare.chain([full(SyncMode::PerGroup)]).chain(timeouts.map(with_timeout)).collect()
}

pub(crate) fn batches() -> Named<CommandBatch> {
    let session = session_id();
    let exactly = Expected::Exactly(7);
    let expected = Expected::Seen(300);
    let (current, next) = (Some(participant_id(1)), Some(participant_id(2)));
    let mut commands = vec![
        Command::Start { session, expected: exactly },
        Command::Start { session, expected },
        Command::Switch { session, expected, current: None, next: None },
        Command::Switch { session, expected: exactly, current, next },
        Command::Pause { session, expected },
        Command::Resume { session, expected },
        Command::Complete { session, expected },
        Command::Delete { session },
        Command::Tick { sessions_max: 1_000 },
        Command::Sweep { idle_before: stamp(0), sessions_max: 1_000 },
    ];
    commands.extend(creates().into_iter().map(|new| Command::Create(Box::new(new))));

    let batch = |commands: &[Command]| CommandBatch {
        commands: commands
            .iter()
            .map(|command| Stamped { stamp: stamp(1), command: command.clone() })
            .collect(),
    };
    let one = |command: &Command| {
        (String::from(name_of_command(command)), batch(std::slice::from_ref(command)))
    };
    let nothing = (String::from("nothing"), CommandBatch::default());
    let everything = (String::from("everything"), batch(&commands));
    let later = later_commands();
    commands.iter().map(one).chain([nothing, everything]).chain(later.iter().map(one)).collect()
}

fn request_key() -> RequestKey {
    RequestKey { key: String::from("a key"), digest: [7; 32] }
}

/// Those that format level 2 brought.
fn later_commands() -> Vec<Command> {
    let session = session_id();
    let new = Box::new(bare(SyncMode::Global));
    let start = Command::Start { session, expected: Expected::Seen(1) };
    let create = |on_outage| Command::CreateWith { new: new.clone(), on_outage };
    let token = |replaces| Command::CreateToken {
        id: [1; 16],
        digest: [2; 32],
        expires_at: stamp(9),
        replaces,
    };
    vec![
        create(OnOutage::Charge),
        create(OnOutage::Freeze),
        Command::Atomic { commands: vec![start.clone(), Command::Delete { session }] },
        Command::Once { key: request_key(), command: Box::new(start) },
        Command::Outage { from: stamp(3) },
        Command::Beat,
        Command::SetLevel { level: 2 },
        token(None),
        token(Some(300)),
        Command::AdmitNode {
            token: [1; 16],
            digest: [2; 32],
            key: [3; 32],
            peer: String::from("a.example:7400"),
            http: String::from("a.example:3000"),
        },
    ]
}

/// Without a wildcard, here and below: whoever adds a variant comes by and adds its example.
fn name_of_command(command: &Command) -> &'static str {
    match command {
        Command::Create(_) => "Create",
        Command::Start { .. } => "Start",
        Command::Switch { .. } => "Switch",
        Command::Pause { .. } => "Pause",
        Command::Resume { .. } => "Resume",
        Command::Complete { .. } => "Complete",
        Command::Delete { .. } => "Delete",
        Command::Tick { .. } => "Tick",
        Command::Sweep { .. } => "Sweep",
        Command::CreateWith { .. } => "CreateWith",
        Command::Atomic { .. } => "Atomic",
        Command::Once { .. } => "Once",
        Command::Outage { .. } => "Outage",
        Command::Beat => "Beat",
        Command::SetLevel { .. } => "SetLevel",
        Command::CreateToken { .. } => "CreateToken",
        Command::AdmitNode { .. } => "AdmitNode",
    }
}

pub(crate) fn intents() -> Named<Intent> {
    let session = session_id();
    let (current, next) = (Some(participant_id(1)), Some(participant_id(2)));
    let mut intents = vec![
        Intent::Create(Box::new(full(SyncMode::PerGroup))),
        Intent::Delete { session },
        Intent::Switch { session, expected_version: None, current: None, next: None },
    ];
    for expected_version in [None, Some(3)] {
        intents.extend([
            Intent::Start { session, expected_version },
            Intent::Switch { session, expected_version, current, next },
            Intent::Pause { session, expected_version },
            Intent::Resume { session, expected_version },
            Intent::Complete { session, expected_version },
        ]);
    }
    let new = Box::new(bare(SyncMode::Global));
    intents.push(Intent::CreateWith { new, on_outage: OnOutage::Freeze });
    let start = || Intent::Start { session, expected_version: None };
    intents.push(Intent::Atomic { intents: vec![start(), Intent::Delete { session }] });
    intents.push(Intent::Once { key: request_key(), intent: Box::new(start()) });
    let named = |intent: Intent| {
        let name = match intent {
            Intent::Create(_) => "Create",
            Intent::Start { .. } => "Start",
            Intent::Switch { .. } => "Switch",
            Intent::Pause { .. } => "Pause",
            Intent::Resume { .. } => "Resume",
            Intent::Complete { .. } => "Complete",
            Intent::Delete { .. } => "Delete",
            Intent::CreateWith { .. } => "CreateWith",
            Intent::Atomic { .. } => "Atomic",
            Intent::Once { .. } => "Once",
        };
        (String::from(name), intent)
    };
    intents.into_iter().map(named).collect()
}

/// A session in each mode and phase, as commands and its clock make it.
pub(crate) fn sessions() -> Named<Session> {
    let mut examples = Vec::new();
    for mode in MODES {
        let clock = match mode {
            SyncMode::PerParticipant | SyncMode::PerGroup => 300_000,
            SyncMode::PerCycle => 30_000,
            SyncMode::Global => 600_000,
            SyncMode::CountUp => 86_400_000,
        };
        let notify = NewSession { on_timeout: Some(OnTimeout::Notify), ..full(mode) };
        let end = NewSession { on_timeout: Some(OnTimeout::EndSession), ..full(mode) };
        let skip = NewSession { on_timeout: Some(OnTimeout::SkipCycle), ..full(mode) };
        let phases: [(&str, &NewSession, &str, u64); 9] = [
            ("pending bare", &bare(mode), "", 0),
            ("pending full", &full(mode), "", 0),
            ("running", &notify, "start switch", 0),
            ("running warned", &notify, "start tick", clock - 10_500),
            ("running out of time", &notify, "start tick", clock),
            ("paused", &notify, "start switch pause", 0),
            ("expired", &end, "start tick", clock),
            ("skipped", &skip, "start tick", clock),
            ("completed", &notify, "start switch complete", 0),
        ];
        for (phase, new, verbs, late) in phases {
            examples.push((format!("{mode:?} {phase}"), played(new, verbs, late)));
        }
    }
    examples
}

/// The session after these commands, one a second, the last of them `late` ms later.
fn played(new: &NewSession, verbs: &str, late: u64) -> Session {
    let session = new.id;
    let mut machine = Machine::default();
    let mut apply = |stamp, command| {
        machine.apply_one(&Stamped { stamp, command }, &mut Vec::new()).unwrap();
    };
    apply(stamp(0), Command::Create(Box::new(new.clone())));
    let verbs: Vec<&str> = verbs.split_whitespace().collect();
    for (second, verb) in (1..).zip(&verbs) {
        let expected = Expected::Seen(second);
        let late = if usize::try_from(second).unwrap() == verbs.len() { late } else { 0 };
        let command = match *verb {
            "start" => Command::Start { session, expected },
            "switch" => Command::Switch { session, expected, current: None, next: None },
            "pause" => Command::Pause { session, expected },
            "complete" => Command::Complete { session, expected },
            _ => Command::Tick { sessions_max: 1 },
        };
        apply(stamp(second * 1_000 + late), command);
    }
    (**machine.session(session).unwrap()).clone()
}

/// With what format level 2 added.
pub(crate) fn later_sessions() -> Named<Session> {
    let freezing = |(name, session): (String, Session)| {
        (format!("{name} freezing"), Session { on_outage: OnOutage::Freeze, ..session })
    };
    sessions().into_iter().chain(sessions().into_iter().take(1).map(freezing)).collect()
}

pub(crate) fn old_sessions() -> Named<SessionV1> {
    sessions().iter().map(|(name, session)| (name.clone(), session.into())).collect()
}

/// Without those that level 1 does not know.
pub(crate) fn old_answers() -> Named<AnswerV1> {
    let old = |(name, answer): (String, Answer)| Some((name, AnswerV1::of(&answer)?));
    answers().into_iter().filter_map(old).collect()
}

pub(crate) fn answers() -> Named<Answer> {
    let session = Arc::new(played(&bare(SyncMode::PerParticipant), "start", 0));
    let switched = |expired| Answer::Switched { session: Arc::clone(&session), expired };
    let answers = [
        Answer::Session(Arc::clone(&session)),
        switched(None),
        switched(Some(participant_id(1))),
        Answer::Deleted,
        Answer::Swept { sessions: 1_000, more: true },
        Answer::Batch(vec![Answer::Deleted, Answer::Session(Arc::clone(&session))]),
        Answer::Done,
        Answer::Admitted { node: 4, replaces: None },
        Answer::Admitted { node: 4, replaces: Some(300) },
    ];
    let named = |answer: Answer| {
        let name = match answer {
            Answer::Session(_) => "Session",
            Answer::Switched { .. } => "Switched",
            Answer::Deleted => "Deleted",
            Answer::Swept { .. } => "Swept",
            Answer::Batch(_) => "Batch",
            Answer::Done => "Done",
            Answer::Admitted { .. } => "Admitted",
        };
        (String::from(name), answer)
    };
    answers.into_iter().map(named).collect()
}

pub(crate) fn rejects() -> Named<Reject> {
    let session = session_id();
    let (one, two) = (participant_id(1), participant_id(2));
    let mut rejects = vec![
        Reject::SessionNotFound(session),
        Reject::SessionExists(session),
        Reject::Expired { session, participant: one, at: stamp(5) },
        Reject::VersionMoved { session, expected: 2, actual: 3 },
        Reject::NotCurrent { session, expected: one, actual: two },
        Reject::ParticipantNotFound { session, participant: two },
        Reject::TooManySessions { max: 1_000_000 },
        Reject::BrokenRule { session, rule: String::from("it is so") },
    ];
    for verb in [Verb::Started, Verb::Paused, Verb::Resumed] {
        rejects.push(Reject::WrongStatus { session, verb, status: Status::Completed });
    }
    let statuses =
        [Status::Pending, Status::Running, Status::Paused, Status::Expired, Status::Completed];
    rejects.extend(statuses.map(|status| Reject::NotRunning { session, status }));
    let refused = Box::new(Reject::SessionNotFound(session));
    rejects.extend([
        Reject::InBatch { index: 3, reject: refused },
        Reject::KeyReused { key: String::from("a key") },
        Reject::LevelTooLow { needed: 2, level: 1 },
        Reject::TokenUnknown,
        Reject::TokenExpired,
        Reject::TooManyTokens { max: 64 },
        Reject::NodeUnknown { node: 7 },
        Reject::Malformed { rule: String::from("it is so") },
        Reject::TokenUsed { node: 4 },
        Reject::AddressTaken { address: String::from("a.example:7400"), node: 300 },
        Reject::BeingReplaced { node: 3, by: 300 },
    ]);
    let named = |reject: Reject| {
        let name = match reject {
            Reject::SessionNotFound(_) => "SessionNotFound",
            Reject::SessionExists(_) => "SessionExists",
            Reject::WrongStatus { .. } => "WrongStatus",
            Reject::NotRunning { .. } => "NotRunning",
            Reject::Expired { .. } => "Expired",
            Reject::VersionMoved { .. } => "VersionMoved",
            Reject::NotCurrent { .. } => "NotCurrent",
            Reject::ParticipantNotFound { .. } => "ParticipantNotFound",
            Reject::TooManySessions { .. } => "TooManySessions",
            Reject::BrokenRule { .. } => "BrokenRule",
            Reject::InBatch { .. } => "InBatch",
            Reject::KeyReused { .. } => "KeyReused",
            Reject::LevelTooLow { .. } => "LevelTooLow",
            Reject::TokenUnknown => "TokenUnknown",
            Reject::TokenExpired => "TokenExpired",
            Reject::TooManyTokens { .. } => "TooManyTokens",
            Reject::NodeUnknown { .. } => "NodeUnknown",
            Reject::Malformed { .. } => "Malformed",
            Reject::TokenUsed { .. } => "TokenUsed",
            Reject::AddressTaken { .. } => "AddressTaken",
            Reject::BeingReplaced { .. } => "BeingReplaced",
        };
        (String::from(name), reject)
    };
    rejects.into_iter().map(named).collect()
}

pub(crate) fn events() -> Named<(Event, Cause, Warning)> {
    let (one, two, due) = (participant_id(1), participant_id(2), stamp(5));
    let fold = || Some(String::from("fold"));
    let warning = Warning { participant: one, threshold: Millis::new(10_000), at: due };
    let events = [
        (Event::Created, Cause::Command),
        (Event::Started { participant: one }, Cause::Command),
        (Event::Switched { from: one, to: two }, Cause::Command),
        (Event::Paused, Cause::Command),
        (Event::Resumed, Cause::Command),
        (Event::Completed, Cause::Command),
        (Event::ParticipantExpired { participant: one, due, action: None }, Cause::Timeout),
        (Event::ParticipantExpired { participant: one, due, action: fold() }, Cause::Timeout),
        (Event::CycleSkipped { from: one, to: two, due, action: fold() }, Cause::Auto),
        (Event::SessionExpired { participant: one, due }, Cause::Timeout),
        (
            Event::OutageCredited {
                participant: one,
                from: stamp(1),
                until: due,
                credited: Millis::new(4),
            },
            Cause::Auto,
        ),
    ];
    let named = |(event, cause): (Event, Cause)| {
        let name = match event {
            Event::Created => "Created",
            Event::Started { .. } => "Started",
            Event::Switched { .. } => "Switched",
            Event::Paused => "Paused",
            Event::Resumed => "Resumed",
            Event::Completed => "Completed",
            Event::ParticipantExpired { .. } => "ParticipantExpired",
            Event::CycleSkipped { .. } => "CycleSkipped",
            Event::SessionExpired { .. } => "SessionExpired",
            Event::OutageCredited { .. } => "OutageCredited",
        };
        (String::from(name), (event, cause, warning))
    };
    events.into_iter().map(named).collect()
}
