//! A disk that says that it synced, and did not, then loses its power. What its node promised is
//! gone, and it may not vote as if it were not.

use std::{io, sync::Arc, time::Duration};

use rustix::process::Signal;
use serde_json::json;

use super::{DAMAGED, DISK_FAILED, REFUSED, recover};
use crate::{
    db::{cluster::Cluster, node::Node},
    env::probe,
    nemesis::{Active, FaultOutcome, Form, Target},
};

pub(super) const FORMS: &[Form] = &[
    Form { word: "forgets", targets: &[Target::Followers, Target::One], for_ms: (1_500, 5_000) },
    Form { word: "forgets", targets: &[Target::Leader], for_ms: (1_500, 5_000) },
];

const BECAUSE: &str = "lying-disk";
const PRELOAD: &str = "LD_PRELOAD";
const LIAR: &str = "libeatmydata.so";
const ENDS_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn begin(
    cluster: &Cluster,
    node: &Node,
    active: &mut Active,
) -> Result<(), FaultOutcome> {
    if !node.storage.has_power() {
        return Err(FaultOutcome::skipped("needs --disk loop-ext4 or loop-xfs, which needs root"));
    }
    let can_lie = probe::one("eatmydata").is_some_and(|capability| capability.available);
    if !can_lie {
        return Err(FaultOutcome::skipped("eatmydata is not installed"));
    }
    node.terminate(BECAUSE, ENDS_WITHIN).await;
    node.set_environment(PRELOAD, Some(LIAR));
    let started = node.start();
    node.set_environment(PRELOAD, None);
    started.map_err(FaultOutcome::indeterminate)?;
    recover::await_all(cluster).await.map_err(FaultOutcome::indeterminate)?;
    active.note("lies", json!(LIAR));
    Ok(())
}

pub(super) async fn end(
    cluster: &Cluster,
    node: &Arc<Node>,
    active: &mut Active,
) -> io::Result<FaultOutcome> {
    let had = node.ask("/v1/node").await.map(|(_, told)| told["last_log"].clone());
    active.note("had", json!(had));
    node.expect_end(BECAUSE, &[DISK_FAILED]);
    node.storage.power_off().await?;
    node.signal(Signal::KILL);
    node.await_end(ENDS_WITHIN).await;
    node.storage.power_on().await?;
    let came_back =
        recover::start(cluster, node, (BECAUSE, &[DAMAGED, DISK_FAILED, REFUSED]), active).await?;
    if came_back {
        node.expect_life();
    }
    Ok(FaultOutcome::Bit)
}
