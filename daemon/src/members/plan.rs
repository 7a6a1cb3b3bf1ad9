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
    /// Has this node applied the entry that made the membership? Until then the roster speaks of
    /// an earlier one.
    pub(super) settled: bool,
    /// One group, or two during a change.
    pub(super) voters: Vec<BTreeSet<u64>>,
    /// Learners included.
    pub(super) members: BTreeSet<u64>,
    /// Nodes that were let in by a token.
    pub(super) admitted: BTreeMap<u64, Admitted>,
    pub(super) committed: u64,
    /// Up to where the log of each node that was heard a moment ago matches.
    pub(super) matched: BTreeMap<u64, u64>,
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
    /// Its successor votes already.
    Remove {
        node: u64,
    },
    /// The leader is to be replaced: somebody else must make that change.
    HandOver,
}

/// The next step, if there is anything to do.
pub(super) fn next(view: &View) -> Option<Step> {
    if !view.settled {
        return None;
    }
    let [voters] = &view.voters[..] else { return Some(Step::Finish) };
    let newcomers = || view.admitted.iter().filter(|(node, _)| !voters.contains(node));
    if let Some((node, admitted)) = newcomers().find(|(node, _)| !view.members.contains(node)) {
        return Some(Step::AddLearner { node: *node, place: admitted.place.clone() });
    }
    let old_of = |admitted: &Admitted| admitted.replaces.filter(|old| view.members.contains(old));
    let others = voters.iter().any(|voter| *voter != view.leader);
    let steps =
        newcomers().filter(|(node, _)| has_caught_up(view, **node)).map(|(node, admitted)| {
            match old_of(admitted) {
                Some(old) if old == view.leader && others => Step::HandOver,
                // Nobody else could lead before this one votes.
                Some(old) if old == view.leader => Step::Promote { node: *node, instead_of: None },
                instead_of => Step::Promote { node: *node, instead_of },
            }
        });
    // Nobody waits for a hand-over that may not come about.
    let promotion = steps.min_by_key(|step| *step == Step::HandOver);
    promotion.or_else(|| {
        let veterans = view.admitted.iter().filter(|(node, _)| voters.contains(node));
        let old = veterans.filter_map(|(_, admitted)| old_of(admitted)).next()?;
        Some(if old == view.leader { Step::HandOver } else { Step::Remove { node: old } })
    })
}

fn has_caught_up(view: &View, node: u64) -> bool {
    let matched = view.matched.get(&node);
    matched.is_some_and(|matched| view.committed <= matched.saturating_add(BEHIND_MAX))
}

/// May `node` go, where these answer? What would then be left must go on.
///
/// # Errors
/// [`OperatorRefusal`] with the arithmetic.
pub(super) fn may_remove(
    view: &View,
    answering: &BTreeSet<u64>,
    node: u64,
    accept_no_spare: bool,
) -> Result<(), OperatorRefusal> {
    let [voters] = &view.voters[..] else { return Err(OperatorRefusal::ChangeUnderWay) };
    if !view.settled {
        return Err(OperatorRefusal::ChangeUnderWay);
    }
    if !voters.contains(&node) {
        return Ok(());
    }
    let mut left = voters.clone();
    left.remove(&node);
    if left.is_empty() {
        return Err(OperatorRefusal::OnlyVoter { node });
    }
    let answer: BTreeSet<u64> = left.intersection(answering).copied().collect();
    let majority = left.len() / 2 + 1;
    let shown = u64::try_from(majority).unwrap_or(u64::MAX);
    if answer.len() < majority {
        return Err(OperatorRefusal::LosesQuorum {
            node,
            voters: left,
            answering: answer,
            majority: shown,
        });
    }
    // A node that is away already takes nothing with it.
    let loses_spare = answer.len() == majority && answering.contains(&node);
    if loses_spare && !accept_no_spare {
        return Err(OperatorRefusal::NoSpare {
            node,
            voters: left,
            answering: answer,
            majority: shown,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(voters: &[u64], learners: &[u64]) -> View {
        let voters: BTreeSet<u64> = voters.iter().copied().collect();
        let members: BTreeSet<u64> = voters.iter().chain(learners).copied().collect();
        View {
            leader: 1,
            settled: true,
            matched: members.iter().map(|node| (*node, 1_000)).collect(),
            members,
            voters: vec![voters],
            committed: 1_000,
            ..View::default()
        }
    }

    fn admit(mut view: View, node: u64, replaces: Option<u64>) -> View {
        view.admitted.insert(node, Admitted { place: PeerNode::default(), replaces });
        view
    }

    fn promote(node: u64, instead_of: Option<u64>) -> Option<Step> {
        Some(Step::Promote { node, instead_of })
    }

    #[test]
    fn newcomers_are_learners_then_voters() {
        assert_eq!(next(&view(&[1, 2, 3], &[])), None);
        let unseen = admit(view(&[1, 2, 3], &[]), 4, None);
        let place = PeerNode::default();
        assert_eq!(next(&unseen), Some(Step::AddLearner { node: 4, place }));
        let mut learner = admit(view(&[1, 2, 3], &[4]), 4, None);
        learner.matched.remove(&4);
        assert_eq!(next(&learner), None);
        learner.matched.insert(4, 899);
        assert_eq!(next(&learner), None);
        learner.matched.insert(4, 900);
        assert_eq!(next(&learner), promote(4, None));
        assert_eq!(next(&admit(view(&[1, 2, 3, 4], &[]), 4, None)), None);
    }

    #[test]
    fn who_is_replaced_goes_in_the_same_change() {
        let replacing = |old| admit(view(&[1, 2, 3], &[4]), 4, Some(old));
        assert_eq!(next(&replacing(2)), promote(4, Some(2)));
        // Removed meanwhile.
        assert_eq!(next(&replacing(9)), promote(4, None));
        assert_eq!(next(&replacing(1)), Some(Step::HandOver));
        // The hand-over may not come about, and the next one can be taken all the same.
        assert_eq!(next(&admit(replacing(1), 3, None)), Some(Step::HandOver));
        let both = admit(admit(view(&[1, 2, 3], &[4, 5]), 4, Some(1)), 5, None);
        assert_eq!(next(&both), promote(5, None));
    }

    #[test]
    fn the_only_voter_is_replaced_in_three_steps() {
        let alone = admit(view(&[1], &[2]), 2, Some(1));
        assert_eq!(next(&alone), promote(2, None));
        let two = admit(view(&[1, 2], &[]), 2, Some(1));
        assert_eq!(next(&two), Some(Step::HandOver));
        assert_eq!(next(&View { leader: 2, ..two }), Some(Step::Remove { node: 1 }));
        assert_eq!(next(&View { leader: 2, ..admit(view(&[2], &[]), 2, Some(1)) }), None);
    }

    #[test]
    fn one_that_does_not_come_holds_nobody_up() {
        let mut both = admit(admit(view(&[1, 2, 3], &[4, 5]), 4, None), 5, None);
        both.matched.remove(&4);
        assert_eq!(next(&both), promote(5, None));
    }

    #[test]
    fn a_change_that_is_not_applied_yet_is_waited_for() {
        let mut joint = admit(view(&[1, 2, 3], &[4]), 4, None);
        joint.voters.push([1, 2, 3, 4].into());
        assert_eq!(next(&joint), Some(Step::Finish));
        let all = BTreeSet::from([1, 2, 3, 4]);
        assert_eq!(may_remove(&joint, &all, 3, true), Err(OperatorRefusal::ChangeUnderWay));
        // Its removal is in the log, and the roster has not heard of it.
        let unsettled = View { settled: false, ..admit(view(&[1, 2, 3], &[]), 4, None) };
        assert_eq!(next(&unsettled), None);
        assert_eq!(may_remove(&unsettled, &all, 3, true), Err(OperatorRefusal::ChangeUnderWay));
    }

    #[test]
    fn what_is_left_must_go_on() {
        use OperatorRefusal::{LosesQuorum, NoSpare, OnlyVoter};
        let refused = |voters: &[u64], answering: &[u64], node| {
            let answering = answering.iter().copied().collect();
            may_remove(&view(voters, &[9]), &answering, node, false).err()
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
        let all = BTreeSet::from([1, 2, 3]);
        assert_eq!(may_remove(&view(&[1, 2, 3], &[]), &all, 3, true), Ok(()));
    }
}
