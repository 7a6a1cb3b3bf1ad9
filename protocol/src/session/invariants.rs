//! What is true of every session between two commands.

use super::{Phase, Session, SyncMode};
use crate::{limits, time::Stamp};

/// The first rule that `session` breaks at `now`, worded as it should hold.
///
/// Tests ask after every command; every build asks of each session in a loaded snapshot.
pub fn broken_rule(session: &Session, now: Stamp) -> Option<&'static str> {
    let seats = session.participants.len();
    let seat = match session.phase {
        Phase::Pending | Phase::Completed { .. } => session.first,
        Phase::Running { active, .. } | Phase::Paused { active } => active,
        Phase::Expired { seat, .. } => seat,
    };
    let since = match session.phase {
        Phase::Running { since, .. } => Some(since),
        Phase::Pending | Phase::Paused { .. } | Phase::Expired { .. } | Phase::Completed { .. } => {
            None
        }
    };
    let sorted = session.groups.windows(2).all(|pair| pair[0].id < pair[1].id);
    let rules = [
        ("there is a participant", 0 < seats),
        ("participants are at most 1000", seats <= limits::PARTICIPANTS_MAX),
        ("the seat is taken", seat.index() < seats),
        ("who starts takes part", session.first.index() < seats),
        ("versions start at 1", 1 <= session.version),
        ("versions are safe integers", session.version <= limits::SAFE_INTEGER_MAX),
        (
            "cycle counts are safe integers",
            session.participants.iter().all(|one| one.cycles <= limits::SAFE_INTEGER_MAX),
        ),
        ("a command made no later version", session.commanded_version <= session.version),
        ("stretches start in the past", since.is_none_or(|since| since <= now)),
        ("it was created before it changed", session.created_at <= session.updated_at),
        ("it changed in the past", session.updated_at <= now),
        ("groups are sorted", sorted),
        (
            "groups are of their mode",
            session.groups.is_empty() || session.mode == SyncMode::PerGroup,
        ),
        (
            "an expired session says when",
            !matches!(session.phase, Phase::Expired { .. }) || session.expired_at.is_some(),
        ),
    ];
    rules.into_iter().find(|(_, holds)| !holds).map(|(rule, _)| rule)
}
