//! `synckairos cluster token create` and `cluster replace`: what a new node needs to join.

use clap::Subcommand;
use http::Method;

use crate::{
    admin::token::{TokenAnswer, TokenOrder},
    cli::{
        CliError, Output, note,
        operator::{NodeArgs, block_on},
        print, print_json,
    },
};

#[derive(clap::Args)]
pub(super) struct Tokens {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Print a token with which one node can join: whoever has it can
    Create(Create),
}

#[derive(clap::Args)]
struct Create {
    #[command(flatten)]
    order: Order,
    /// The node whose place the new one takes
    #[arg(long, value_name = "ID")]
    replaces: Option<u64>,
}

#[derive(clap::Args)]
pub(super) struct Replace {
    /// The node that goes when the new one has caught up
    #[arg(value_name = "OLD")]
    old: u64,
    #[command(flatten)]
    order: Order,
}

#[derive(clap::Args)]
struct Order {
    #[command(flatten)]
    node: NodeArgs,
    /// How long the token is good for: 90s, 30m, 1h, 2d; a week at most
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span_ms)]
    ttl: u64,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Tokens {
    pub(super) fn run(self) -> Result<(), CliError> {
        let TokenCommand::Create(Create { order, replaces }) = self.command;
        order.place(replaces)
    }
}

impl Replace {
    pub(super) fn run(self) -> Result<(), CliError> {
        self.order.place(Some(self.old))
    }
}

impl Order {
    fn place(&self, replaces: Option<u64>) -> Result<(), CliError> {
        let operator = self.node.operator()?;
        let order = TokenOrder { ttl_ms: self.ttl, replaces };
        let answer: TokenAnswer =
            block_on(operator.ask(Method::POST, "/v1/cluster/tokens", Some(&order)))?;
        if self.output == Output::Json {
            return print_json(&answer);
        }
        print(&answer.token)?;
        note(
            "on the new machine: synckairos cluster join TOKEN --data-dir DIR --peer HOST:PORT --http HOST:PORT",
        );
        Ok(())
    }
}

/// A span of time as people write it, in milliseconds.
fn span_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no span; write 90s, 30m, 1h or 2d");
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds * 1_000).filter(|ms| *ms != 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        assert_eq!(span_ms("90s"), Ok(90_000));
        assert_eq!(span_ms("2d"), Ok(172_800_000));
        for wrong in ["", "s", "1", "1x", "0m", "-1h", "1é", "99999999999999999999d"] {
            assert!(span_ms(wrong).is_err(), "{wrong}");
        }
    }
}
