//! What the leader may ask of the machine: the payload of the Raft log.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ParticipantId, SessionId},
    reject::Reject,
    session::{NewSession, OnOutage},
    time::Stamp,
};

/// One log entry's payload. Stamps do not decrease within a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandBatch {
    pub commands: Vec<Stamped>,
}

/// A command with the cluster time at which it reached the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    pub stamp: Stamp,
    pub command: Command,
}

/// The version a command was made for.
///
/// Numbers are frozen: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// The caller named it: the session must be at exactly this version once everything that fell
    /// due before the command's stamp has been applied.
    Exactly(u64),
    /// The leader saw it when the request reached it: no other command may have changed the
    /// session since. What the clock did by the command's stamp was already so on arrival.
    Seen(u64),
}

/// Every change to replicated state. Numbers are frozen: append only, never reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    Create(Box<NewSession>),
    Start {
        session: SessionId,
        expected: Expected,
    },
    Switch {
        session: SessionId,
        expected: Expected,
        /// Refused where somebody else is active.
        current: Option<ParticipantId>,
        /// Who becomes active; the next in turn where absent.
        next: Option<ParticipantId>,
    },
    Pause {
        session: SessionId,
        expected: Expected,
    },
    Resume {
        session: SessionId,
        expected: Expected,
    },
    Complete {
        session: SessionId,
        expected: Expected,
    },
    Delete {
        session: SessionId,
    },
    /// Settles up to this many of the sessions whose deadline has passed, earliest first.
    Tick {
        sessions_max: u32,
    },
    /// Removes up to this many sessions that ended or never started and have not changed since
    /// before `idle_before`.
    Sweep {
        idle_before: Stamp,
        sessions_max: u32,
    },
    /// As `Create`, with what was added later.
    CreateWith {
        new: Box<NewSession>,
        on_outage: OnOutage,
    },
    /// Commands of sessions that take effect together or not at all; 1 to
    /// [`crate::limits::ATOMIC_COMMANDS_MAX`].
    Atomic {
        commands: Vec<Self>,
    },
    /// Takes effect once for its key; later ones with the same key get the first answer.
    Once {
        key: RequestKey,
        command: Box<Self>,
    },
    /// From `from` until the stamp nobody could act. Sessions that asked for it are not charged.
    Outage {
        from: Stamp,
    },
    /// Carries its stamp and nothing else: says in the log that somebody could act.
    Beat,
    /// All nodes understand this format level: what needs it may be proposed from here on.
    SetLevel {
        level: u16,
    },
    /// Whoever shows the secret of `digest` may join before `expires_at`, in place of `replaces`.
    CreateToken {
        id: [u8; 16],
        digest: [u8; 32],
        expires_at: Stamp,
        replaces: Option<u64>,
    },
    /// Uses up a token and gives the node that showed it the next id.
    AdmitNode {
        token: [u8; 16],
        digest: [u8; 32],
        /// Hash of the node's public key.
        key: [u8; 32],
        peer: String,
        http: String,
    },
}

/// An idempotency key, and what request it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestKey {
    /// 1 to [`crate::limits::REQUEST_KEY_BYTES_MAX`] bytes, chosen by the caller.
    pub key: String,
    /// A hash of the request: the same key with another digest is refused.
    pub digest: [u8; 32],
}

/// What a caller asks for: a command whose expected version may still be open. Nodes pass it on
/// to the leader in this form. Numbers are frozen: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    Create(Box<NewSession>),
    Start {
        session: SessionId,
        expected_version: Option<u64>,
    },
    Switch {
        session: SessionId,
        expected_version: Option<u64>,
        current: Option<ParticipantId>,
        next: Option<ParticipantId>,
    },
    Pause {
        session: SessionId,
        expected_version: Option<u64>,
    },
    Resume {
        session: SessionId,
        expected_version: Option<u64>,
    },
    Complete {
        session: SessionId,
        expected_version: Option<u64>,
    },
    Delete {
        session: SessionId,
    },
    CreateWith {
        new: Box<NewSession>,
        on_outage: OnOutage,
    },
    /// All or nothing; of sessions only.
    Atomic {
        intents: Vec<Self>,
    },
    Once {
        key: RequestKey,
        intent: Box<Self>,
    },
}

impl Command {
    /// The format level from which on every node understands it.
    pub fn level(&self) -> u16 {
        match self {
            Self::Create(_)
            | Self::Start { .. }
            | Self::Switch { .. }
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Complete { .. }
            | Self::Delete { .. }
            | Self::Tick { .. }
            | Self::Sweep { .. } => 1,
            Self::CreateWith { .. }
            | Self::Atomic { .. }
            | Self::Once { .. }
            | Self::Outage { .. }
            | Self::Beat
            | Self::SetLevel { .. }
            | Self::CreateToken { .. }
            | Self::AdmitNode { .. } => 2,
        }
    }

    /// The session that it is about, where it is about one.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Create(new) | Self::CreateWith { new, .. } => Some(new.id),
            Self::Start { session, .. }
            | Self::Switch { session, .. }
            | Self::Pause { session, .. }
            | Self::Resume { session, .. }
            | Self::Complete { session, .. }
            | Self::Delete { session } => Some(*session),
            Self::Tick { .. }
            | Self::Sweep { .. }
            | Self::Atomic { .. }
            | Self::Once { .. }
            | Self::Outage { .. }
            | Self::Beat
            | Self::SetLevel { .. }
            | Self::CreateToken { .. }
            | Self::AdmitNode { .. } => None,
        }
    }

    /// The version it expects, where it expects one.
    pub(crate) fn expected_mut(&mut self) -> Option<&mut Expected> {
        match self {
            Self::Start { expected, .. }
            | Self::Switch { expected, .. }
            | Self::Pause { expected, .. }
            | Self::Resume { expected, .. }
            | Self::Complete { expected, .. } => Some(expected),
            Self::Create(_)
            | Self::CreateWith { .. }
            | Self::Delete { .. }
            | Self::Tick { .. }
            | Self::Sweep { .. }
            | Self::Atomic { .. }
            | Self::Once { .. }
            | Self::Outage { .. }
            | Self::Beat
            | Self::SetLevel { .. }
            | Self::CreateToken { .. }
            | Self::AdmitNode { .. } => None,
        }
    }
}

impl CommandBatch {
    /// The format level that its reader must understand.
    pub fn level(&self) -> u16 {
        self.commands.iter().map(|stamped| stamped.command.level()).max().unwrap_or(1)
    }
}

impl Intent {
    /// In the older form where that says the same, so that any version of a node understands it.
    pub fn create(new: NewSession, on_outage: OnOutage) -> Self {
        let new = Box::new(new);
        match on_outage {
            OnOutage::Charge => Self::Create(new),
            OnOutage::Freeze => Self::CreateWith { new, on_outage },
        }
    }

    /// The intent as nodes of this format level understand it. At level 1 nobody remembers keys,
    /// and a request has its effect without one, as in the release of that level.
    ///
    /// # Errors
    /// [`Reject::LevelTooLow`] where there is no such form.
    pub fn at_level(self, level: u16) -> Result<Self, Reject> {
        const NEEDED: u16 = 2;
        if NEEDED <= level {
            return Ok(self);
        }
        match self {
            Self::Once { intent, .. } => intent.at_level(level),
            Self::CreateWith { new, on_outage: OnOutage::Charge } => Ok(Self::Create(new)),
            Self::CreateWith { on_outage: OnOutage::Freeze, .. } | Self::Atomic { .. } => {
                Err(Reject::LevelTooLow { needed: NEEDED, level })
            }
            Self::Create(_)
            | Self::Start { .. }
            | Self::Switch { .. }
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Complete { .. }
            | Self::Delete { .. } => Ok(self),
        }
    }

    /// The command, expecting what its caller named, else the version `seen` on arrival.
    pub fn into_command(self, seen_of: &impl Fn(SessionId) -> u64) -> Command {
        let expect = |session: SessionId, named: Option<u64>| {
            named.map_or_else(|| Expected::Seen(seen_of(session)), Expected::Exactly)
        };
        match self {
            Self::Create(new) => Command::Create(new),
            Self::Start { session, expected_version } => {
                Command::Start { session, expected: expect(session, expected_version) }
            }
            Self::Switch { session, expected_version, current, next } => Command::Switch {
                session,
                expected: expect(session, expected_version),
                current,
                next,
            },
            Self::Pause { session, expected_version } => {
                Command::Pause { session, expected: expect(session, expected_version) }
            }
            Self::Resume { session, expected_version } => {
                Command::Resume { session, expected: expect(session, expected_version) }
            }
            Self::Complete { session, expected_version } => {
                Command::Complete { session, expected: expect(session, expected_version) }
            }
            Self::Delete { session } => Command::Delete { session },
            Self::CreateWith { new, on_outage } => Command::CreateWith { new, on_outage },
            Self::Atomic { intents } => Command::Atomic {
                commands: intents.into_iter().map(|one| one.into_command(seen_of)).collect(),
            },
            Self::Once { key, intent } => {
                Command::Once { key, command: Box::new(intent.into_command(seen_of)) }
            }
        }
    }
}

/// For logs: how many commands, and the time of the first.
impl std::fmt::Display for CommandBatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} commands", self.commands.len())?;
        match self.commands.first() {
            Some(first) => write!(formatter, " from {}", first.stamp.unix_millis()),
            None => Ok(()),
        }
    }
}
