//! The routes of a cluster as methods, each under one deadline over all its attempts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde::de::DeserializeOwned;
use synckairos_protocol::{
    command::Intent,
    error::Effect,
    ids::SessionId,
    session::{NewSession, OnOutage},
    wire::{
        batch::{BatchResult, BatchResults},
        create::SwitchBody,
        listing::{ListAnswer, ListQuery, StaleAnswer, list_query},
        rest::{Envelope, SessionState, SwitchResult, TimeAnswer},
    },
};

pub use crate::node_handle::{NodeHandle, Readiness};
use crate::{
    discovery::{self, Discovery, Occasion},
    error::{ClientError, Failure},
    nodes::{Nodes, Round},
    pace, requests,
    retry::{self, Next},
    transport::{Call, Nature, Transport},
};

/// Where the cluster is and how long to try.
#[derive(Clone, Debug)]
pub struct Config {
    /// Base URLs, `http://host:port`; the first is asked first. Any node answers any request.
    ///
    /// With [`Config::discover`] they are where the client begins, and where it comes back to when
    /// nobody else answers: two or three of a cluster's nodes will do, or a name that always leads
    /// to one.
    pub nodes: Vec<String>,
    /// Learn from the nodes who belongs to the cluster now, so that every one of
    /// [`Config::nodes`] can be replaced while the client goes on. Default true.
    ///
    /// An address that was learned is used once it has answered, so one that cannot be reached from
    /// here does no harm. False for a client that must not leave its proxy, or that would find
    /// somebody else at the addresses by which the nodes know each other.
    pub discover: bool,
    /// Longest time that one call takes, all its attempts and pauses together. Default 15 s.
    pub deadline: Duration,
    /// Longest time that one attempt takes. Default 7 s: a node gives up after 5 s itself and
    /// says what may have happened, which is better than not to know.
    pub attempt_timeout: Duration,
    /// Longest time that it takes to connect. Default 1 s.
    pub connect_timeout: Duration,
    /// Attempts of one call; 1 sends everything once. Default 100: the deadline ends most calls
    /// before, and a client that knows more nodes tries no less often.
    pub attempts_max: u32,
    /// Give every request that changes something a key, under which it is sent again where its
    /// fate is unknown, and takes effect once. Default true. A cluster at format level 1, in the
    /// middle of its upgrade, ignores keys: set this to false for it.
    pub idempotency_keys: bool,
}

impl Config {
    /// These nodes, and the defaults.
    pub fn new(nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            nodes: nodes.into_iter().map(Into::into).collect(),
            discover: true,
            deadline: Duration::from_secs(15),
            attempt_timeout: Duration::from_secs(7),
            connect_timeout: Duration::from_secs(1),
            attempts_max: 100,
            idempotency_keys: true,
        }
    }
}

/// The client cannot be made like this.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("there are no nodes")]
    NoNodes,
    #[error("{url:?} is no base URL of a node: {reason}")]
    InvalidUrl { url: String, reason: String },
    #[error("the HTTP transport cannot be made")]
    Transport(#[source] reqwest::Error),
}

/// A cluster. Cheap to clone; clones share connections and know together which node works.
///
/// Every method fails with [`ClientError`], which says whether the request may have taken effect
/// all the same. One whose future is dropped before it is done may have taken effect.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) nodes: Nodes,
    pub(crate) discovery: Discovery,
    pub(crate) transport: Transport,
}

impl Client {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// There are no nodes, or a URL is none.
    pub fn new(config: Config) -> Result<Self, SettingsError> {
        let nodes = Nodes::new(&config.nodes)?;
        let transport = Transport::new(&config)?;
        let discovery = Discovery::new(config.discover);
        Ok(Self { inner: Arc::new(Inner { config, nodes, discovery, transport }) })
    }

    /// Creates a session; answers with it, too, where an identical one is there and has not
    /// started.
    pub async fn create(&self, new: &NewSession) -> Result<SessionState, ClientError> {
        self.create_with(new, OnOutage::Charge).await
    }

    /// As [`Client::create`], and says what an outage of the whole cluster does to the clock.
    ///
    /// # Errors
    /// `FORMAT_LEVEL_TOO_LOW` where a clock is to freeze and the cluster is being upgraded.
    pub async fn create_with(
        &self,
        new: &NewSession,
        on_outage: OnOutage,
    ) -> Result<SessionState, ClientError> {
        let body = requests::create_body(new, on_outage).map_err(|error| self.unwritable(error))?;
        let path = String::from("/v1/sessions");
        self.session(self.write(Method::POST, path, Some(body), Nature::Repeatable)).await
    }

    /// Takes these commands of sessions together or not at all: what came of each, in their order.
    /// None of them may have a key or commands of its own.
    ///
    /// # Errors
    /// The error of the first command that was refused; `context.index` in
    /// [`ClientError::problem`] says which one that was.
    pub async fn batch(&self, commands: &[Intent]) -> Result<Vec<BatchResult>, ClientError> {
        let body = requests::batch_body(commands).map_err(|error| self.unwritable(error))?;
        let path = String::from("/v1/batch");
        let call = self.write(Method::POST, path, Some(body), Nature::Once);
        let Envelope { data } = self.call(&call, from_json::<Envelope<BatchResults>>).await?;
        Ok(data.results)
    }

    /// The session as of its last change. See [`crate::project`] for the time left now.
    pub async fn get(&self, session: SessionId) -> Result<SessionState, ClientError> {
        self.session(Call::read(format!("/v1/sessions/{session}"))).await
    }

    /// The session as one node has it, without asking the others, and how old that may be.
    pub async fn get_stale(
        &self,
        session: SessionId,
    ) -> Result<StaleAnswer<SessionState>, ClientError> {
        let path = format!("/v1/sessions/{session}?consistency=stale");
        self.call(&Call::read(path), from_json).await
    }

    /// One page of the sessions, ordered by id. The next one has its `next_cursor` as
    /// [`ListQuery::cursor`]; the last one has none.
    pub async fn list(&self, query: &ListQuery) -> Result<ListAnswer, ClientError> {
        let path = format!("/v1/sessions{}", list_query(query));
        self.call(&Call::read(path), from_json).await
    }

    /// Starts the clock of a pending session.
    pub async fn start(
        &self,
        session: SessionId,
        expected_version: Option<u64>,
    ) -> Result<SessionState, ClientError> {
        self.transition(session, "start", expected_version).await
    }

    /// Ends the active participant's cycle and begins the next one's.
    ///
    /// After an unknown effect it is safe to ask again with the `expected_version` of the first
    /// time: it cannot happen twice.
    pub async fn switch(
        &self,
        session: SessionId,
        body: SwitchBody,
    ) -> Result<SwitchResult, ClientError> {
        let body = requests::switch_body(body).map_err(|error| self.unwritable(error))?;
        let call = self.command(session, "switch", body);
        let Envelope { data } = self.call(&call, from_json).await?;
        Ok(data)
    }

    /// Stops the running clock.
    pub async fn pause(
        &self,
        session: SessionId,
        expected_version: Option<u64>,
    ) -> Result<SessionState, ClientError> {
        self.transition(session, "pause", expected_version).await
    }

    /// Lets the stopped clock run again.
    pub async fn resume(
        &self,
        session: SessionId,
        expected_version: Option<u64>,
    ) -> Result<SessionState, ClientError> {
        self.transition(session, "resume", expected_version).await
    }

    /// Ends the session.
    pub async fn complete(
        &self,
        session: SessionId,
        expected_version: Option<u64>,
    ) -> Result<SessionState, ClientError> {
        self.transition(session, "complete", expected_version).await
    }

    /// Removes the session; succeeds, too, where there is none.
    pub async fn delete(&self, session: SessionId) -> Result<(), ClientError> {
        let path = format!("/v1/sessions/{session}");
        let call = self.write(Method::DELETE, path, None, Nature::Repeatable);
        self.call(&call, |_| Ok(())).await
    }

    /// Cluster time. See [`Client::clock`] for one that is corrected for the way.
    pub async fn time(&self) -> Result<TimeAnswer, ClientError> {
        self.call(&Call::read(String::from("/v1/time")), from_json).await
    }

    /// The nodes one by one: those of [`Config::nodes`] in their order, then the members that the
    /// cluster has named besides, as of now.
    pub fn nodes(&self) -> impl Iterator<Item = NodeHandle<'_>> {
        let nodes = self.inner.nodes.all().into_iter();
        nodes.map(|node| NodeHandle::new(&self.inner, node))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    async fn transition(
        &self,
        session: SessionId,
        verb: &str,
        expected_version: Option<u64>,
    ) -> Result<SessionState, ClientError> {
        self.session(self.command(session, verb, requests::version_body(expected_version))).await
    }

    fn command(&self, session: SessionId, verb: &str, body: Option<Vec<u8>>) -> Call {
        let path = format!("/v1/sessions/{session}/{verb}");
        self.write(Method::POST, path, body, Nature::Once)
    }

    /// A request that changes something; `nature` is what it is where it has no key.
    fn write(&self, method: Method, path: String, body: Option<Vec<u8>>, nature: Nature) -> Call {
        let call = Call { method, path, body, nature, key: None };
        if self.inner.config.idempotency_keys { call.keyed() } else { call }
    }

    async fn session(&self, call: Call) -> Result<SessionState, ClientError> {
        let Envelope { data } = self.call(&call, from_json).await?;
        Ok(data)
    }

    fn unwritable(&self, error: serde_json::Error) -> ClientError {
        let node = self.inner.nodes.preferred();
        ClientError::new(Failure::Unwritable(error), Effect::None, &node, 0)
    }

    /// Sends `call` until it is answered, it must not be sent again, or the time is up.
    async fn call<T>(
        &self,
        call: &Call,
        decode: fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, ClientError> {
        let Inner { config, nodes, transport, .. } = &*self.inner;
        let deadline = Instant::now() + config.deadline;
        let (mut node, mut round, mut has_moved) = (nodes.preferred(), Round::default(), false);
        let (mut attempts, mut pauses) = (0, 0);
        let mut effect = Effect::None;
        loop {
            attempts += 1;
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = config.attempt_timeout.min(left.max(Duration::from_millis(1)));
            let answer = transport.send(&node, call, timeout).await;
            let revision = answer.as_ref().ok().and_then(|answer| answer.membership);
            let failure = match answer.and_then(|answer| answer.into_value(decode)) {
                Ok(value) => {
                    nodes.worked(&node);
                    let occasion = if has_moved { Occasion::Moved } else { Occasion::InUse };
                    let told = revision.map(|revision| (&node, revision));
                    discovery::consider(&self.inner, occasion, told);
                    return Ok(value);
                }
                Err(failure) => failure,
            };
            if retry::settles(&failure, call.nature) {
                effect = Effect::None;
            } else if retry::effect_of(&failure, call.nature) == Effect::Unknown {
                effect = Effect::Unknown;
            }
            let asked = Arc::clone(&node);
            let pause = match retry::next(&failure, call.nature) {
                Next::GiveUp => return Err(ClientError::new(failure, effect, &asked, attempts)),
                Next::Elsewhere => {
                    has_moved = true;
                    nodes.failed(&asked, retry::is_gone(&failure));
                    let (next, all_asked) = nodes.next(&asked, &mut round);
                    node = next;
                    if all_asked {
                        discovery::consider(&self.inner, Occasion::NobodyLeft, None);
                    }
                    // Once round, and again only after a while.
                    all_asked.then(|| pace::pause(pauses))
                }
                Next::Later(asked_for) => {
                    Some(pace::pause(pauses).max(asked_for.unwrap_or_default()))
                }
            };
            let until = Instant::now() + pause.unwrap_or_default();
            if config.attempts_max <= attempts || deadline <= until {
                return Err(ClientError::new(failure, effect, &asked, attempts));
            }
            tracing::debug!(node = &*asked, attempts, %failure, "request is sent again");
            if pause.is_some() {
                pauses += 1;
                tokio::time::sleep_until(until.into()).await;
            }
        }
    }
}

pub(crate) fn from_json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
