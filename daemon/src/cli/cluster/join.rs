//! `synckairos cluster join`: makes this machine's directory the home of a new node of a running
//! cluster.

use std::{
    io::{BufRead, stdin},
    path::{Path, PathBuf},
};

use crate::{
    cli::{CliError, Output, note, places::Listen, print, print_json},
    config::{self, Flags, HOME_FILE},
    members::{
        address::Address,
        home::{Home, HomeError, Papers},
        token::JoinToken,
    },
    pki::NodeName,
    raft::join_call,
};

/// Instead of the token.
const FROM_STDIN: &str = "-";

#[derive(clap::Args)]
pub(super) struct Join {
    /// What `synckairos cluster token create` printed, or `-` to read it from standard input, where
    /// no list of processes shows it
    #[arg(value_name = "TOKEN")]
    token: String,
    /// Where the node keeps its data, its certificates and its configuration; empty, not there yet,
    /// or left by an earlier try
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where other nodes will reach this one, UDP
    #[arg(long, value_name = "HOST:PORT")]
    peer: Address,
    /// Where clients will reach this node
    #[arg(long, value_name = "HOST:PORT")]
    http: Address,
    #[command(flatten)]
    listen: Listen,
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Join {
    pub(super) fn run(self) -> Result<(), CliError> {
        let token: JoinToken = if self.token == FROM_STDIN {
            let mut line = String::new();
            stdin().lock().read_line(&mut line)?;
            line.parse()?
        } else {
            self.token.parse()?
        };
        let dir = self.data_dir.display();
        let home = match Home::begun(&self.data_dir) {
            Ok(home) => home,
            Err(taken @ HomeError::Taken { .. }) => {
                // An earlier try got so far that only its word is missing.
                let name = name_of(&self.data_dir)?;
                if name.cluster != token.cluster {
                    return Err(taken.into());
                }
                note(format_args!("{dir} is the home of a node of that cluster already"));
                return tell(name, self.output);
            }
            Err(error) => return Err(error.into()),
        };
        let places = self.listen.places(self.peer, self.http);
        let key = home.key()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asking = join_call::ask(&token, &key, (&places.peer, &places.http));
        let welcomed = runtime.block_on(asking)?;
        let name = NodeName { cluster: token.cluster, node: welcomed.node };
        let papers =
            Papers { certificate: welcomed.certificate, ca: welcomed.ca, ca_key: welcomed.ca_key };
        home.move_in(name, &token.pin, &papers, &places)?;
        note(format_args!(
            "this is node {} of cluster {}\nstart it: synckairos serve --data-dir {dir}",
            name.node, name.cluster
        ));
        tell(name, self.output)
    }
}

/// Whose home a directory is.
fn name_of(dir: &Path) -> Result<NodeName, CliError> {
    let (config, _) = config::read(Some(&dir.join(HOME_FILE)), &Flags::default())?;
    Ok(NodeName { cluster: config.cluster.id.parse()?, node: config.node.id })
}

fn tell(name: NodeName, output: Output) -> Result<(), CliError> {
    match output {
        Output::Text => print(name.node),
        Output::Json => {
            let cluster = name.cluster.to_string();
            print_json(&serde_json::json!({ "node_id": name.node, "cluster_id": cluster }))
        }
    }
}
