//! Partitions: who cannot hear whom.

use std::collections::BTreeSet;

use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::Fault;
use crate::{
    env::fault::{Impairment, Link, LinkFault},
    nemesis::{Form, Planned, Target},
};

/// Long enough for elections, and for clients to give up on requests.
const FOR_MS: (u64, u64) = (2_000, 15_000);
const FLAP_MS: u64 = 100;
/// How often a cable is pulled where packets could be dropped as well: once in so many times.
const UNPLUGS: u32 = 3;

const fn form(word: &'static str, targets: &'static [Target]) -> Form {
    Form { word, targets, for_ms: FOR_MS }
}

pub(super) const FORMS: [Form; 11] = [
    form("isolate-leader", &[Target::Leader]),
    form("isolate-one", &[Target::One]),
    form("halves", &[Target::Minority]),
    form("one-way-in", &[Target::Leader, Target::One]),
    form("halves-leader-minority", &[Target::Leader]),
    form("majorities-ring", &[Target::All]),
    form("one-way-out", &[Target::Leader, Target::One]),
    form("halves-leader-majority", &[Target::LeaderAndMinority]),
    form("bridge", &[Target::All]),
    form("flapping", &[Target::Leader, Target::One]),
    form("peer-blocked-all", &[Target::All]),
];

/// `None` where no form is called so.
pub(super) fn decide(
    planned: &Planned,
    (chosen, all): (&[String], &[String]),
    has_plugs: bool,
    random: &mut ChaCha8Rng,
) -> Option<(Fault, Vec<String>)> {
    let mut order = all.to_vec();
    order.shuffle(random);
    let mut hit = chosen.to_vec();
    let links = match planned.form.as_str() {
        "isolate-leader" | "isolate-one" => {
            if has_plugs && random.random_range(0..UNPLUGS) == 0 {
                return Some((Fault::Unplug(chosen.first()?.clone()), hit));
            }
            both_ways(&out_of(&hit, all))
        }
        "halves" | "halves-leader-majority" | "flapping" => both_ways(&out_of(&hit, all)),
        "halves-leader-minority" => {
            let minority = (all.len() - 1) / 2;
            let others = order.iter().filter(|name| !chosen.contains(name));
            hit.extend(others.take(minority.saturating_sub(1)).cloned());
            both_ways(&out_of(&hit, all))
        }
        "one-way-out" => out_of(&hit, all),
        "one-way-in" => turned(&out_of(&hit, all)),
        "majorities-ring" => both_ways(&ring(&order)),
        "bridge" => both_ways(&bridge(&order)),
        "peer-blocked-all" => between(all, all),
        _ => return None,
    };
    let off = Impairment::Flap { period_ms: FLAP_MS };
    let impairment = if planned.form == "flapping" { off } else { Impairment::Drop };
    let impairments = vec![impairment];
    Some((Fault::Links(LinkFault { id: planned.id, seed: planned.pick, links, impairments }), hit))
}

/// What these send to all others.
pub(super) fn out_of(those: &[String], all: &[String]) -> BTreeSet<Link> {
    let others: Vec<String> = all.iter().filter(|name| !those.contains(name)).cloned().collect();
    between(those, &others)
}

pub(super) fn between(ones: &[String], others: &[String]) -> BTreeSet<Link> {
    let links = ones.iter().flat_map(|from| others.iter().map(move |to| Link::new(from, to)));
    links.filter(|link| link.from != link.to).collect()
}

pub(super) fn turned(links: &BTreeSet<Link>) -> BTreeSet<Link> {
    links.iter().map(|link| Link::new(&link.to, &link.from)).collect()
}

pub(super) fn both_ways(links: &BTreeSet<Link>) -> BTreeSet<Link> {
    links.union(&turned(links)).cloned().collect()
}

/// Two sides that only the one in the middle sees.
fn bridge(order: &[String]) -> BTreeSet<Link> {
    let middle = order.len() / 2;
    between(&order[..middle], order.get(middle + 1..).unwrap_or_default())
}

/// Each node sees a majority, but no two the same: those next to it in a circle. Three nodes have
/// no such circle; there it is a bridge.
fn ring(order: &[String]) -> BTreeSet<Link> {
    let count = order.len();
    if count < 4 {
        return bridge(order);
    }
    // A majority without itself, half of it on either side.
    let reach = (count / 2).div_ceil(2);
    let apart = |(one, other): (usize, usize)| {
        let distance = one.abs_diff(other);
        reach < distance.min(count - distance)
    };
    let pairs = (0..count).flat_map(|one| (0..count).map(move |other| (one, other)));
    pairs
        .filter(|pair| apart(*pair))
        .map(|(one, other)| Link::new(&order[one], &order[other]))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;

    use super::*;
    use crate::nemesis::Trouble;

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("n{number}")).collect()
    }

    fn decided(form: &str, chosen: &[&str], count: usize) -> (BTreeSet<Link>, Vec<String>) {
        let planned = Planned {
            id: 4,
            at_ms: 0,
            for_ms: 0,
            trouble: Trouble::Partition,
            form: form.to_owned(),
            target: Target::One,
            pick: 11,
        };
        let chosen: Vec<String> = chosen.iter().map(|name| (*name).to_owned()).collect();
        let random = &mut ChaCha8Rng::seed_from_u64(planned.pick);
        let (fault, hit) = decide(&planned, (&chosen, &names(count)), false, random).unwrap();
        let Fault::Links(fault) = fault else { panic!("{fault:?}") };
        assert_eq!((fault.id, fault.impairments.len()), (4, 1));
        (fault.links, hit)
    }

    /// How many each node hears, itself included.
    fn hears(cut: &BTreeSet<Link>, count: usize) -> BTreeMap<String, BTreeSet<String>> {
        let heard = |to: &String| {
            let from = names(count).into_iter().filter(|from| !cut.contains(&Link::new(from, to)));
            (to.clone(), from.collect())
        };
        names(count).iter().map(heard).collect()
    }

    #[test]
    fn every_form_cuts_something() {
        for form in FORMS {
            assert!(!decided(form.word, &["n2"], 3).0.is_empty(), "{}", form.word);
        }
    }

    #[test]
    fn one_way_is_one_way() {
        let out = [Link::new("n2", "n1"), Link::new("n2", "n3")].into();
        assert_eq!(decided("one-way-out", &["n2"], 3).0, out);
        assert_eq!(decided("one-way-in", &["n2"], 3).0, turned(&out));
        assert_eq!(decided("isolate-one", &["n2"], 3).0, both_ways(&out));
    }

    #[test]
    fn a_leader_is_in_the_minority_where_it_should() {
        let (cut, hit) = decided("halves-leader-minority", &["n2"], 5);
        assert_eq!((hit.len(), cut.len()), (2, 12));
        assert!(hit.contains(&String::from("n2")));
        assert_eq!(decided("halves-leader-minority", &["n2"], 3).1, ["n2"]);
    }

    #[test]
    fn in_a_ring_all_hear_a_majority_and_no_two_the_same() {
        let (cut, _) = decided("majorities-ring", &["n1"], 5);
        let heard = hears(&cut, 5);
        assert!(heard.values().all(|heard| heard.len() == 3), "{heard:?}");
        assert_eq!(heard.values().collect::<BTreeSet<_>>().len(), 5);
        let (cut, _) = decided("majorities-ring", &["n1"], 3);
        assert_eq!(cut.len(), 2);
    }

    #[test]
    fn a_bridge_is_seen_by_all() {
        let heard = hears(&decided("bridge", &["n1"], 5).0, 5);
        let counts: Vec<usize> = heard.values().map(BTreeSet::len).collect();
        assert_eq!(counts.iter().filter(|count| **count == 5).count(), 1, "{heard:?}");
        assert_eq!(counts.iter().filter(|count| **count == 3).count(), 4, "{heard:?}");
    }

    #[test]
    fn cables_are_pulled_now_and_then_where_there_are_some() {
        let mut planned = Planned {
            id: 4,
            at_ms: 0,
            for_ms: 0,
            trouble: Trouble::Partition,
            form: String::from("isolate-leader"),
            target: Target::Leader,
            pick: 0,
        };
        let (chosen, all) = ([String::from("n3")], names(3));
        let mut pulled = 0;
        for pick in 0..100 {
            planned.pick = pick;
            let random = &mut ChaCha8Rng::seed_from_u64(pick);
            let (fault, hit) = decide(&planned, (&chosen, &all), true, random).unwrap();
            assert_eq!(hit, chosen);
            pulled += u32::from(fault == Fault::Unplug(String::from("n3")));
        }
        assert!((15..60).contains(&pulled), "{pulled}");
    }
}
