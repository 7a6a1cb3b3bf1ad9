//! Puts the runner into namespaces of its own, so that nothing of what it makes there is left when
//! it is gone, whatever ended it.

use std::{
    env, fs, io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use super::{search_path, tool};

/// Where the namespaces of nodes have their names.
pub const NAMESPACES: &str = "/run/netns";
const RUN: &str = "/run";
/// What mounts of ours are called.
const SOURCE: &str = "jepsen";

/// The namespaces that the runner was in before: it has entered its own where it is in others.
const MARK: &str = "SYNCKAIROS_JEPSEN_OUTSIDE";
const ROUTING: &str = "/proc/sys/net/ipv4/ip_forward";

/// What a test needs of the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Network namespaces for nodes.
    pub network: bool,
    /// Disks of their own, which are mounted.
    pub mounts: bool,
}

/// To be called first thing by the program, before it starts threads. Where the process is not in
/// namespaces that give what is needed, it becomes this program anew, in such: then it does not
/// return.
///
/// # Errors
/// Where this system does not allow it; the message says how it was tried.
pub fn enter(needs: Needs) -> io::Result<()> {
    if needs == Needs::default() {
        return Ok(());
    }
    if is_inside(needs) {
        return settle(needs);
    }
    let mut command = command(needs, &env::current_exe()?)?;
    Err(command.args(env::args_os().skip(1)).exec())
}

/// A command that runs the program in namespaces that give what is needed; it has to call [`enter`].
///
/// # Errors
/// Where this system does not allow it.
pub fn command(needs: Needs, program: &Path) -> io::Result<Command> {
    let unshare = tool("unshare")?;
    let mut refusals = Vec::new();
    // As root, disks can be mounted. Others are root in a user namespace, which is enough for
    // networks and for disks in memory.
    for ways in [&["--mount"][..], &["--mount", "--user", "--map-root-user"]] {
        let mut flags = ways.to_vec();
        if needs.network {
            flags.push("--net");
        }
        let mut attempt = Command::new(&unshare);
        attempt.args(&flags).arg("true").stdin(Stdio::null());
        let output = attempt.output()?;
        if output.status.success() {
            let mut command = Command::new(&unshare);
            command.args(&flags).arg("--").arg(program);
            command.env(MARK, outside()?).env("PATH", search_path());
            return Ok(command);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        refusals.push(format!("unshare {}: {said}", flags.join(" ")));
    }
    Err(io::Error::new(io::ErrorKind::Unsupported, refusals.join("; ")))
}

/// Is the runner in a network namespace of its own?
pub fn has_own_network() -> bool {
    is_inside(Needs { network: true, mounts: false })
}

fn is_inside(needs: Needs) -> bool {
    let (Ok(before), Ok(now)) = (env::var(MARK), outside()) else { return false };
    let mut pairs = before.split(' ').zip(now.split(' ')).map(|(before, now)| before != now);
    let (network, mounts) = (pairs.next(), pairs.next());
    // Networks need mounts too, for their names.
    mounts == Some(true) && (!needs.network || network == Some(true))
}

/// The namespaces that this process is in.
fn outside() -> io::Result<String> {
    let named = |kind: &str| {
        fs::read_link(format!("/proc/self/ns/{kind}")).map(|link| link.display().to_string())
    };
    Ok(format!("{} {}", named("net")?, named("mnt")?))
}

/// Makes the namespaces usable.
fn settle(needs: Needs) -> io::Result<()> {
    // What is mounted here must not be seen outside, nor what is mounted outside be held here.
    run("mount", &["--make-rprivate", "/"])?;
    if !needs.network {
        return Ok(());
    }
    if is_settled()? {
        return Ok(());
    }
    run("ip", &["link", "set", "lo", "up"])?;
    fs::write(ROUTING, "1").map_err(|error| io::Error::other(format!("{ROUTING}: {error}")))?;
    let tmpfs = |at| run("mount", &["-t", "tmpfs", SOURCE, at]);
    if fs::create_dir_all(NAMESPACES).is_ok() && tmpfs(NAMESPACES).is_ok() {
        return Ok(());
    }
    // Only root outside can make the directory there; here it is made on a disk of our own.
    tmpfs(RUN)?;
    fs::create_dir_all(NAMESPACES)
}

/// A runner that this one was started by has done it for both.
fn is_settled() -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let ours = format!("{SOURCE} {RUN}");
    Ok(mounts.lines().any(|line| line.starts_with(&ours)))
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(tool(program)?).args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{program} {}: {said}", arguments.join(" "))))
}
