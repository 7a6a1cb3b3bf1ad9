//! `synckairos cluster transfer-leader` and `cluster step-down`.

use http::Method;

use crate::{
    admin::members::{LeaderAnswer, Transfer},
    cli::{
        CliError, Output,
        operator::{NO_BODY, NodeArgs, block_on},
        print, print_json,
    },
};

#[derive(clap::Args)]
pub(super) struct TransferLeader {
    /// The voter that is to lead
    #[arg(value_name = "ID")]
    to: u64,
    #[command(flatten)]
    node: NodeArgs,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(clap::Args)]
pub(super) struct StepDown {
    #[command(flatten)]
    node: NodeArgs,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl TransferLeader {
    pub(super) fn run(self) -> Result<(), CliError> {
        let operator = self.node.operator()?;
        let body = Transfer { to: self.to };
        let asking = operator.ask(Method::POST, "/v1/cluster/leader", Some(&body));
        show(&block_on(asking)?, self.output)
    }
}

impl StepDown {
    pub(super) fn run(self) -> Result<(), CliError> {
        let operator = self.node.operator()?;
        let asking = operator.ask(Method::POST, "/v1/cluster/step-down", NO_BODY);
        show(&block_on(asking)?, self.output)
    }
}

fn show(answer: &LeaderAnswer, output: Output) -> Result<(), CliError> {
    match output {
        Output::Json => print_json(answer),
        Output::Text => print(format_args!("node {} leads", answer.leader)),
    }
}
