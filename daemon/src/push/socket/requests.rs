//! What a client may ask for on its socket, and how a session's stream begins there.

use std::ops::ControlFlow;

use synckairos_protocol::{
    error::Kind,
    ids::SessionId,
    reject::Reject,
    wire::ws::{ClientMessage, ServerMessage},
};

use super::{
    Begin, CANNOT_READ, Conversation, Ending, GONE, STOPPING, TOO_SLOW, Transport, Watched,
};
use crate::{
    push::{
        lost_touch, messages,
        told::{CatchUp, Point, Told},
    },
    sessions::refusal::Refusal,
};

impl<T: Transport> Conversation<'_, T> {
    pub(super) async fn answer(&mut self, message: ClientMessage) -> ControlFlow<Ending> {
        match message {
            ClientMessage::Ping => {
                let timestamp = self.now();
                self.say(&ServerMessage::Pong { timestamp }).await
            }
            ClientMessage::Reconnect => self.sync_on_request().await,
            ClientMessage::Resume { session_id, version, revision } => {
                let after = Some(Point { version, revision });
                self.several |= session_id != self.main;
                if self.has_room_for(session_id).await? {
                    self.begin(session_id, Begin { after, snapshot: false }).await?;
                }
                ControlFlow::Continue(())
            }
            ClientMessage::Subscribe { session_id, since, revision, snapshot } => {
                let after = since.map(|version| Point { version, revision });
                self.subscribe(session_id, Begin { after, snapshot }).await
            }
            ClientMessage::Unsubscribe { session_id } => {
                self.several = true;
                self.unwatch(session_id).await;
                let timestamp = self.now();
                let session_id = session_id.to_string();
                self.say(&ServerMessage::Unsubscribed { session_id, timestamp }).await
            }
        }
    }

    async fn subscribe(&mut self, session: SessionId, begin: Begin) -> ControlFlow<Ending> {
        self.several = true;
        if !self.has_room_for(session).await? {
            return ControlFlow::Continue(());
        }
        // Who resumes gets a place when its history is read.
        if begin.after.is_none() && !self.watched.contains_key(&session) {
            self.watch(session, Told::default()).await?;
        }
        let (session_id, timestamp) = (session.to_string(), self.now());
        self.say(&ServerMessage::Subscribed { session_id, timestamp }).await?;
        self.begin(session, begin).await
    }

    /// Says so where there is none.
    async fn has_room_for(&mut self, session: SessionId) -> ControlFlow<Ending, bool> {
        let max = self.context.subscriptions_max;
        if self.watched.contains_key(&session) || self.watched.len() < max {
            return ControlFlow::Continue(true);
        }
        let message = format!(
            "this socket watches {max} sessions, as many as it may \
             (http.subscriptions_per_socket_max); unsubscribe from one, or open another socket"
        );
        self.say_error(Kind::CapacityExceeded, message, Some(session)).await?;
        ControlFlow::Continue(false)
    }

    /// Takes a place in the hub, in exchange for the one that the socket may have.
    pub(super) async fn watch(&mut self, session: SessionId, told: Told) -> ControlFlow<Ending> {
        self.unwatch(session).await;
        self.mailbox.resize(self.watched.len() + 1);
        let hub = self.context.source.hub.clone();
        match hub.subscribe(session, &self.mailbox).await {
            Ok(subscription) => {
                self.watched.insert(session, Watched { subscription, told });
                ControlFlow::Continue(())
            }
            Err(_) => ControlFlow::Break(STOPPING),
        }
    }

    pub(super) async fn unwatch(&mut self, session: SessionId) {
        if let Some(watched) = self.watched.remove(&session) {
            let hub = self.context.source.hub.clone();
            hub.unsubscribe(vec![(session, watched.subscription)]).await;
        }
    }

    /// Tells what comes before live updates.
    pub(super) async fn begin(&mut self, session: SessionId, begin: Begin) -> ControlFlow<Ending> {
        match begin.after {
            Some(point) => {
                let told = Told::up_to(Some(point));
                let caught_up = self.catch_up(session, told, begin.snapshot).await?;
                self.settle_failure(session, caught_up, true).await
            }
            None if begin.snapshot => {
                let caught_up = self.catch_up(session, Told::default(), true).await?;
                if let Ok(false) = caught_up {
                    let reject = Refusal::Rejected(Reject::SessionNotFound(session));
                    return self.say_refusal(session, &reject).await;
                }
                self.settle_failure(session, caught_up, false).await
            }
            None => ControlFlow::Continue(()),
        }
    }

    /// Changes were skipped: what is missing, or the state as it is now.
    pub(super) async fn resync(&mut self, session: SessionId) -> ControlFlow<Ending> {
        let Some(watched) = self.watched.get(&session) else { return ControlFlow::Continue(()) };
        let told = watched.told;
        let caught_up = self.catch_up(session, told, false).await?;
        self.settle_failure(session, caught_up, true).await
    }

    /// Says why the past cannot be told. A client that relies on it is sent elsewhere.
    async fn settle_failure(
        &mut self,
        session: SessionId,
        caught_up: Result<bool, Refusal>,
        relies_on_it: bool,
    ) -> ControlFlow<Ending> {
        let Err(refusal) = caught_up else { return ControlFlow::Continue(()) };
        self.say_refusal(session, &refusal).await?;
        if relies_on_it { ControlFlow::Break(CANNOT_READ) } else { ControlFlow::Continue(()) }
    }

    /// Tells everything after `told`, or the state; false where there is no such session.
    async fn catch_up(
        &mut self,
        session: SessionId,
        told: Told,
        state: bool,
    ) -> ControlFlow<Ending, Result<bool, Refusal>> {
        let source = self.context.source.clone();
        let place = match self.unless_ended(source.settle(session)).await? {
            Ok(place) => place,
            Err(refusal) => return ControlFlow::Continue(Err(refusal)),
        };
        // Anew, so that its mailbox holds nothing from before the history is read.
        self.watch(session, told).await?;
        let past = self.unless_ended((source.past)(session, told.point())).await?;
        let now = self.now();
        let Some(watched) = self.watched.get_mut(&session) else {
            return ControlFlow::Continue(Ok(false));
        };
        let CatchUp { tellings, ended } = watched.told.catch_up(session, &past, state, now);
        let known = !tellings.is_empty() || past.session.is_some();
        drop(past);
        let texts = tellings.into_iter().map(|telling| telling.text).collect();
        self.write(texts).await?;
        drop(place);
        if ended {
            if !self.several {
                return ControlFlow::Break(GONE);
            }
            self.unwatch(session).await;
        }
        ControlFlow::Continue(Ok(known))
    }

    /// `work`, unless the conversation has to end before it is done.
    async fn unless_ended<F: Future>(&mut self, work: F) -> ControlFlow<Ending, F::Output> {
        tokio::select! {
            biased;
            output = work => ControlFlow::Continue(output),
            () = self.context.stopping.cancelled() => ControlFlow::Break(STOPPING),
            since = lost_touch(&mut self.staleness) => ControlFlow::Break(Ending::Stale(since)),
            () = self.mailbox.slow.cancelled() => ControlFlow::Break(TOO_SLOW),
        }
    }

    /// The client asked for the state, as v2 lets it.
    async fn sync_on_request(&mut self) -> ControlFlow<Ending> {
        let session = self.main;
        let read = (self.context.source.read)(session);
        let refusal = match self.unless_ended(read).await? {
            Ok(Some(state)) => {
                if let Some(watched) = self.watched.get_mut(&session) {
                    watched.told.synced(state.version);
                }
                let sync = messages::sync(&state, None, None, self.now());
                return self.write(vec![sync]).await;
            }
            Ok(None) => Refusal::Rejected(Reject::SessionNotFound(session)),
            Err(refusal) => refusal,
        };
        self.say_refusal(session, &refusal).await
    }

    pub(super) async fn say_faulty(&mut self, fault: &str) -> ControlFlow<Ending> {
        self.say_error(Kind::Validation, fault.to_owned(), None).await
    }

    async fn say_refusal(&mut self, session: SessionId, refusal: &Refusal) -> ControlFlow<Ending> {
        // v2's clients know of one session only, and get v2's message.
        let named = self.several.then_some(session);
        self.say_error(refusal.kind(), refusal.to_string(), named).await
    }

    async fn say_error(
        &mut self,
        kind: Kind,
        message: String,
        session: Option<SessionId>,
    ) -> ControlFlow<Ending> {
        let code = String::from(kind.meaning().code);
        let session_id = session.map(|session| session.to_string());
        self.say(&ServerMessage::Error { code, message, session_id }).await
    }
}
