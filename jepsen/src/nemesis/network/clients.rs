//! Clients that cannot reach a node, or hardly.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::Fault;
use crate::{
    env::fault::{ClientFault, ClientImpairment},
    nemesis::{Form, Planned, Target},
};

const FOR_MS: (u64, u64) = (2_000, 12_000);
pub(super) const CUT: &str = "cut";
const SOME: &[Target] = &[Target::Leader, Target::One, Target::Majority];

const fn form(word: &'static str) -> Form {
    Form { word, targets: SOME, for_ms: FOR_MS }
}

pub(super) const FORMS: [Form; 4] =
    [form(CUT), form("kill-before-answer"), form("hang"), form("slow")];

/// `None` where no form is called so.
pub(super) fn decide(
    planned: &Planned,
    chosen: &[String],
    random: &mut ChaCha8Rng,
) -> Option<(Fault, Vec<String>)> {
    let impairment = match planned.form.as_str() {
        CUT => ClientImpairment::Cut,
        "hang" => {
            let ways = [(true, true), (true, false), (false, true)];
            let (requests, answers) = *ways.choose(random)?;
            ClientImpairment::Hang { requests, answers }
        }
        "slow" => ClientImpairment::Slow { kbit: random.random_range(8..=64) },
        "kill-before-answer" => {
            ClientImpairment::KillBeforeAnswer { percent: random.random_range(10..=60) }
        }
        _ => return None,
    };
    let nodes = chosen.iter().cloned().collect();
    let fault = ClientFault { id: planned.id, seed: planned.pick, nodes, impairment };
    Some((Fault::Clients(fault), chosen.to_vec()))
}
