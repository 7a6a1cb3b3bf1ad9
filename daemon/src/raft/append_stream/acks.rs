//! Which acknowledgements openraft may be told of.
//!
//! openraft takes the time at which an append was sent for a time at which its peer still followed,
//! once that append is acknowledged; reads rest on it. But it ends every append under way whose
//! last entry is not beyond the acknowledged one, also one without entries that was sent later and
//! may never arrive. A leader that stood still for seconds and finds old acknowledgements when it
//! wakes, sends such an append when the first of them commits something, takes the next old one
//! for its acknowledgement, and answers reads in place of who leads by then (openraft
//! 0.10.0-alpha.37, `InflightAppendQueue::drain_acked`). So an acknowledgement is held back while a
//! later append is under way that it would end; that one's own says the same a moment later.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_util::{Stream, StreamExt, stream};
use synckairos_raft_store::raft_types::LogId;

use crate::raft::messages::AppendRequest;

#[derive(Default)]
pub(super) struct Acks {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last entry of each append that was taken and not acknowledged, in order.
    under_way: VecDeque<Option<LogId>>,
    /// An acknowledgement was handed to openraft, which may not have looked at it yet. What it
    /// would send meanwhile counts as sent before.
    handed_over: bool,
    /// Who wants to send the next append.
    waiting: Option<Waker>,
}

impl Acks {
    /// Takes note of each append as openraft yields it.
    pub(super) fn watch<S>(
        self: &Arc<Self>,
        mut requests: S,
    ) -> impl Stream<Item = AppendRequest> + Send + Unpin + 'static
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
    {
        let acks = Arc::clone(self);
        stream::poll_fn(move |context| acks.poll(&mut requests, context))
    }

    fn poll<S>(&self, requests: &mut S, context: &mut Context<'_>) -> Poll<Option<AppendRequest>>
    where
        S: Stream<Item = AppendRequest> + Unpin,
    {
        let mut state = self.lock();
        if state.handed_over {
            state.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        // Under the lock: nothing is handed over between openraft's note of the time and ours.
        let polled = Pin::new(requests).poll_next_unpin(context);
        if let Poll::Ready(Some(request)) = &polled {
            let last = request.entries.last().map(|entry| entry.log_id);
            state.under_way.push_back(last.or(request.prev_log_id));
        }
        polled
    }

    /// The oldest append under way was acknowledged: up to here the logs match. May openraft be
    /// told now? If so, it must call [`Acks::release`] before it is told of the next one.
    pub(super) fn may_be_told(&self, matched: Option<&LogId>) -> bool {
        let mut state = self.lock();
        state.under_way.pop_front();
        let ends_others = state.under_way.iter().any(|last| last.as_ref() <= matched);
        state.handed_over = !ends_others;
        !ends_others
    }

    /// openraft has looked at what it was handed.
    pub(super) fn release(&self) {
        let mut state = self.lock();
        state.handed_over = false;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use openraft::entry::RaftEntry;
    use synckairos_raft_store::raft_types::{Entry, Vote};

    use super::*;
    use synckairos_raft_store::wire::LogIdV1;

    fn at(index: u64) -> LogId {
        LogIdV1 { term: 1, index }.into()
    }

    /// One that brings the entries after `prev` up to `last`, and one without any where they are
    /// the same.
    fn append(prev: u64, last: u64) -> AppendRequest {
        let entries = (prev + 1..=last).map(|index| Entry::new_blank(at(index)));
        AppendRequest {
            vote: Vote::new(1, 1),
            prev_log_id: Some(at(prev)),
            entries: entries.collect(),
            leader_commit: None,
        }
    }

    #[test]
    fn an_old_acknowledgement_does_not_stand_for_an_append_that_was_sent_since() {
        let acks = Arc::new(Acks::default());
        let mut requests = acks.watch(stream::iter([append(4, 5), append(5, 5), append(5, 6)]));
        let mut take = || requests.next().now_or_never();
        assert!(take().is_some_and(|request| request.is_some()));
        assert!(take().is_some_and(|request| request.is_some()));
        assert!(!acks.may_be_told(Some(&at(5))), "the second one is still under way");
        assert!(take().is_some_and(|request| request.is_some()), "and sending goes on");
        assert!(acks.may_be_told(Some(&at(5))), "now it is not");
        acks.release();
        assert!(acks.may_be_told(Some(&at(6))));
    }

    #[test]
    fn nothing_is_sent_while_openraft_looks_at_an_acknowledgement() {
        let acks = Arc::new(Acks::default());
        let mut requests = acks.watch(stream::iter([append(4, 5), append(5, 5)]));
        assert!(requests.next().now_or_never().is_some());
        assert!(acks.may_be_told(Some(&at(5))));
        assert!(requests.next().now_or_never().is_none());
        acks.release();
        assert!(requests.next().now_or_never().is_some());
    }
}
