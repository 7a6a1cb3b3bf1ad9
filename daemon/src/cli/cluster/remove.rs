//! `synckairos cluster remove`: takes a node out for good.

use http::Method;

use crate::{
    admin::members::VotersAnswer,
    cli::{
        CliError, Output,
        operator::{NO_BODY, NodeArgs, block_on},
        print, print_json,
    },
};

#[derive(clap::Args)]
pub(super) struct Remove {
    /// The node that goes
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    node: NodeArgs,
    /// Remove it although the cluster would then stop with the next voter that fails
    #[arg(long)]
    accept_no_spare: bool,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Remove {
    pub(super) fn run(self) -> Result<(), CliError> {
        let operator = self.node.operator()?;
        let Self { id, accept_no_spare, output, .. } = self;
        let path = format!("/v1/cluster/nodes/{id}?accept_no_spare={accept_no_spare}");
        let answer: VotersAnswer = block_on(operator.ask(Method::DELETE, &path, NO_BODY))?;
        if output == Output::Json {
            return print_json(&answer);
        }
        let voters: Vec<String> = answer.voters.iter().map(u64::to_string).collect();
        print(format_args!("node {id} is removed; the voters are {}", voters.join(", ")))
    }
}
