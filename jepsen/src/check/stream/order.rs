//! The tape as a whole: the changes of a session, ordered by revision, have to be its versions.

use crate::{
    check::{state::born, verdict::Anomaly},
    history::tape::Update,
    test::run::Run,
};

pub(super) fn check(run: &Run) -> Vec<Anomaly> {
    run.tape.sessions.values().flat_map(|updates| of_session(updates)).collect()
}

/// Versions that nobody was told of are no matter here: each subscriber's own stream is looked at
/// elsewhere.
fn of_session(updates: &[Update]) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    let mut last: Option<(&str, u64, u64)> = None;
    let mut ended: Option<&str> = None;
    for update in updates {
        let Some(state) = &update.state else {
            ended = last.map(|(birth, ..)| birth);
            continue;
        };
        let birth = born(state).unwrap_or_default();
        let (version, revision) = (update.version, update.revision);
        let what = match last {
            _ if ended == Some(birth) => {
                Some(format!("version {version} of a session that was deleted before it"))
            }
            Some((same, before, at)) if same == birth && before == version => {
                Some(format!("version {version} came at two revisions, {at} and {revision}"))
            }
            Some((same, before, _)) if same == birth && version < before => Some(format!(
                "version {version} came after version {before}, at a greater revision"
            )),
            Some(_) | None => None,
        };
        anomalies.extend(what.map(|what| {
            let anomaly = Anomaly::new(what).session(&update.session);
            anomaly.at(revision, version).time(update.seen_ns)
        }));
        last = Some((birth, version, revision));
    }
    anomalies
}
