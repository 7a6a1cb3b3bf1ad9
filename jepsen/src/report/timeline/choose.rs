//! Which operations a page can show, of a test that had more of them than anybody can look at.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    history::op::F,
    report::{anomalies::Found, bands::Bands, numbers, spans::Span, words},
};

/// A shorter test is shown whole.
const WHOLE: usize = 1_200;
/// Before and after an operation that is looked at.
const AROUND: usize = 25;
/// Longer sections are cut.
const SECTION_MOST: usize = 400;
const WINDOWS_MOST: usize = 16;
/// Anomalies that windows are drawn around, and operations of each.
const ANOMALIES_MOST: usize = 60;
const OPS_MOST: usize = 6;
const SESSIONS_WRONG: usize = 6;
const SESSIONS_BUSY: usize = 3;
const FAULTS_MOST: usize = 12;
const FIRST: usize = 200;

/// Operations that are looked at together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: String,
    /// Why it is shown, and what of it is not.
    pub(super) why: String,
    /// Positions, in order.
    pub(super) ops: Vec<usize>,
    /// Where it is about one session.
    pub(super) session: Option<String>,
    /// Something is wrong in it.
    pub(super) wrong: bool,
}

/// What is wrong first, then the sessions that it is about, then faults, then the beginning.
pub(super) fn choose(spans: &[Span<'_>], found: &[Found<'_>], bands: &Bands) -> Vec<Section> {
    if spans.is_empty() {
        return Vec::new();
    }
    if spans.len() <= WHOLE {
        let why = String::from("every operation that there was");
        let all = (0..spans.len()).collect();
        return vec![section(String::from("The whole test"), why, all)];
    }
    let mut sections = around_anomalies(spans, found);
    sections.extend(sessions(spans, found));
    sections.extend(around_faults(spans, bands));
    let why = format!("the first {} operations", numbers::count(FIRST));
    sections.push(section(String::from("The beginning"), why, (0..FIRST).collect()));
    sections
}

const fn section(title: String, why: String, ops: Vec<usize>) -> Section {
    Section { title, why, ops, session: None, wrong: false }
}

fn around_anomalies(spans: &[Span<'_>], found: &[Found<'_>]) -> Vec<Section> {
    let mut focus: BTreeSet<usize> = BTreeSet::new();
    for found in found.iter().take(ANOMALIES_MOST) {
        focus.extend(found.ops.iter().take(OPS_MOST));
        if found.ops.is_empty() {
            focus.extend(found.anomaly.time_ns.map(|at_ns| nearest(spans, at_ns)));
        }
    }
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for position in focus {
        let (from, to) = range(spans, position);
        match ranges.last_mut() {
            Some(last) if from <= last.1 && to - last.0 <= SECTION_MOST => last.1 = to,
            _ => ranges.push((from, to)),
        }
    }
    let left_out = ranges.len().saturating_sub(WINDOWS_MOST);
    ranges.truncate(WINDOWS_MOST);
    let window = |(number, (from, to)): (usize, &(usize, usize))| {
        let mut why = format!("{AROUND} operations before and after what is wrong");
        if 0 < left_out && number + 1 == WINDOWS_MOST {
            why.push_str(&format!("; {left_out} later places like this are left out"));
        }
        let title = format!("Something is wrong: {}", when(spans, *from, *to));
        Section { wrong: true, ..section(title, why, with_those_under_way(spans, *from, *to)) }
    };
    ranges.iter().enumerate().map(window).collect()
}

fn around_faults(spans: &[Span<'_>], bands: &Bands) -> Vec<Section> {
    let mut seen = BTreeSet::new();
    // The first of each kind says most.
    let mut first: Vec<_> =
        bands.all.iter().filter(|band| seen.insert(words_of(&band.name))).collect();
    let kinds = first.len();
    first.truncate(FAULTS_MOST);
    let fault = |(number, band): (usize, &&crate::report::bands::Band)| {
        let (from, to) = range(spans, nearest(spans, band.from_ns));
        let mut why = format!("{AROUND} operations before and after it began");
        if FAULTS_MOST < kinds && number + 1 == FAULTS_MOST {
            why.push_str("; other kinds that began later are left out");
        }
        let title = format!("Fault: {} at {} s", band.name, numbers::seconds(band.from_ns));
        section(title, why, with_those_under_way(spans, from, to))
    };
    first.iter().enumerate().map(fault).collect()
}

/// Family and form, without the nodes.
fn words_of(name: &str) -> String {
    name.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Those that something is wrong with, then the busiest.
fn sessions(spans: &[Span<'_>], found: &[Found<'_>]) -> Vec<Section> {
    let by_session = by_session(spans);
    let mut wrong: Vec<&str> = Vec::new();
    for session in found.iter().filter_map(|found| found.anomaly.session.as_deref()) {
        if !wrong.contains(&session) && by_session.contains_key(session) {
            wrong.push(session);
        }
    }
    wrong.truncate(SESSIONS_WRONG);
    let ok = |ops: &Vec<usize>| ops.iter().filter(|at| spans[**at].class() == "ok").count();
    let mut busy: Vec<(&str, usize)> =
        by_session.iter().map(|(session, ops)| (*session, ok(ops))).collect();
    busy.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let busy = busy.into_iter().map(|(session, _)| session).filter(|busy| !wrong.contains(busy));
    let busy: Vec<&str> = busy.take(SESSIONS_BUSY).collect();
    let mut sections = Vec::new();
    for (session, is_wrong) in
        wrong.iter().map(|id| (id, true)).chain(busy.iter().map(|id| (id, false)))
    {
        let all = &by_session[session];
        let about = found.iter().filter(|found| found.anomaly.session.as_deref() == Some(session));
        let ops = near(all, about.flat_map(|found| found.ops.iter().copied()).min());
        let mut why =
            if is_wrong { "something is wrong with it" } else { "one of the busiest" }.to_owned();
        if ops.len() < all.len() {
            why.push_str(&format!(
                "; {} of its {} operations",
                ops.len(),
                numbers::count(all.len())
            ));
        }
        sections.push(Section {
            session: Some((*session).to_owned()),
            wrong: is_wrong,
            ..section(format!("Session {}", words::id(session)), why, ops)
        });
    }
    sections
}

/// As many as a section holds, with this one in the middle where there are more.
fn near(all: &[usize], focus: Option<usize>) -> Vec<usize> {
    let middle = focus.map_or(0, |focus| all.partition_point(|position| *position < focus));
    let from = middle.saturating_sub(SECTION_MOST / 2).min(all.len().saturating_sub(SECTION_MOST));
    all.iter().skip(from).take(SECTION_MOST).copied().collect()
}

fn by_session<'a>(spans: &[Span<'a>]) -> BTreeMap<&'a str, Vec<usize>> {
    let mut by_session: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, span) in spans.iter().enumerate() {
        let commands = span.op.request["commands"].as_array().filter(|_| span.op.f == F::Batch);
        let batch = commands.into_iter().flatten();
        let named = batch.filter_map(|command| command["session_id"].as_str());
        let named: BTreeSet<&str> = named.chain(span.op.key.as_deref()).collect();
        for session in named {
            by_session.entry(session).or_default().push(position);
        }
    }
    by_session
}

fn range(spans: &[Span<'_>], position: usize) -> (usize, usize) {
    (position.saturating_sub(AROUND), (position + AROUND + 1).min(spans.len()))
}

/// The first that began then or later, else the last.
fn nearest(spans: &[Span<'_>], at_ns: u64) -> usize {
    let position = spans.partition_point(|span| span.op.invoked_ns < at_ns);
    position.min(spans.len().saturating_sub(1))
}

/// Those that began before and ended within it belong to it, too.
fn with_those_under_way(spans: &[Span<'_>], from: usize, to: usize) -> Vec<usize> {
    let began_ns = spans.get(from).map_or(0, |span| span.op.invoked_ns);
    let under_way = spans.iter().take(from).enumerate();
    let under_way = under_way.filter(|(_, span)| span.ended_ns.is_some_and(|at| began_ns <= at));
    under_way.map(|(position, _)| position).chain(from..to).collect()
}

fn when(spans: &[Span<'_>], from: usize, to: usize) -> String {
    let at = |position: usize| {
        numbers::seconds(spans.get(position).map_or(0, |span| span.op.invoked_ns))
    };
    format!("{} s to {} s", at(from), at(to.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{
            example::Example,
            verdict::{Anomaly, Verdict},
        },
        nemesis::Trouble,
        report::{anomalies, spans},
        test::run::Run,
    };

    /// A session `t` first, then many switches of `s`.
    fn long() -> Run {
        let mut example = Example::started();
        example.create("t", 250);
        for number in 0..2_000 {
            example.write(F::Switch, "s", 300 + number * 10);
        }
        example.fault(Trouble::Kill, &["n1"], (15_000, 15_500));
        example.fault(Trouble::Kill, &["n2"], (16_000, 16_500));
        example.run()
    }

    fn titles(sections: &[Section]) -> Vec<&str> {
        sections.iter().map(|section| section.title.as_str()).collect()
    }

    #[test]
    fn a_short_test_is_shown_whole_and_none_not_at_all() {
        let run = Example::started().run();
        let spans = spans::of(&run);
        let sections = choose(&spans, &[], &Bands::default());
        assert_eq!((titles(&sections), sections[0].ops.len()), (vec!["The whole test"], 2));
        assert_eq!(choose(&[], &[], &Bands::default()), []);
    }

    #[test]
    fn what_is_wrong_comes_first_and_nothing_grows_without_bound() {
        let run = long();
        let spans = spans::of(&run);
        let of = |position: usize| spans[position].op.index;
        let verdicts = [Verdict::of(
            "stream",
            vec![
                Anomaly::new("a").session("s").ops([of(1_000)]),
                Anomaly::new("b").session("s").ops([of(1_030)]),
                Anomaly::new("c").session("nobody").time(spans[500].op.invoked_ns),
            ],
        )];
        let found = anomalies::of(&verdicts, &spans);
        let sections = choose(&spans, &found, &Bands::of(&run));
        let expected = [
            "Something is wrong: 5.020 s to 5.520 s",
            "Something is wrong: 10.020 s to 10.820 s",
            "Session s",
            "Session t",
            "Fault: kill plain n1 at 15.000 s",
            "The beginning",
        ];
        assert_eq!(titles(&sections), expected);
        assert_eq!(sections[1].ops, (975..1_056).collect::<Vec<_>>(), "both in one");
        assert!(sections[2].ops.contains(&1_000) && sections[2].wrong && !sections[3].wrong);
        assert_eq!(sections[2].why, "something is wrong with it; 400 of its 2,002 operations");
        let many = (0..2_000).map(|position| Anomaly::new("x").ops([of(position)]));
        let verdicts = [Verdict::of("stream", many.collect())];
        let sections = choose(&spans, &anomalies::of(&verdicts, &spans), &Bands::of(&run));
        assert!(sections.iter().map(|section| section.ops.len()).sum::<usize>() < 5_000);
    }

    #[test]
    fn those_under_way_are_shown() {
        let mut example = Example::started();
        example.open(F::Pause, "s", (300, 9_000));
        for number in 0..1_500 {
            example.write(F::Switch, "s", 310 + number * 10);
        }
        let run = example.run();
        let spans = spans::of(&run);
        assert_eq!(with_those_under_way(&spans, 100, 103), [2, 100, 101, 102]);
        assert_eq!(with_those_under_way(&spans, 1_000, 1_001), [1_000]);
        assert_eq!((nearest(&spans, 0), nearest(&spans, u64::MAX)), (0, 1_502));
    }
}
