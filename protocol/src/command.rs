//! What the leader may ask of the machine: the payload of the Raft log.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ParticipantId, SessionId},
    session::NewSession,
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
}

impl Intent {
    pub const fn session(&self) -> SessionId {
        match self {
            Self::Create(new) => new.id,
            Self::Start { session, .. }
            | Self::Switch { session, .. }
            | Self::Pause { session, .. }
            | Self::Resume { session, .. }
            | Self::Complete { session, .. }
            | Self::Delete { session } => *session,
        }
    }

    /// The command, expecting what its caller named, else the version `seen` on arrival.
    pub fn into_command(self, seen: u64) -> Command {
        let expect = |named: Option<u64>| named.map_or(Expected::Seen(seen), Expected::Exactly);
        match self {
            Self::Create(new) => Command::Create(new),
            Self::Start { session, expected_version } => {
                Command::Start { session, expected: expect(expected_version) }
            }
            Self::Switch { session, expected_version, current, next } => {
                Command::Switch { session, expected: expect(expected_version), current, next }
            }
            Self::Pause { session, expected_version } => {
                Command::Pause { session, expected: expect(expected_version) }
            }
            Self::Resume { session, expected_version } => {
                Command::Resume { session, expected: expect(expected_version) }
            }
            Self::Complete { session, expected_version } => {
                Command::Complete { session, expected: expect(expected_version) }
            }
            Self::Delete { session } => Command::Delete { session },
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
