//! `ledger`: what was tested so far, against what a release needs.

use std::{fmt::Write, fs, path::PathBuf};

use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};

use super::{CliError, Ended, print};
use crate::{
    check::verdict::Validity,
    ledger::{Entry, Totals, read},
};

#[derive(Args)]
pub(super) struct Ledger {
    /// Ledgers to add up
    #[arg(value_name = "FILE", default_value = "store/ledger.jsonl")]
    ledgers: Vec<PathBuf>,
    /// Write it to this file as well, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

impl Ledger {
    pub(super) fn run(self) -> Result<Ended, CliError> {
        let mut entries = Vec::new();
        for ledger in &self.ledgers {
            entries.extend(read(ledger)?);
        }
        let totals = Totals::of(&entries);
        let text = markdown(&totals, &entries).map_err(std::io::Error::other)?;
        print::line(&text)?;
        if let Some(file) = &self.markdown {
            fs::write(file, text)?;
        }
        Ok(match (totals.invalid, totals.against_goals().iter().all(|(_, is, goal)| goal <= is)) {
            (0, true) => Ended::Judged(Validity::Valid),
            (0, false) => Ended::Judged(Validity::Unknown),
            (_, _) => Ended::Judged(Validity::Invalid),
        })
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    table
}

fn markdown(totals: &Totals, entries: &[Entry]) -> Result<String, std::fmt::Error> {
    let mut text = String::from("# Ledger of the fault-injection suite\n\n");
    let (invalid, unknown) = (totals.invalid, totals.unknown);
    writeln!(
        text,
        "{} tests, {} operations; {invalid} invalid, {unknown} unknown. Only valid tests count below.\n",
        totals.tests, totals.ops
    )?;
    let mut goals = table(&["", "so far", "a release needs"]);
    for (name, is, goal) in totals.against_goals() {
        goals.add_row([name.to_owned(), is.to_string(), goal.to_string()]);
    }
    writeln!(text, "{goals}\n")?;
    let mut families = table(&["fault", "seen to bite"]);
    for (family, bit) in &totals.bit {
        families.add_row([family.clone(), bit.to_string()]);
    }
    writeln!(text, "{families}\n")?;
    let mut tests = table(&[
        "when",
        "test",
        "seed",
        "nodes",
        "network",
        "disk",
        "s",
        "operations",
        "faults",
        "verdict",
    ]);
    for entry in entries {
        let word = |value: Result<serde_json::Value, _>| -> String {
            let _: &Result<_, serde_json::Error> = &value;
            value.ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let mut verdict = word(serde_json::to_value(entry.valid));
        if !entry.not_valid.is_empty() {
            write!(verdict, ": {}", entry.not_valid.join(", "))?;
        }
        tests.add_row([
            entry.at.clone(),
            entry.name.clone(),
            entry.seed.to_string(),
            entry.nodes.to_string(),
            word(serde_json::to_value(entry.env)),
            word(serde_json::to_value(entry.disk)),
            entry.seconds.to_string(),
            entry.ops.to_string(),
            entry.bit.values().sum::<u64>().to_string(),
            verdict,
        ]);
    }
    writeln!(text, "{tests}")?;
    Ok(text)
}
