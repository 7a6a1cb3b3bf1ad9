//! A section of the timeline as HTML: a lane per process, time downwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::{choose::Section, lay};
use crate::{
    history::{pair::Outcome, tape::Update},
    report::{
        bands::{Band, Bands, colour},
        escape::escape,
        numbers,
        spans::Span,
        words,
    },
    test::run::Run,
};

/// Of a request or an answer, as much is shown when it is pointed at.
const DETAILS: usize = 360;
/// Between two rows, a longer time is written down.
const GAP_NS: u64 = 100_000_000;

/// More faults are told apart by pointing at them.
const NAMED: usize = 12;

/// What sections share.
pub(super) struct Page<'a> {
    pub(super) run: &'a Run,
    pub(super) spans: &'a [Span<'a>],
    pub(super) bands: &'a Bands,
    /// Positions of operations that something is wrong with.
    pub(super) wrong: &'a BTreeSet<usize>,
    /// Sessions and versions that something is wrong with.
    pub(super) wrong_versions: &'a BTreeSet<(&'a str, u64)>,
}

/// What stands in a lane.
enum Item<'a> {
    Op(usize),
    Update(&'a Update),
    Fault(&'a Band),
}

pub(super) const STYLE: &str = "\
body{max-width:none}.lanes{position:relative;margin-left:116px;border-left:1px solid var(--line)}\
.scroll{overflow-x:auto;border:1px solid var(--line);background:var(--pane);padding:0 0 4px}\
.heads{display:flex;margin-left:116px;position:sticky;top:0;font-size:11px;color:var(--dim)}\
.heads span{flex:1 0 0;padding:3px 4px;white-space:nowrap;overflow:hidden}\
.t,.o,.f{position:absolute;font-size:11px;line-height:15px;top:calc(var(--r)*18px);\
height:calc(var(--h,1)*18px - 2px);box-sizing:border-box;overflow:hidden;white-space:nowrap}\
.t{left:-114px;width:109px;text-align:right;color:var(--dim);font-variant-numeric:tabular-nums}\
.t b{color:var(--doubt);font-weight:500}\
.o{left:calc(100%*var(--l)/var(--n) + 1px);width:calc(100%/var(--n) - 3px);padding:0 4px;\
border-radius:3px;color:#14202b;text-decoration:none}\
.o.ok{background:#a8d3fd}.o.fail{background:#f9c0de}.o.info{background:#ffcf87}\
.o.told{background:#d5dade}.o.open{border-bottom:2px dashed #a05a00}\
.o.bad{outline:2px solid #d60f2c;outline-offset:-1px;z-index:2}\
.o:target{box-shadow:0 0 0 3px #111,0 0 0 5px #ffe100;z-index:3}\
.f{left:0;width:100%;opacity:.1}.g{position:absolute;left:-3px;width:5px;\
top:calc(var(--r)*18px);height:calc(var(--h,1)*18px)}.n{opacity:1;font-size:11px;padding:1px 6px;border-radius:3px;\
color:#fff;margin-right:6px;display:inline-block}details{margin:8px 0}summary{cursor:pointer;padding:4px 0}\
summary b{font-size:15px}";

/// `named` are operations that have an anchor already; each has only one.
pub(super) fn section(page: &Page<'_>, section: &Section, named: &mut BTreeSet<usize>) -> String {
    let (items, intervals) = items(page, section);
    let rows = lay::rows(&intervals);
    let lanes = lanes(page, section);
    let mut html = String::from("<div class=\"scroll\">");
    let width = lanes.len() * 118 + 116;
    // Writing to a string does not fail, here and below.
    let _ = write!(html, "<div style=\"min-width:{width}px\"><div class=\"heads\">");
    for lane in lanes.keys() {
        let _ = write!(html, "<span>{}</span>", head(page, *lane));
    }
    let height = rows.times.len() * 18;
    let _ = writeln!(
        html,
        "</div><div class=\"lanes\" style=\"height:{height}px;--n:{}\">",
        lanes.len().max(1)
    );
    times(&rows.times, &mut html);
    for (item, (first, last)) in items.iter().zip(&rows.of) {
        let place = format!("--r:{first};--h:{}", last - first + 1);
        match item {
            Item::Fault(band) => {
                let (colour, title) = (colour(band.trouble), escape(&band.title));
                let _ = writeln!(
                    html,
                    "<i class=\"f\" style=\"{place};background:{colour}\" title=\"{title}\"></i>\
                     <i class=\"g\" style=\"{place};background:{colour}\" title=\"{title}\"></i>"
                );
            }
            Item::Update(update) => html.push_str(&told(page, update, &place)),
            Item::Op(position) => {
                let lane = lane(page, *position);
                let place = format!("{place};--l:{}", lanes.get(&lane).copied().unwrap_or(0));
                let anchor = named.insert(*position);
                html.push_str(&operation(page, section, *position, (&place, anchor)));
            }
        }
    }
    html.push_str("</div></div></div>\n");
    let bands = items.iter().filter_map(|item| match item {
        Item::Fault(band) => Some(*band),
        Item::Op(_) | Item::Update(_) => None,
    });
    names(&bands.collect::<Vec<_>>()) + &html
}

/// Everything that stands in the section, with when it began and ended.
fn items<'a>(page: &Page<'a>, section: &Section) -> (Vec<Item<'a>>, Vec<(u64, u64)>) {
    let spans: Vec<&Span<'a>> =
        section.ops.iter().filter_map(|position| page.spans.get(*position)).collect();
    let from = spans.iter().map(|span| span.op.invoked_ns).min().unwrap_or(0);
    let last_began = spans.iter().map(|span| span.op.invoked_ns).max().unwrap_or(0);
    let ended = spans.iter().filter_map(|span| span.ended_ns).max().unwrap_or(0);
    let to = ended.max(last_began);
    let (mut items, mut intervals) = (Vec::new(), Vec::new());
    for band in page.bands.all.iter().filter(|band| band.from_ns <= to && from <= band.to_ns) {
        items.push(Item::Fault(band));
        intervals.push((band.from_ns.max(from), band.to_ns.min(to)));
    }
    for (position, span) in section.ops.iter().zip(&spans) {
        items.push(Item::Op(*position));
        intervals.push((span.op.invoked_ns, span.ended_ns.unwrap_or(to)));
    }
    let updates = section.session.as_ref().and_then(|session| page.run.tape.sessions.get(session));
    let mut next = 0;
    for update in updates.into_iter().flatten() {
        if from <= update.seen_ns && update.seen_ns <= to {
            // Each has a row of its own, in their order.
            next = update.seen_ns.max(next + 1);
            items.push(Item::Update(update));
            intervals.push((next, next));
        }
    }
    (items, intervals)
}

/// A process that must not be used again goes on as another one, in the same lane. `None` is what
/// subscribers were told.
fn lane(page: &Page<'_>, position: usize) -> Option<u32> {
    let process = page.spans.get(position).map_or(0, |span| span.op.process);
    Some(process % page.run.plan.concurrency.max(1))
}

/// Which come first.
fn lanes(page: &Page<'_>, section: &Section) -> BTreeMap<Option<u32>, usize> {
    let mut lanes: BTreeSet<Option<u32>> =
        section.ops.iter().map(|position| lane(page, *position)).collect();
    if section.session.is_some() {
        lanes.insert(None);
    }
    lanes.into_iter().zip(0..).collect()
}

fn head(page: &Page<'_>, lane: Option<u32>) -> String {
    let Some(number) = lane else { return String::from("first heard by subscribers") };
    let next = number.saturating_add(page.run.plan.concurrency.max(1));
    format!("process {number}, then {next}…")
}

fn times(times: &[(u64, u64)], html: &mut String) {
    let mut before = None;
    for (row, (first, last)) in times.iter().enumerate() {
        let gap = before.map_or(0, |before| first.saturating_sub(before));
        let label = if GAP_NS <= gap {
            format!("<b>+{}</b> {}", numbers::lasted(gap), numbers::seconds(*first))
        } else {
            numbers::seconds(*first)
        };
        let _ = writeln!(html, "<span class=\"t\" style=\"--r:{row}\">{label}</span>");
        before = Some(*last);
    }
}

/// The faults of a section.
fn names(bands: &[&Band]) -> String {
    let mut html = String::new();
    for band in bands.iter().take(NAMED) {
        let _ = write!(
            html,
            "<span class=\"n\" style=\"background:{}\" title=\"{}\">{} {} s to {} s</span>",
            colour(band.trouble),
            escape(&band.title),
            escape(&band.name),
            numbers::seconds(band.from_ns),
            numbers::seconds(band.to_ns)
        );
    }
    if NAMED < bands.len() {
        let _ = write!(html, "and {} more, as shaded rows", bands.len() - NAMED);
    }
    if html.is_empty() { html } else { format!("<p>{html}</p>\n") }
}

fn operation(
    page: &Page<'_>,
    section: &Section,
    position: usize,
    (place, anchor): (&str, bool),
) -> String {
    let Some(span) = page.spans.get(position) else { return String::new() };
    let op = span.op;
    let mut classes = format!("o {}", span.class());
    if op.is_open() {
        classes.push_str(" open");
    }
    if page.wrong.contains(&position) {
        classes.push_str(" bad");
    }
    let key = op.key.as_deref().filter(|_| section.session.is_none());
    let key = key.map(|key| format!(" {}", words::id(key))).unwrap_or_default();
    let outcome = numbers::short(&words::outcome(&op.outcome), 60);
    let id = if anchor { format!(" id=\"op-{}\"", op.index) } else { String::new() };
    format!(
        "<a class=\"{classes}\"{id} href=\"#op-{}\" style=\"{place}\" title=\"{}\"><b>{}</b>{} {} {}</a>\n",
        op.index,
        escape(&details(span)),
        op.f.as_str(),
        escape(&key),
        escape(&op.node),
        escape(&outcome)
    )
}

/// Everything of an operation.
fn details(span: &Span<'_>) -> String {
    let op = span.op;
    let mut text = format!("operation {}: {}", op.index, op.f.as_str());
    text.extend(op.key.iter().map(|key| format!(" {key}")));
    text.push_str(&format!(
        "\nprocess {} asked {} at {} s",
        op.process,
        op.node,
        numbers::seconds(op.invoked_ns)
    ));
    text.extend(op.idem.iter().map(|key| format!("\nidempotency key {key}")));
    if !op.request.is_null() {
        text.push_str(&format!("\nrequest {}", numbers::short(&op.request.to_string(), DETAILS)));
    }
    match (span.ended_ns, span.lasted_ns()) {
        (Some(at), Some(lasted)) => {
            text.push_str(&format!(
                "\nended at {} s, after {}",
                numbers::seconds(at),
                numbers::lasted(lasted)
            ));
        }
        (_, _) => text.push_str("\nit never ended"),
    }
    match &op.outcome {
        Outcome::Ok { status, value } => {
            text.push_str(&format!(
                "\nok {status} {}",
                numbers::short(&value.to_string(), DETAILS)
            ));
        }
        Outcome::Fail { status, error } => {
            let status = status.map(|status| status.to_string()).unwrap_or_default();
            text.push_str(&format!("\nfail {status} {}: {}", words::failure(error), error.message));
        }
        Outcome::Info { error } => {
            text.push_str(&format!("\ninfo {}: {}", words::failure(error), error.message));
        }
    }
    text
}

fn told(page: &Page<'_>, update: &Update, place: &str) -> String {
    let bad = page.wrong_versions.contains(&(update.session.as_str(), update.version));
    let cause = update.cause["type"].as_str().unwrap_or_default();
    let title = format!(
        "version {} at revision {}\nfirst heard by {} at {} s\ncause {}",
        update.version,
        update.revision,
        update.subscriber,
        numbers::seconds(update.seen_ns),
        numbers::short(&update.cause.to_string(), DETAILS)
    );
    format!(
        "<span class=\"o told{}\" style=\"{place};--l:0\" title=\"{}\"><b>v{}</b> {} r{}</span>\n",
        if bad { " bad" } else { "" },
        escape(&title),
        update.version,
        escape(cause),
        update.revision
    )
}
