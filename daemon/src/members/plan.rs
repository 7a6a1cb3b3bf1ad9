//! What the membership needs next, as a function of what the leader knows. No clock, no socket.

use std::collections::{BTreeMap, BTreeSet};

use synckairos_raft_store::raft_types::PeerNode;

use super::requests::OperatorRefusal;

/// A learner that has all but so many entries follows within a moment.
const BEHIND_MAX: u64 = 100;

/// What the leader knows of the cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) leader: u64,
    /// One group, or two during a change.
    pub(super) voters: Vec<BTreeSet<u64>>,
    /// Learners included.
    pub(super) members: BTreeSet<u64>,
    /// Nodes that were let in by a token.
    pub(super) admitted: BTreeMap<u64, Admitted>,
    pub(super) committed: u64,
    /// Up to where the log of each node that answered a moment ago matches; the leader's own too.
    pub(super) answering: BTreeMap<u64, u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub(super) place: PeerNode,
    pub(super) replaces: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An earlier leader began a change and did not finish it.
    Finish,
    AddLearner {
        node: u64,
        place: PeerNode,
    },
    /// The learner has caught up; `instead_of` goes in the same change.
    Promote {
        node: u64,
        instead_of: Option<u64>,
    },
    /// The leader is to be replaced: somebody else must make that change.
    HandOver,
}

/// The next step, if there is anything to do.
pub(super) fn next(view: &View) -> Option<Step> {
    let [voters] = &view.voters[..] else { return Some(Step::Finish) };
    let newcomers = || view.admitted.iter().filter(|(node, _)| !voters.contains(node));
    if let Some((node, admitted)) = newcomers().find(|(node, _)| !view.members.contains(node)) {
        return Some(Step::AddLearner { node: *node, place: admitted.place.clone() });
    }
    let caught_up = |node: &u64| {
        let matched = view.answering.get(node);
        matched.is_some_and(|matched| view.committed <= matched.saturating_add(BEHIND_MAX))
    };
    let (node, admitted) = newcomers().find(|(node, _)| caught_up(node))?;
    let instead_of = admitted.replaces.filter(|old| view.members.contains(old));
    if instead_of == Some(view.leader) {
        return Some(Step::HandOver);
    }
    Some(Step::Promote { node: *node, instead_of })
}

/// May `node` go? What would then be left must go on.
///
/// # Errors
/// [`OperatorRefusal`] with the arithmetic.
pub(super) fn may_remove(
    view: &View,
    node: u64,
    accept_no_spare: bool,
) -> Result<(), OperatorRefusal> {
    let [voters] = &view.voters[..] else { return Err(OperatorRefusal::ChangeUnderWay) };
    if !voters.contains(&node) {
        return Ok(());
    }
    let mut left = voters.clone();
    left.remove(&node);
    if left.is_empty() {
        return Err(OperatorRefusal::OnlyVoter { node });
    }
    let answering: BTreeSet<u64> =
        left.iter().copied().filter(|id| view.answering.contains_key(id)).collect();
    let majority = left.len() / 2 + 1;
    let shown = u64::try_from(majority).unwrap_or(u64::MAX);
    if answering.len() < majority {
        return Err(OperatorRefusal::LosesQuorum {
            node,
            voters: left,
            answering,
            majority: shown,
        });
    }
    // A node that is away already takes nothing with it.
    let loses_spare = answering.len() == majority && view.answering.contains_key(&node);
    if loses_spare && !accept_no_spare {
        return Err(OperatorRefusal::NoSpare { node, voters: left, answering, majority: shown });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(voters: &[u64], learners: &[u64], answering: &[u64]) -> View {
        let voters: BTreeSet<u64> = voters.iter().copied().collect();
        View {
            leader: 1,
            members: voters.iter().chain(learners).copied().collect(),
            voters: vec![voters],
            committed: 1_000,
            answering: answering.iter().map(|node| (*node, 1_000)).collect(),
            ..View::default()
        }
    }

    fn admit(mut view: View, node: u64, replaces: Option<u64>) -> View {
        view.admitted.insert(node, Admitted { place: PeerNode::default(), replaces });
        view
    }

    #[test]
    fn newcomers_are_learners_then_voters() {
        assert_eq!(next(&view(&[1, 2, 3], &[], &[1, 2, 3])), None);
        let unseen = admit(view(&[1, 2, 3], &[], &[1, 2, 3]), 4, None);
        let place = PeerNode::default();
        assert_eq!(next(&unseen), Some(Step::AddLearner { node: 4, place }));
        let silent = admit(view(&[1, 2, 3], &[4], &[1, 2, 3]), 4, None);
        assert_eq!(next(&silent), None);
        let mut behind = admit(view(&[1, 2, 3], &[4], &[1, 2, 3, 4]), 4, None);
        behind.answering.insert(4, 899);
        assert_eq!(next(&behind), None);
        behind.answering.insert(4, 900);
        assert_eq!(next(&behind), Some(Step::Promote { node: 4, instead_of: None }));
        let voter = admit(view(&[1, 2, 3, 4], &[], &[1, 2, 3, 4]), 4, None);
        assert_eq!(next(&voter), None);
    }

    #[test]
    fn who_is_replaced_goes_in_the_same_change() {
        let replacing = |old| admit(view(&[1, 2, 3], &[4], &[1, 2, 3, 4]), 4, Some(old));
        let promote = |instead_of| Some(Step::Promote { node: 4, instead_of });
        assert_eq!(next(&replacing(2)), promote(Some(2)));
        // Removed meanwhile.
        assert_eq!(next(&replacing(9)), promote(None));
        assert_eq!(next(&replacing(1)), Some(Step::HandOver));
    }

    #[test]
    fn one_that_does_not_come_holds_nobody_up() {
        let both = admit(view(&[1, 2, 3], &[4, 5], &[1, 2, 3, 5]), 4, None);
        let both = admit(both, 5, None);
        assert_eq!(next(&both), Some(Step::Promote { node: 5, instead_of: None }));
    }

    #[test]
    fn a_change_that_was_left_half_way_is_finished_first() {
        let mut joint = admit(view(&[1, 2, 3], &[4], &[1, 2, 3, 4]), 4, None);
        joint.voters.push([1, 2, 3, 4].into());
        assert_eq!(next(&joint), Some(Step::Finish));
        assert_eq!(may_remove(&joint, 3, true), Err(OperatorRefusal::ChangeUnderWay));
    }

    #[test]
    fn what_is_left_must_go_on() {
        use OperatorRefusal::{LosesQuorum, NoSpare, OnlyVoter};
        let refused = |voters: &[u64], answering: &[u64], node| {
            may_remove(&view(voters, &[9], answering), node, false).err()
        };
        assert_eq!(refused(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], 5), None);
        assert_eq!(refused(&[1, 2, 3, 4], &[1, 2, 3, 4], 4), None);
        assert_eq!(refused(&[1, 2, 3], &[1, 2, 3], 9), None);
        assert!(matches!(refused(&[1, 2, 3], &[1, 2, 3], 3), Some(NoSpare { majority: 2, .. })));
        // The one that is down can go: nothing is lost with it.
        assert_eq!(refused(&[1, 2, 3], &[1, 2], 3), None);
        assert!(matches!(refused(&[1, 2, 3], &[1, 2], 2), Some(LosesQuorum { majority: 2, .. })));
        assert!(matches!(
            refused(&[1, 2, 3, 4, 5], &[1, 2, 3], 3),
            Some(LosesQuorum { majority: 3, .. })
        ));
        assert!(matches!(refused(&[1], &[1], 1), Some(OnlyVoter { node: 1 })));
        assert_eq!(may_remove(&view(&[1, 2, 3], &[], &[1, 2, 3]), 3, true), Ok(()));
    }
}
