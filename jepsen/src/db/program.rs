//! A version of the program under test, and what it understands.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::process;

const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// Ends the process with us where the program does not look after that itself.
const HOLDER: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];
const OUR_VARIABLES: &str = "SYNCKAIROS_";
const WITH_PARENT: &str = "--exit-with-parent";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    /// Does it end when whoever started it does?
    ends_with_parent: bool,
    /// `section.key` of all settings that it knows; `None` where it knows all of ours.
    settings: Option<BTreeSet<String>>,
}

impl Program {
    /// The version that this suite is made for.
    pub fn current(path: &Path) -> Self {
        Self { path: path.to_owned(), ends_with_parent: true, settings: None }
    }

    /// Another version, which is asked what it understands.
    ///
    /// # Errors
    /// What it says.
    pub async fn older(path: &Path) -> io::Result<Self> {
        let help = ask(path, &["serve", "--help"]).await?;
        let shown = ask(path, &["config", "show"]).await?;
        let ends_with_parent = help.contains(WITH_PARENT);
        Ok(Self { path: path.to_owned(), ends_with_parent, settings: Some(settings_in(&shown)) })
    }

    /// Older versions refuse variables of ours that they do not know.
    pub(super) fn takes_variable(&self, name: &str) -> bool {
        self.settings.is_none() || !name.starts_with(OUR_VARIABLES)
    }

    pub(super) fn knows(&self, section: &str, key: &str) -> bool {
        let name = format!("{section}.{key}");
        self.settings.as_ref().is_none_or(|settings| settings.contains(&name))
    }

    /// `serve`, by a command that `place` makes of a program's path.
    pub(super) fn serve(&self, place: impl Fn(&Path) -> Command) -> Command {
        if self.ends_with_parent {
            let mut command = place(&self.path);
            command.args(["serve", WITH_PARENT]);
            return command;
        }
        let mut command = place(Path::new(HOLDER[0]));
        command.args(&HOLDER[1..]).arg(&self.path).arg("serve");
        command
    }
}

async fn ask(path: &Path, arguments: &[&str]) -> io::Result<String> {
    let mut command = Command::new(path);
    command.args(arguments).env_clear();
    process::run(command, COMMAND_WITHIN).await
}

/// The first column of a table whose keys have dots.
fn settings_in(shown: &str) -> BTreeSet<String> {
    let keys = shown.lines().filter_map(|line| line.split_whitespace().next());
    keys.filter(|key| key.contains('.')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_program_gets_what_it_knows() {
        let shown = " key              value   source\n http.listen      \"x\"     default\n";
        let settings = settings_in(shown);
        assert_eq!(settings, BTreeSet::from([String::from("http.listen")]));
        let older = Program {
            path: PathBuf::from("/old"),
            ends_with_parent: false,
            settings: Some(settings),
        };
        assert!(older.knows("http", "listen") && !older.knows("disk", "free_min_bytes"));
        assert!(Program::current(Path::new("/new")).knows("disk", "free_min_bytes"));
        assert!(older.takes_variable("LD_PRELOAD") && !older.takes_variable("SYNCKAIROS_PLANT"));
        let words = |program: &Program| {
            let command = program.serve(|path| Command::new(path));
            let words = [command.get_program()].into_iter().chain(command.get_args());
            words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words(&older), ["setpriv", "--pdeathsig", "KILL", "/old", "serve"]);
        let current = Program::current(Path::new("/new"));
        assert_eq!(words(&current), ["/new", "serve", "--exit-with-parent"]);
    }
}
