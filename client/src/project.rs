//! A session as it will be at an instant, computed with the machine's own code.
//!
//! The cluster tells a session as of its last change. Between two changes only time passes, and
//! what time does is known: the running clock runs, and what falls due takes effect. The cluster
//! pushes that too; a client that projects shows it at the right moment and not a message later.

use std::sync::Arc;

use synckairos_protocol::{
    ids::ParticipantId,
    limits,
    session::{Group, OnTimeout, Participant, Phase, Seat, Session, SyncMode, invariants},
    time::{Millis, Stamp},
    wire::rest::{ParticipantState, SessionState},
};

/// The state holds something that no session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no state of a session: it must hold that {rule}")]
pub struct NotASession {
    /// Worded as it should hold.
    pub rule: &'static str,
}

/// A session at an instant.
#[derive(Clone, Debug)]
pub struct Projection {
    state: SessionState,
    at: Stamp,
    /// There where the session runs at `at`.
    running: Option<Running>,
}

#[derive(Clone, Debug)]
struct Running {
    session: Arc<Session>,
    active: Seat,
    /// The part of the running stretch that has passed.
    spent: Millis,
}

/// The session of `state` at `now` in cluster time, nobody having done anything to it since.
///
/// An instant before the last change is taken for the instant of the last change.
///
/// # Errors
/// [`NotASession`] where the state contradicts itself.
///
/// ```no_run
/// # use synckairos_client::{client::Client, project::project};
/// # use synckairos_protocol::ids::SessionId;
/// # async fn example(client: Client, game: SessionId) -> Result<(), Box<dyn std::error::Error>> {
/// let clock = client.clock(5).await?;
/// let state = client.get(game).await?;
/// let left = project(&state, clock.now())?.clock_remaining();
/// # Ok(())
/// # }
/// ```
pub fn project(state: &SessionState, now: Stamp) -> Result<Projection, NotASession> {
    let Some(session) = running_session(state)? else {
        return Ok(Projection { state: state.clone(), at: now, running: None });
    };
    let session = Arc::new(session).settle(now, &mut Vec::new());
    let mut state_then = SessionState::from(&*session);
    state_then.metadata.clone_from(&state.metadata);
    let running = match session.phase {
        Phase::Running { active, since } => {
            Some(Running { session, active, spent: now.since(since) })
        }
        Phase::Pending | Phase::Paused { .. } | Phase::Expired { .. } | Phase::Completed { .. } => {
            None
        }
    };
    Ok(Projection { state: state_then, at: now, running })
}

impl Projection {
    /// The state as the cluster will tell it: everything applied that falls due by then, and
    /// times as of the last of that.
    pub fn state(&self) -> &SessionState {
        &self.state
    }

    pub fn at(&self) -> Stamp {
        self.at
    }

    /// What is left on the clock that runs, or that would run next. `None` where there is none.
    pub fn clock_remaining(&self) -> Option<Millis> {
        let spent = self.running.as_ref().map_or(Millis::ZERO, |running| running.spent);
        self.state.time_remaining_ms.map(|remaining| remaining.saturating_sub(spent))
    }

    /// What the participant may still use: its bank, or its group's. `None` for a stranger.
    pub fn time_remaining(&self, participant: ParticipantId) -> Option<Millis> {
        let there = self.participant(participant)?;
        let spent = match &self.running {
            Some(running) if running.drains(there) => running.spent,
            Some(_) | None => Millis::ZERO,
        };
        Some(there.time_remaining_ms.saturating_sub(spent))
    }

    /// All the time that the participant was active. `None` for a stranger.
    pub fn time_used(&self, participant: ParticipantId) -> Option<Millis> {
        let there = self.participant(participant)?;
        let spent = match &self.running {
            Some(running) if there.is_active => running.spent,
            Some(_) | None => Millis::ZERO,
        };
        Some(there.time_used_ms.saturating_add(spent))
    }

    /// All the time that the session has run.
    pub fn elapsed(&self) -> Millis {
        let spent = self.running.as_ref().map_or(Millis::ZERO, |running| running.spent);
        self.state.elapsed_ms.saturating_add(spent)
    }

    fn participant(&self, id: ParticipantId) -> Option<&ParticipantState> {
        self.state.participants.iter().find(|there| there.participant_id == id)
    }
}

impl Running {
    /// Does the running clock draw on what `participant` has?
    fn drains(&self, participant: &ParticipantState) -> bool {
        match self.session.mode {
            SyncMode::PerParticipant => participant.is_active,
            SyncMode::PerGroup => {
                let group = self.session.participant(self.active).group;
                participant.is_active || (group.is_some() && participant.group_id == group)
            }
            SyncMode::PerCycle | SyncMode::Global | SyncMode::CountUp => false,
        }
    }
}

/// The session that `state` is a state of, where its clock runs; where none runs, time does
/// nothing.
///
/// What a state does not tell of a running session makes no difference to what time does to it:
/// who started, which command came last, which warnings were given.
fn running_session(state: &SessionState) -> Result<Option<Session>, NotASession> {
    let Some(since) = state.cycle_started_at else { return Ok(None) };
    let participants = state.participants.iter();
    let active = state
        .active_participant_id
        .and_then(|id| participants.clone().position(|there| there.participant_id == id))
        .and_then(|position| u16::try_from(position).ok())
        .map(Seat)
        .ok_or(NotASession { rule: "who is active takes part" })?;
    let limit = state.time_per_cycle_ms.unwrap_or(state.total_time_ms);
    let groups = state.groups.iter().flatten();
    let session = Session {
        id: state.session_id,
        mode: state.sync_mode,
        version: state.version,
        commanded_version: state.version,
        participants: participants.map(|there| participant(there, state)).collect(),
        groups: groups
            .map(|group| Group { id: group.group_id, bank: group.total_time_ms })
            .collect(),
        phase: Phase::Running { active, since },
        first: Seat(0),
        total_time: state.total_time_ms,
        time_per_cycle: state.time_per_cycle_ms,
        increment: state.increment_ms,
        max_time: state.max_time_ms,
        on_timeout: state.on_timeout.clone().map(OnTimeout::from),
        auto_advance: state.auto_advance,
        on_outage: state.on_outage,
        warnings: state.warnings_ms.clone(),
        warned: None,
        elapsed: state.elapsed_ms,
        cycle_elapsed: limit.saturating_sub(state.time_remaining_ms.unwrap_or(limit)),
        expired_at: state.expired_at,
        // Copied from state to state: its text does not matter to time.
        metadata: None,
        created_at: state.created_at,
        updated_at: state.updated_at,
        started_at: state.session_started_at,
        completed_at: state.session_completed_at,
    };
    let latest = since.max(state.updated_at);
    match invariants::broken_rule(&session, latest).or_else(|| too_large(&session)) {
        Some(rule) => Err(NotASession { rule }),
        None => Ok(Some(session)),
    }
}

fn participant(there: &ParticipantState, state: &SessionState) -> Participant {
    Participant {
        id: there.participant_id,
        index: there.participant_index,
        group: there.group_id,
        bank: there.total_time_ms,
        used: there.time_used_ms,
        cycles: there.cycle_count,
        expired_at: there.expired_at.or_else(|| there.has_expired.then_some(state.updated_at)),
    }
}

/// Counters that the machine adds to without looking.
fn too_large(session: &Session) -> Option<&'static str> {
    let mut cycles = session.participants.iter().map(|participant| participant.cycles);
    let safe = |count: u64| count <= limits::SAFE_INTEGER_MAX;
    (!safe(session.version) || !cycles.all(safe)).then_some("counters are below 2^53")
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
