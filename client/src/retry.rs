//! When a failed request is sent again, and to whom: never where its effect is unknown, unless it
//! has a key by which the cluster knows it again, or doing it twice is the same as doing it once.

use std::time::Duration;

use synckairos_protocol::error::{Effect, Kind};

use crate::{
    error::{ErrorKind, Failure},
    transport::Nature,
};

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GiveUp,
    /// Another node may do better, at once.
    Elsewhere,
    /// The same node, after the pause it asked for or one of ours.
    Later(Option<Duration>),
}

pub(crate) fn next(failure: &Failure, nature: Nature) -> Next {
    let effect = effect_of(failure, nature);
    if effect == Effect::Unknown && nature == Nature::Once {
        return Next::GiveUp;
    }
    match failure.kind() {
        ErrorKind::Unreachable | ErrorKind::Unanswered => Next::Elsewhere,
        ErrorKind::Service(kind) => after_refusal(kind, failure.retry_after()),
        ErrorKind::UnknownService | ErrorKind::Unreadable | ErrorKind::InvalidRequest => {
            Next::GiveUp
        }
    }
}

/// Is there nobody at this address, or nobody who will serve again soon?
pub(crate) fn is_gone(failure: &Failure) -> bool {
    let kind = failure.kind();
    matches!(kind, ErrorKind::Unreachable | ErrorKind::Service(Kind::NodeRemoved))
}

/// What the attempt may have done, given what it asked for.
pub(crate) fn effect_of(failure: &Failure, nature: Nature) -> Effect {
    match nature {
        Nature::Read => Effect::None,
        Nature::Keyed | Nature::Repeatable | Nature::Once => failure.effect(),
    }
}

/// Does this answer to a request with a key tell what became of all its attempts? What the machine
/// answers, it answers to each of them; what stands in its way says nothing of the others.
pub(crate) fn settles(failure: &Failure, nature: Nature) -> bool {
    let ErrorKind::Service(kind) = failure.kind() else { return false };
    nature == Nature::Keyed && is_of_machine(kind)
}

const fn is_of_machine(kind: Kind) -> bool {
    match kind {
        Kind::ParticipantNotFound
        | Kind::InvalidSessionState
        | Kind::ParticipantExpired
        | Kind::SessionNotFound
        | Kind::ConcurrentModification
        | Kind::SessionExists
        | Kind::CapacityExceeded => true,
        Kind::Validation
        | Kind::Unauthenticated
        | Kind::PermissionDenied
        | Kind::NotFound
        | Kind::MethodNotAllowed
        | Kind::PayloadTooLarge
        | Kind::KeyReused
        | Kind::FormatLevelTooLow
        | Kind::TokenInvalid
        | Kind::NodeNotFound
        | Kind::TooFewVoters
        | Kind::ChangeUnderWay
        | Kind::NodesUnheard
        | Kind::NotTransferred
        | Kind::RateLimitExceeded
        | Kind::Internal
        | Kind::NoLeader
        | Kind::Overloaded
        | Kind::ShuttingDown
        | Kind::StorageUnavailable
        | Kind::LeadershipLost
        | Kind::NodeRemoved
        | Kind::PushUnavailable
        | Kind::NetworkTimeout => false,
    }
}

fn after_refusal(kind: Kind, retry_after: Option<Duration>) -> Next {
    match kind {
        Kind::NoLeader
        | Kind::ShuttingDown
        | Kind::StorageUnavailable
        | Kind::LeadershipLost
        | Kind::NodeRemoved
        | Kind::NetworkTimeout
        | Kind::Internal => Next::Elsewhere,
        Kind::Overloaded | Kind::RateLimitExceeded => Next::Later(retry_after),
        // A conflict is for the caller to look at: what it wanted may not be wanted any more.
        Kind::ConcurrentModification
        | Kind::Validation
        | Kind::ParticipantNotFound
        | Kind::InvalidSessionState
        | Kind::ParticipantExpired
        | Kind::Unauthenticated
        | Kind::PermissionDenied
        | Kind::SessionNotFound
        | Kind::NotFound
        | Kind::MethodNotAllowed
        | Kind::SessionExists
        | Kind::PayloadTooLarge
        | Kind::CapacityExceeded
        | Kind::KeyReused
        | Kind::FormatLevelTooLow
        | Kind::TokenInvalid
        | Kind::NodeNotFound
        | Kind::TooFewVoters
        | Kind::ChangeUnderWay
        | Kind::NodesUnheard
        | Kind::NotTransferred
        | Kind::PushUnavailable => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use synckairos_protocol::wire::problem::Problem;

    use super::*;

    fn refused(kind: Kind) -> Failure {
        let problem = Box::new(Problem::new(kind, "no").error);
        Failure::Refused { status: kind.meaning().status, problem, retry_after: None }
    }

    #[test]
    fn nothing_of_unknown_effect_is_sent_twice() {
        for kind in Kind::ALL {
            let failure = refused(*kind);
            if failure.effect() == Effect::Unknown {
                assert_eq!(next(&failure, Nature::Once), Next::GiveUp, "{kind:?}");
            }
            assert_eq!(effect_of(&failure, Nature::Read), Effect::None);
        }
    }

    #[test]
    fn each_refusal_has_its_answer() {
        let table = [
            (Kind::NoLeader, Nature::Once, Next::Elsewhere),
            (Kind::ShuttingDown, Nature::Once, Next::Elsewhere),
            (Kind::NodeRemoved, Nature::Once, Next::Elsewhere),
            (Kind::Overloaded, Nature::Once, Next::Later(None)),
            (Kind::ConcurrentModification, Nature::Once, Next::GiveUp),
            (Kind::ConcurrentModification, Nature::Repeatable, Next::GiveUp),
            (Kind::LeadershipLost, Nature::Once, Next::GiveUp),
            (Kind::LeadershipLost, Nature::Repeatable, Next::Elsewhere),
            (Kind::LeadershipLost, Nature::Keyed, Next::Elsewhere),
            (Kind::NetworkTimeout, Nature::Keyed, Next::Elsewhere),
            (Kind::ConcurrentModification, Nature::Keyed, Next::GiveUp),
            (Kind::NetworkTimeout, Nature::Read, Next::Elsewhere),
            (Kind::SessionNotFound, Nature::Read, Next::GiveUp),
        ];
        for (kind, nature, expected) in table {
            assert_eq!(next(&refused(kind), nature), expected, "{kind:?} {nature:?}");
        }
    }

    #[test]
    fn answers_that_are_not_ours_are_judged_by_their_status() {
        let table = [(200, Effect::Unknown), (404, Effect::None), (502, Effect::Unknown)];
        for (status, effect) in table {
            let failure = Failure::Unreadable { status, reason: String::from("nonsense") };
            assert_eq!(failure.effect(), effect, "{status}");
            assert_eq!(next(&failure, Nature::Repeatable), Next::GiveUp, "{status}");
        }
    }
}
