//! What a session may have been at a moment, as far as subscribers were told and answers prove.
//!
//! Nobody saw when a change was committed. It was not before the request for it, or for one before
//! it, was sent; and not after the first subscriber heard of it, or of one after it.

use serde_json::Value;

use super::explain::{command_of, is_told};
use crate::{
    check::{
        act::{Act, Acts},
        state::{born, version},
    },
    history::tape::Update,
    test::run::Run,
};

/// What is known of a session for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Content<'a> {
    Absent,
    Is(&'a Value),
    /// There, and nobody was told how.
    Present,
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Span<'a> {
    content: Content<'a>,
    /// It did not begin earlier.
    from_ns: u64,
    /// It did not end later; `None` where it did not end.
    until_ns: Option<u64>,
}

pub(super) struct Timeline<'a> {
    spans: Vec<Span<'a>>,
}

impl<'a> Timeline<'a> {
    pub(super) fn of(run: &'a Run, acts: &Acts<'a>, session: &str) -> Self {
        let updates = run.tape.sessions.get(session).map_or(&[][..], Vec::as_slice);
        let Some(first) = updates.first() else {
            return Self {
                spans: vec![Span { content: Content::Unknown, from_ns: 0, until_ns: None }],
            };
        };
        let earliest = earliest(updates, acts.on(session));
        let latest = latest(updates);
        let before = if first.version == 1 { Content::Absent } else { Content::Unknown };
        let mut spans = vec![Span { content: before, from_ns: 0, until_ns: latest[0] }];
        for (position, update) in updates.iter().enumerate() {
            let from_ns = earliest[position];
            let until_ns = latest.get(position + 1).copied().flatten();
            let content = update.state.as_ref().map_or(Content::Absent, Content::Is);
            spans.push(Span { content, from_ns, until_ns });
            let gap = match updates.get(position + 1) {
                Some(next) => between(update, next),
                None => after(run, session, update),
            };
            spans.extend(gap.map(|content| Span { content, from_ns, until_ns }));
        }
        Self { spans }
    }

    /// May the session have been like that at some moment of the window?
    pub(super) fn may_be(
        &self,
        (from_ns, until_ns): (u64, u64),
        like_that: impl Fn(Content<'a>) -> bool,
    ) -> bool {
        self.spans.iter().any(|span| {
            span.from_ns <= until_ns
                && span.until_ns.is_none_or(|ended| from_ns <= ended)
                && (span.content == Content::Unknown || like_that(span.content))
        })
    }
}

/// When each update can have been committed at the earliest.
fn earliest(updates: &[Update], acts: &[Act<'_>]) -> Vec<u64> {
    let mut so_far = 0;
    let mut earliest = Vec::with_capacity(updates.len());
    for update in updates {
        let makers = acts.iter().filter(|act| may_be_of(act, update));
        so_far = makers.map(|act| act.from_ns).min().unwrap_or(0).max(so_far);
        earliest.push(so_far);
    }
    earliest
}

/// May the update be the act's effect?
fn may_be_of(act: &Act<'_>, update: &Update) -> bool {
    command_of(update) == Some(act.f) && act.answer.is_none_or(|answer| is_told(answer, update))
}

/// When each update can have been committed at the latest, and never for the one after the last.
fn latest(updates: &[Update]) -> Vec<Option<u64>> {
    let mut so_far = None;
    let mut latest: Vec<Option<u64>> = updates
        .iter()
        .rev()
        .map(|update| {
            so_far = Some(so_far.map_or(update.seen_ns, |known: u64| known.min(update.seen_ns)));
            so_far
        })
        .collect();
    latest.reverse();
    latest
}

/// Is the update certainly what the act was answered with?
pub(super) fn tells_of(act: &Act<'_>, update: &Update, updates: &[Update]) -> bool {
    let (Some(answer), Some(state)) = (act.answer, &update.state) else { return false };
    if version(answer) != Some(update.version) {
        return false;
    }
    match born(answer) {
        Some(birth) => Some(birth) == born(state),
        // A switch is answered without the session's birth.
        None => updates.iter().filter(|other| other.version == update.version).count() == 1,
    }
}

/// What may have been between two updates that follow on each other.
fn between<'a>(update: &Update, next: &Update) -> Option<Content<'a>> {
    match (&update.state, &next.state) {
        (Some(state), Some(after)) if born(state) != born(after) => Some(Content::Unknown),
        (Some(_), Some(_)) => (update.version + 1 != next.version).then_some(Content::Present),
        // A deletion says nothing of the version that it ended.
        (Some(_), None) => Some(Content::Present),
        (None, Some(_)) => (next.version != 1).then_some(Content::Unknown),
        (None, None) => Some(Content::Unknown),
    }
}

/// What may have come after the last update that anybody was told of.
fn after<'a>(run: &Run, session: &str, last: &Update) -> Option<Content<'a>> {
    let nodes = &run.ending.nodes;
    let mut ends = nodes.iter().map(|node| node.sessions.get(session));
    if nodes.is_empty() || !run.ending.recovered {
        return Some(Content::Unknown);
    }
    let ended_so = ends.all(|end| match (&last.state, end) {
        (None, Some(Value::Null)) => true,
        (Some(state), Some(end)) => born(state) == born(end) && version(end) == Some(last.version),
        (None, Some(_)) | (_, None) => false,
    });
    (!ended_so).then_some(Content::Unknown)
}
