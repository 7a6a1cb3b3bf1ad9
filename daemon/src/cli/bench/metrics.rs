//! What the nodes say of themselves before and after: who led, what was synced, how much memory.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use super::connection::Target;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One node's numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) leads: bool,
    fsyncs: u64,
    commands: u64,
    pub(super) resident_bytes: u64,
}

/// How many commands shared one sync of the leader's log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Batching {
    /// The leader's.
    pub(super) url: String,
    pub(super) commands: u64,
    pub(super) fsyncs: u64,
    pub(super) commands_per_fsync: f64,
}

/// The readings of all nodes; `None` for one that does not answer.
pub(super) async fn read_all(http: &reqwest::Client, targets: &[Target]) -> Vec<Option<Reading>> {
    let read = async |target: &Target| {
        let request = http.get(format!("{}/metrics", target.url)).timeout(ANSWER_WITHIN);
        let answer = request.send().await?.error_for_status()?;
        Ok::<_, reqwest::Error>(parse(&answer.text().await?))
    };
    let readings = join_all(targets.iter().map(read)).await;
    readings.into_iter().map(Result::ok).collect()
}

/// What one leader did from `before` to `after`; `None` where the lead changed, or nobody's node
/// was asked.
pub(super) fn batching(
    targets: &[Target],
    before: &[Option<Reading>],
    after: &[Option<Reading>],
) -> Option<Batching> {
    let nodes = targets.iter().zip(before).zip(after);
    let mut led = nodes.filter_map(|((target, before), after)| {
        let (before, after) = ((*before)?, (*after)?);
        (before.leads && after.leads).then_some((target, before, after))
    });
    let (target, before, after) = led.next()?;
    let fsyncs = after.fsyncs.checked_sub(before.fsyncs).filter(|fsyncs| 0 < *fsyncs)?;
    let commands = after.commands.checked_sub(before.commands)?;
    let commands_per_fsync = commands as f64 / fsyncs as f64;
    Some(Batching { url: target.url.clone(), commands, fsyncs, commands_per_fsync })
}

fn parse(text: &str) -> Reading {
    let mut reading = Reading::default();
    for (series, value) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
        // Counters and bytes are whole, whatever form they are written in.
        let whole = value.split('.').next().and_then(|digits| digits.parse().ok());
        let Some(value) = whole else { continue };
        match series {
            r#"synckairos_raft_role{role="leader"}"# => reading.leads = value == 1,
            "synckairos_raft_fsyncs_total" => reading.fsyncs = value,
            "synckairos_commands_total" => reading.commands = value,
            "process_resident_memory_bytes" => reading.resident_bytes = value,
            _ => {}
        }
    }
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(leads: u8, fsyncs: u64, commands: u64) -> String {
        format!(
            "# HELP synckairos_raft_role 1 for the role that this node has\n\
             synckairos_raft_role{{role=\"follower\"}} {}\n\
             synckairos_raft_role{{role=\"leader\"}} {leads}\n\
             synckairos_raft_fsyncs_total {fsyncs}\n\
             synckairos_commands_total {commands}.0\n\
             process_resident_memory_bytes 123456\n",
            1 - leads
        )
    }

    #[test]
    fn the_leaders_commands_are_divided_by_its_syncs() {
        let targets = ["http://a", "http://b"].map(|url| Target::parse(url).unwrap());
        let before = [Some(parse(&text(0, 5, 5))), Some(parse(&text(1, 100, 1_000)))];
        let after = [Some(parse(&text(0, 9, 9))), Some(parse(&text(1, 300, 2_500)))];
        let batching = batching(&targets, &before, &after).unwrap();
        assert_eq!(batching.url, targets[1].url);
        assert_eq!((batching.commands, batching.fsyncs), (1_500, 200));
        assert!((batching.commands_per_fsync - 7.5).abs() < 1e-9);
        assert_eq!(after[0].unwrap().resident_bytes, 123_456);
    }

    #[test]
    fn a_change_of_leader_leaves_nothing_to_divide() {
        let targets = ["http://a", "http://b"].map(|url| Target::parse(url).unwrap());
        let (leads, follows) = (Some(parse(&text(1, 5, 5))), Some(parse(&text(0, 5, 5))));
        assert_eq!(batching(&targets, &[leads, follows], &[follows, leads]), None);
        assert_eq!(batching(&targets, &[leads, None], &[None, None]), None);
        assert_eq!(batching(&targets, &[leads, None], &[leads, None]), None);
    }
}
