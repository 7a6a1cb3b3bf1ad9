//! Packets that do not arrive as they were sent.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    Fault,
    sides::{between, both_ways, out_of, turned},
};
use crate::{
    env::fault::{Impairment, LinkFault},
    nemesis::{Form, Planned, Target},
};

const FOR_MS: (u64, u64) = (2_000, 20_000);
/// The largest that every QUIC packet may be, and less: there heartbeats get through, and entries
/// and new connections do not.
const MTU_BYTES: [usize; 3] = [1_200, 600, 250];
const DELAY_MAX_MS: u32 = 500;
/// A node on another continent.
pub(crate) const FAR: &str = "far";
const FAR_MS: u32 = 100;
/// Routers keep packets about as long.
const QUEUE_MS: (u32, u32) = (100, 1_000);

const ANY: &[Target] = &[Target::One, Target::Leader, Target::All];

const fn form(word: &'static str, targets: &'static [Target]) -> Form {
    Form { word, targets, for_ms: FOR_MS }
}

pub(super) const FORMS: [Form; 10] = [
    form("loss", ANY),
    form("delay", ANY),
    form("chaos", &[Target::All]),
    form("reorder", ANY),
    form("rate", ANY),
    form("corrupt", ANY),
    form("duplicate", ANY),
    // Large packets are rare: some link has one.
    form("mtu", &[Target::All]),
    form("migrate", ANY),
    form(FAR, &[Target::Followers]),
];

/// `None` where no form is called so.
pub(super) fn decide(
    planned: &Planned,
    (chosen, all): (&[String], &[String]),
    random: &mut ChaCha8Rng,
) -> Option<(Fault, Vec<String>)> {
    let impairments = impairments(&planned.form, random)?;
    // One that is far away, and the others are near each other.
    let chosen = if planned.form == FAR { chosen.get(..1)? } else { chosen };
    let out = out_of(chosen, all);
    let links = if out.is_empty() {
        between(all, all)
    } else if planned.form == FAR {
        both_ways(&out)
    } else {
        // As often as not, only one way suffers.
        match random.random_range(0..4) {
            0 => out,
            1 => turned(&out),
            _ => both_ways(&out),
        }
    };
    let fault = LinkFault { id: planned.id, seed: planned.pick, links, impairments };
    Some((Fault::Links(fault), chosen.to_vec()))
}

fn impairments(form: &str, random: &mut ChaCha8Rng) -> Option<Vec<Impairment>> {
    Some(match form {
        "loss" => vec![Impairment::Loss { percent: random.random_range(1..=50) }],
        FAR => vec![Impairment::Delay { mean_ms: FAR_MS, jitter_ms: 0 }],
        "delay" => vec![delay(DELAY_MAX_MS, random)],
        "reorder" => vec![reorder(random)],
        "duplicate" => vec![Impairment::Duplicate { percent: random.random_range(5..=50) }],
        "corrupt" => vec![Impairment::Corrupt { percent: random.random_range(1..=30) }],
        "rate" => {
            let kbit = *[64, 128, 256, 512, 1_000].choose(random)?;
            vec![Impairment::Rate { kbit, queue_ms: random.random_range(QUEUE_MS.0..=QUEUE_MS.1) }]
        }
        "mtu" => vec![Impairment::Mtu { bytes: *MTU_BYTES.choose(random)? }],
        "migrate" => vec![Impairment::Migrate { every_ms: random.random_range(500..=5_000) }],
        "chaos" => vec![
            Impairment::Loss { percent: random.random_range(1..=10) },
            Impairment::Duplicate { percent: random.random_range(1..=10) },
            Impairment::Corrupt { percent: random.random_range(1..=5) },
            reorder(random),
            delay(DELAY_MAX_MS / 10, random),
        ],
        _ => return None,
    })
}

/// As many short ones as long ones, on a scale of powers.
fn delay(max_ms: u32, random: &mut ChaCha8Rng) -> Impairment {
    let scale = 1 << random.random_range(0..=max_ms.ilog2());
    let mean_ms = random.random_range(scale..=2 * scale).min(max_ms);
    Impairment::Delay { mean_ms, jitter_ms: random.random_range(0..=mean_ms / 2) }
}

fn reorder(random: &mut ChaCha8Rng) -> Impairment {
    let percent = random.random_range(5..=40);
    Impairment::Reorder { percent, hold_ms: random.random_range(2..=100) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn parameters_follow_from_the_pick_and_stay_in_their_ranges() {
        for form in FORMS {
            let drawn =
                |pick| impairments(form.word, &mut ChaCha8Rng::seed_from_u64(pick)).unwrap();
            for pick in 0..200 {
                let impairments = drawn(pick);
                assert_eq!(impairments, drawn(pick));
                for impairment in impairments {
                    assert!(is_in_range(impairment), "{impairment:?}");
                }
            }
        }
        assert_eq!(impairments("nonsense", &mut ChaCha8Rng::seed_from_u64(1)), None);
    }

    fn is_in_range(impairment: Impairment) -> bool {
        match impairment {
            Impairment::Loss { percent } => (1..=50).contains(&percent),
            Impairment::Delay { mean_ms, jitter_ms } => {
                (1..=500).contains(&mean_ms) && jitter_ms <= mean_ms / 2
            }
            Impairment::Reorder { percent, hold_ms } => percent <= 40 && hold_ms <= 100,
            Impairment::Duplicate { percent } => (1..=50).contains(&percent),
            Impairment::Corrupt { percent } => (1..=30).contains(&percent),
            Impairment::Rate { kbit, queue_ms } => {
                (64..=1_000).contains(&kbit) && (100..=1_000).contains(&queue_ms)
            }
            Impairment::Mtu { bytes } => MTU_BYTES.contains(&bytes),
            Impairment::Migrate { every_ms } => (500..=5_000).contains(&every_ms),
            Impairment::Drop | Impairment::Flap { .. } => false,
        }
    }
}
