//! One session's updates as an event stream (`text/event-stream`): for clients that only listen,
//! and for every HTTP client that can read a line.
//!
//! The events and their data are the WebSocket's messages. An event's id says where the client is
//! once it has it, and is what `Last-Event-ID` resumes from, on any node.

use std::{ops::ControlFlow, time::Duration};

use bytes::Bytes;
use synckairos_protocol::{ids::SessionId, reject::Reject, time::Stamp, wire::ws::ServerMessage};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Point, Staleness,
    hub::{Delivery, Mailbox},
    lost_touch,
    messages::text,
    source::{Place, Source},
    told::{CatchUp, DELETED, News, Telling, Told},
};
use crate::sessions::refusal::Refusal;

/// Events written together.
const TOGETHER_MAX: usize = 32;
/// How long a client waits before it comes back by itself.
const RETRY: &str = "retry: 1000\n\n";
const KEEP_ALIVE: &str = ": keep-alive\n\n";
/// The id after which there is nothing to come back for.
const END: &str = "end";

/// Where a client was, as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It wants the state, then what follows.
    State,
    After(Point),
    /// It has heard of the end of the session.
    Ended,
}

impl Begin {
    /// An event's id, or what else a client may say: `<version>` or `<version>-<revision>`.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        if id == END {
            return Some(Self::Ended);
        }
        let (version, revision) = match id.split_once('-') {
            Some((version, revision)) => (version, Some(revision.parse().ok()?)),
            None => (id, None),
        };
        Some(Self::After(Point { version: version.parse().ok()?, revision }))
    }
}

/// What a stream may use.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) source: Source,
    pub(crate) staleness: Staleness,
    pub(crate) stopping: CancellationToken,
    /// How long the client may leave an event unread.
    pub(crate) send: Duration,
    /// Between two comments that show a silent connection to be alive.
    pub(crate) keep_alive: Duration,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There is nothing more to tell, or nobody to tell it to.
    Done,
    /// The client does not read: its connection has to be cut, since it would not notice an end.
    Slow,
}

/// Tells `outlet` what happens to `session` from `begin` on, until either side ends it. `ready`
/// is told first whether there is anything to stream.
pub(crate) async fn run(
    context: Context,
    (session, begin): (SessionId, Begin),
    ready: oneshot::Sender<Result<(), Refusal>>,
    outlet: mpsc::Sender<Bytes>,
) -> Ended {
    let hub = context.source.hub.clone();
    let mut stream = EventStream {
        session,
        staleness: context.staleness.clone(),
        context,
        mailbox: Mailbox::new(),
        outlet,
        subscription: None,
        told: match begin {
            Begin::After(point) => Told::up_to(Some(point)),
            Begin::State | Begin::Ended => Told::default(),
        },
    };
    let ending = match stream.open(ready).await {
        ControlFlow::Continue(()) => stream.stay().await,
        ControlFlow::Break(ending) => ending,
    };
    if let Some(subscription) = stream.subscription {
        hub.unsubscribe(vec![(session, subscription)]).await;
    }
    match ending {
        Ending::Stale(since) => {
            let data = text(&ServerMessage::Stale { since });
            let last = format!("event: STALE\ndata: {}\n\n", data.as_str());
            let _ = stream.write(last).await;
            Ended::Done
        }
        Ending::Done => Ended::Done,
        Ending::Slow => Ended::Slow,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Done,
    Slow,
    Stale(Stamp),
}

struct EventStream {
    session: SessionId,
    context: Context,
    staleness: Staleness,
    mailbox: Mailbox,
    outlet: mpsc::Sender<Bytes>,
    subscription: Option<u64>,
    told: Told,
}

/// Everything that can wake a stream.
enum Input {
    /// The client is gone, or the node is stopping.
    Over,
    Stale(Stamp),
    Slow,
    Pushed(Delivery),
    Beat,
}

impl EventStream {
    /// Tells what comes before live updates.
    async fn open(&mut self, ready: oneshot::Sender<Result<(), Refusal>>) -> ControlFlow<Ending> {
        let stale = *self.staleness.borrow();
        if let Some(since) = stale {
            let _ = ready.send(Ok(()));
            return ControlFlow::Break(Ending::Stale(since));
        }
        match self.look().await? {
            Ok(caught_up) => {
                let _ = ready.send(Ok(()));
                self.write(RETRY.to_owned()).await?;
                self.tell(caught_up).await
            }
            Err(refusal) => {
                let _ = ready.send(Err(refusal));
                ControlFlow::Break(Ending::Done)
            }
        }
    }

    async fn stay(&mut self) -> Ending {
        let period = self.context.keep_alive;
        let mut beats = interval_at(Instant::now() + period, period);
        loop {
            let input = tokio::select! {
                () = self.context.stopping.cancelled() => Input::Over,
                () = self.context.source.hub.stopped() => Input::Over,
                () = self.outlet.closed() => Input::Over,
                since = lost_touch(&mut self.staleness) => Input::Stale(since),
                delivery = self.mailbox.next() => delivery.map_or(Input::Slow, Input::Pushed),
                _ = beats.tick() => Input::Beat,
            };
            let flow = match input {
                Input::Over => ControlFlow::Break(Ending::Done),
                Input::Stale(since) => ControlFlow::Break(Ending::Stale(since)),
                Input::Slow => ControlFlow::Break(Ending::Slow),
                Input::Pushed(delivery) => self.pass_on(delivery).await,
                Input::Beat => self.write(KEEP_ALIVE.to_owned()).await,
            };
            if let ControlFlow::Break(ending) = flow {
                return ending;
            }
        }
    }

    /// Hands on what the hub handed out, and what else is waiting by now, in one write.
    async fn pass_on(&mut self, first: Delivery) -> ControlFlow<Ending> {
        let mut batch = String::new();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(delivery) = next {
            let current = self.subscription == Some(delivery.subscription);
            let news = if current { self.told.take(delivery.push) } else { News::Old };
            match news {
                News::Old => {}
                News::Tell(telling) => append(&mut batch, &telling),
                News::End(telling) => {
                    append(&mut batch, &telling);
                    self.write(batch).await?;
                    return ControlFlow::Break(Ending::Done);
                }
                News::Resync => {
                    self.write(std::mem::take(&mut batch)).await?;
                    match self.look().await? {
                        Ok(caught_up) => self.tell(caught_up).await?,
                        // The client comes back, and resumes.
                        Err(_) => return ControlFlow::Break(Ending::Done),
                    }
                }
            }
            taken += 1;
            next = if taken < TOGETHER_MAX { self.mailbox.try_next() } else { None };
        }
        self.write(batch).await
    }

    /// What the client has to be told before live updates go on.
    async fn look(&mut self) -> ControlFlow<Ending, Result<(CatchUp, Place), Refusal>> {
        let source = self.context.source.clone();
        let place = match self.unless_ended(source.settle(self.session)).await? {
            Ok(place) => place,
            Err(refusal) => return ControlFlow::Continue(Err(refusal)),
        };
        if let Some(subscription) = self.subscription.take() {
            source.hub.unsubscribe(vec![(self.session, subscription)]).await;
        }
        let Ok(subscription) = source.hub.subscribe(self.session, &self.mailbox).await else {
            return ControlFlow::Continue(Err(Refusal::ShuttingDown));
        };
        self.subscription = Some(subscription);
        let from = self.told.point();
        let past = self.unless_ended((source.past)(self.session, from)).await?;
        if from.is_none() && past.session.is_none() {
            let reject = Reject::SessionNotFound(self.session);
            return ControlFlow::Continue(Err(Refusal::Rejected(reject)));
        }
        let now = (source.clock)();
        let caught_up = self.told.catch_up(self.session, &past, false, now);
        ControlFlow::Continue(Ok((caught_up, place)))
    }

    /// Tells the past within the time of one write: whoever is cut off has come further, and the
    /// place is free for somebody else.
    async fn tell(&mut self, (caught_up, _place): (CatchUp, Place)) -> ControlFlow<Ending> {
        let CatchUp { tellings, ended } = caught_up;
        let deadline = Instant::now() + self.context.send;
        for tellings in tellings.chunks(TOGETHER_MAX) {
            if deadline < Instant::now() {
                return ControlFlow::Break(Ending::Slow);
            }
            let mut batch = String::new();
            for telling in tellings {
                append(&mut batch, telling);
            }
            self.write(batch).await?;
        }
        if ended { ControlFlow::Break(Ending::Done) } else { ControlFlow::Continue(()) }
    }

    /// `work`, unless the stream has to end before it is done.
    async fn unless_ended<F: Future>(&mut self, work: F) -> ControlFlow<Ending, F::Output> {
        tokio::select! {
            biased;
            output = work => ControlFlow::Continue(output),
            () = self.context.stopping.cancelled() => ControlFlow::Break(Ending::Done),
            () = self.outlet.closed() => ControlFlow::Break(Ending::Done),
            since = lost_touch(&mut self.staleness) => ControlFlow::Break(Ending::Stale(since)),
            () = self.mailbox.slow.cancelled() => ControlFlow::Break(Ending::Slow),
        }
    }

    /// Writes within bounds of time: a client that does not read must not hold the node back.
    async fn write(&mut self, events: String) -> ControlFlow<Ending> {
        if events.is_empty() {
            return ControlFlow::Continue(());
        }
        let writing = timeout(self.context.send, self.outlet.send(Bytes::from(events)));
        tokio::select! {
            biased;
            written = writing => match written {
                Ok(Ok(())) => ControlFlow::Continue(()),
                Ok(Err(_)) => ControlFlow::Break(Ending::Done),
                Err(_) => ControlFlow::Break(Ending::Slow),
            },
            () = self.context.stopping.cancelled() => ControlFlow::Break(Ending::Done),
            () = self.mailbox.slow.cancelled() => ControlFlow::Break(Ending::Slow),
        }
    }
}

/// One event. JSON has no line breaks of its own, so its text is one line.
fn append(batch: &mut String, telling: &Telling) {
    let Telling { name, point, text } = telling;
    if let Some(Point { version, revision }) = point {
        let revision = revision.map(|revision| format!("-{revision}")).unwrap_or_default();
        batch.push_str(&format!("id: {version}{revision}\n"));
    } else if *name == DELETED {
        batch.push_str(&format!("id: {END}\n"));
    }
    batch.push_str(&format!("event: {name}\ndata: {}\n\n", text.as_str()));
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
