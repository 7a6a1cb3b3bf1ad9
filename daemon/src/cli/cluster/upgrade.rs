//! `synckairos cluster upgrade`: the format level, which rises when all nodes run a new version.

use clap::Subcommand;
use http::Method;

use crate::{
    admin::upgrade::{LevelAnswer, UpgradeAnswer},
    cli::{
        CliError, Output,
        operator::{NO_BODY, NodeArgs, block_on},
        print, print_json,
    },
};

const PATH: &str = "/v1/cluster/upgrade";

#[derive(clap::Args)]
pub(super) struct Upgrade {
    #[command(subcommand)]
    command: UpgradeCommand,
}

#[derive(Subcommand)]
enum UpgradeCommand {
    /// Say at which format level the cluster is, and what its nodes understand
    Status(Asked),
    /// Raise the format level to what all nodes understand
    ///
    /// From then on no node of an older version can join or come back: there is no way down.
    Finalize(Asked),
}

#[derive(clap::Args)]
struct Asked {
    #[command(flatten)]
    node: NodeArgs,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Upgrade {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.command {
            UpgradeCommand::Status(asked) => {
                let operator = asked.node.operator()?;
                let answer = block_on(operator.ask(Method::GET, PATH, NO_BODY))?;
                show(&answer, asked.output)
            }
            UpgradeCommand::Finalize(asked) => {
                let operator = asked.node.operator()?;
                let answer: LevelAnswer = block_on(operator.ask(Method::POST, PATH, NO_BODY))?;
                if asked.output == Output::Json {
                    return print_json(&answer);
                }
                let LevelAnswer { before, level } = answer;
                if before == level {
                    print(format_args!("the cluster is at format level {level} already"))
                } else {
                    print(format_args!("the cluster is at format level {level} now (was {before})"))
                }
            }
        }
    }
}

fn show(answer: &UpgradeAnswer, output: Output) -> Result<(), CliError> {
    if output == Output::Json {
        return print_json(answer);
    }
    print(format_args!("format level {}: {}", answer.level, verdict(answer)))?;
    for node in &answer.nodes {
        match node.understands {
            Some(level) => print(format_args!("node {}: understands {level}", node.id))?,
            None => print(format_args!("node {}: did not answer", node.id))?,
        }
    }
    Ok(())
}

fn verdict(answer: &UpgradeAnswer) -> String {
    match answer.possible {
        None => String::from("a node did not answer; bring it back or remove it"),
        Some(possible) if possible == answer.level => String::from("nothing to finalize"),
        Some(possible) => format!(
            "all nodes understand {possible}; `synckairos cluster upgrade finalize` raises it"
        ),
    }
}
