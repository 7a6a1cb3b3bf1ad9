//! `synckairos bench switch`: sessions are made, switched by many clients, and removed.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use synckairos_client::{
    client::{Client, Config},
    error::{ClientError, ErrorKind},
    requests::new_session,
};
use synckairos_protocol::{
    error::Kind,
    ids::{ParticipantId, SessionId},
    limits,
    session::SyncMode,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    connection::Target,
    load::{Pace, Tally, Window, Worker},
    metrics,
    report::{RATE_LIMIT_HINT, Report, Setting},
};
use crate::cli::{self, CliError, Output};

/// Requests under way at once while sessions are made and removed.
const SETUP_REQUESTS: usize = 32;
const DEV_NODES: [&str; 3] =
    ["http://127.0.0.1:3000", "http://127.0.0.1:3001", "http://127.0.0.1:3002"];

#[derive(clap::Args)]
pub(super) struct Switch {
    /// Base URL of a node; repeat it for several, over which the clients are spread
    #[arg(long = "url", value_name = "URL", default_values = DEV_NODES)]
    urls: Vec<String>,
    /// Sessions to make and switch
    #[arg(long, value_name = "S", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sessions: u32,
    /// Clients that each keep one request under way; with fewer sessions than clients they get
    /// in each other's way, and conflicts are measured
    #[arg(long, value_name = "C", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// How long to measure
    #[arg(long, value_name = "T", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Seconds of load before that do not count
    #[arg(long, value_name = "T", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(0..=3_600))]
    warmup: u32,
    /// Open loop: send this many requests a second, whether the cluster keeps up or not, and
    /// measure from when each was due [default: closed loop]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Leave the sessions behind
    #[arg(long)]
    keep: bool,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Switch {
    pub(super) fn run(self) -> Result<(), CliError> {
        // One thread: the cluster that is measured is often on the same machine.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(self.measure())?;
        match self.output {
            Output::Json => cli::print_json(&report),
            Output::Text => cli::print(report.to_string().trim_end()),
        }
    }

    /// Makes the sessions, measures, and removes them whatever happened.
    async fn measure(&self) -> Result<Report, CliError> {
        let targets: Arc<[Target]> =
            self.urls.iter().map(|url| Target::parse(url)).collect::<Result<_, _>>()?;
        let client = Client::new(Config::new(&self.urls))?;
        // Nothing is made, and nothing is to be removed, where nobody answers.
        let patience = Config { deadline: Duration::from_secs(2), ..Config::new(&self.urls) };
        Client::new(patience)?.time().await.map_err(|error| explain(&error))?;
        let sessions: Vec<_> = (0..self.sessions)
            .map(|_| SessionId::from_bits(uuid::Uuid::now_v7().as_u128()))
            .collect();
        let measured = tokio::select! {
            measured = self.prepare_and_load(&client, &targets, &sessions) => measured,
            _ = tokio::signal::ctrl_c() => Err(CliError::from("interrupted")),
        };
        if self.keep {
            cli::note(format_args!("{} sessions are left behind", sessions.len()));
        } else if let Err(error) = each(&sessions, async |id| client.delete(id).await).await {
            cli::note(format_args!("sessions are left behind: {error}"));
        }
        measured
    }

    async fn prepare_and_load(
        &self,
        client: &Client,
        targets: &Arc<[Target]>,
        sessions: &[SessionId],
    ) -> Result<Report, CliError> {
        let prepare = async |id| {
            let player = || ParticipantId::from_bits(uuid::Uuid::now_v7().as_u128());
            let banks = [(player(), limits::CLOCK_MAX), (player(), limits::CLOCK_MAX)];
            client.create(&new_session(id, SyncMode::PerParticipant, &banks)).await?;
            client.start(id, None).await?;
            Ok(())
        };
        each(sessions, prepare).await.map_err(|error| explain(&error))?;
        let http = reqwest::Client::builder().no_proxy().build()?;

        let begin = Instant::now();
        let warm = begin + Duration::from_secs(u64::from(self.warmup));
        let end = warm + Duration::from_secs(u64::from(self.seconds));
        let window = Window { begin, warm, end };
        let mut workers = JoinSet::new();
        for index in 0..self.clients {
            workers.spawn(self.worker(index, targets, sessions, window).run());
        }
        sleep_until(warm).await;
        let before = metrics::read_all(&http, targets).await;
        sleep_until(end).await;
        let after = metrics::read_all(&http, targets).await;

        let mut tally = Tally::new();
        while let Some(worker) = workers.join_next().await {
            tally.add(&worker?);
        }
        Ok(Report::new(self.setting(), tally).with_nodes(targets, &before, &after))
    }

    fn worker(
        &self,
        index: u32,
        targets: &Arc<[Target]>,
        sessions: &[SessionId],
        window: Window,
    ) -> Worker {
        let pace = match self.rate {
            Some(rate) => Pace::open(window.begin, rate, index, self.clients),
            None => Pace::Closed,
        };
        Worker {
            targets: Arc::clone(targets),
            target: index as usize % targets.len(),
            sessions: share(sessions, index as usize, self.clients as usize),
            pace,
            window,
        }
    }

    fn setting(&self) -> Setting {
        Setting {
            sessions: self.sessions,
            clients: self.clients,
            seconds: self.seconds,
            warmup_seconds: self.warmup,
            rate: self.rate,
        }
    }
}

/// The sessions of worker `index`: its own, or one that it shares where there are too few.
fn share(sessions: &[SessionId], index: usize, workers: usize) -> Vec<SessionId> {
    if sessions.len() < workers {
        return vec![sessions[index % sessions.len()]];
    }
    sessions.iter().copied().skip(index).step_by(workers).collect()
}

/// Does something to each session, a bounded number at once; ends at the first error.
async fn each(
    sessions: &[SessionId],
    step: impl AsyncFn(SessionId) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let step = &step;
    let mut steps = stream::iter(sessions.iter().map(|id| async move { step(*id).await }))
        .buffer_unordered(SETUP_REQUESTS);
    while let Some(result) = steps.next().await {
        result?;
    }
    Ok(())
}

/// Why the sessions could not be made, and what to do.
fn explain(error: &ClientError) -> CliError {
    match error.kind() {
        ErrorKind::Service(Kind::RateLimitExceeded) => {
            CliError::from(format!("the sessions cannot be made: {RATE_LIMIT_HINT}"))
        }
        ErrorKind::Unreachable => CliError::from(format!(
            "no node answers, the last one asked was {}; start a cluster with `synckairos dev`, \
             or name its nodes with --url",
            error.node()
        )),
        ErrorKind::Service(_)
        | ErrorKind::UnknownService
        | ErrorKind::Unanswered
        | ErrorKind::Unreadable
        | ErrorKind::InvalidRequest => {
            CliError::from(format!("the sessions cannot be made: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_belong_to_one_worker_where_there_are_enough() {
        let sessions: Vec<_> = (0..7).map(SessionId::from_bits).collect();
        let shares: Vec<_> = (0..3).map(|index| share(&sessions, index, 3)).collect();
        let mut all: Vec<_> = shares.concat();
        all.sort_unstable();
        assert_eq!(all, sessions);
        assert!(shares.iter().all(|share| 2 <= share.len()));
    }

    #[test]
    fn too_few_sessions_are_shared() {
        let sessions: Vec<_> = (0..2).map(SessionId::from_bits).collect();
        let shares: Vec<_> = (0..5).map(|index| share(&sessions, index, 5)).collect();
        assert!(shares.iter().all(|share| share.len() == 1));
        assert_eq!(shares[0], shares[4]);
    }
}
