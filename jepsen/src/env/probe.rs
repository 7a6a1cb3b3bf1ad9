//! Tries what this machine lets the suite do.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    enter::{self, Needs},
    search_path, tool,
};
use crate::db::cluster::TEST_CLOCK;

/// Everything that is tried takes a moment; what takes longer does not work.
const WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Something that a fault needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    pub name: &'static str,
    pub available: bool,
    /// Why it is not.
    pub why: Option<String>,
    /// What it is for.
    pub note: &'static str,
}

/// How something is tried.
struct Trial {
    name: &'static str,
    note: &'static str,
    way: Way,
}

enum Way {
    /// A script in an empty directory, which ends with 0 where it works.
    Here(String),
    /// The same in namespaces of its own, so that nothing is left of it.
    Apart(Needs, String),
    /// A word in the program under test.
    Word(&'static str),
}

const MOUNTS: Needs = Needs { network: false, mounts: true };
const NETWORK: Needs = Needs { network: true, mounts: true };

/// What works here. `program` is the program under test.
pub fn probe(program: Option<&Path>) -> Vec<Capability> {
    trials().into_iter().map(|trial| trial.tried(program)).collect()
}

/// One of them, by its name.
pub fn one(name: &str) -> Option<Capability> {
    trials().into_iter().find(|trial| trial.name == name).map(|trial| trial.tried(None))
}

impl Trial {
    fn tried(self, program: Option<&Path>) -> Capability {
        let why = match self.way {
            Way::Here(script) => tool("sh").and_then(|sh| run(Command::new(sh), &script)),
            Way::Apart(needs, script) => tool("sh")
                .and_then(|sh| enter::command(needs, &sh))
                .and_then(|command| run(command, &script)),
            Way::Word(word) => knows(program, word),
        };
        let why = why.err().map(|error| error.to_string());
        Capability { name: self.name, available: why.is_none(), why, note: self.note }
    }
}

fn trials() -> Vec<Trial> {
    [network(), disks(), programs(), processes()].into_iter().flatten().collect()
}

fn here(name: &'static str, note: &'static str, script: impl Into<String>) -> Trial {
    Trial { name, note, way: Way::Here(script.into()) }
}

fn apart(name: &'static str, note: &'static str, needs: Needs, script: &str) -> Trial {
    Trial { name, note, way: Way::Apart(needs, script.to_owned()) }
}

fn network() -> Vec<Trial> {
    let own_names = "mkdir -p /run/netns 2>/dev/null && mount -t tmpfs tmpfs /run/netns ||
         { mount -t tmpfs tmpfs /run && mkdir /run/netns; }";
    let namespace = format!(
        "{own_names}
         ip link set lo up
         echo 1 >/proc/sys/net/ipv4/ip_forward
         ip netns add probe
         nsenter --net=/run/netns/probe ip link set lo up"
    );
    let pair = "ip link add one type veth peer name other
         ip addr add 10.77.0.1/24 dev one
         ip link set one up
         ip link set other up";
    let table = "nft add table ip probe
         nft 'add chain ip probe cut { type filter hook forward priority -10 ; }'
         nft add rule ip probe cut ip saddr 10.77.0.1 ip daddr 10.77.0.2 counter drop
         nft -j list chain ip probe cut | grep -q '\"packets\": 0'
         nft flush chain ip probe cut
         nft delete chain ip probe cut";
    let bucket = format!(
        "{pair}
         tc qdisc add dev one root tbf rate 64kbit burst 4kb latency 400ms
         tc qdisc show dev one | grep -q tbf"
    );
    let queue = "iptables -w -A FORWARD -p udp -j NFQUEUE --queue-num 7 --queue-bypass
         iptables -w -S FORWARD | grep -q NFQUEUE";
    vec![
        here("root", "loop-mounted disks, control groups", "test $(id -u) = 0"),
        here(
            "user-namespace",
            "networks and disks in memory for users other than root",
            "unshare --user --map-root-user --mount --net ip link set lo up",
        ),
        apart("netns", "--env netns", NETWORK, &namespace),
        apart("veth", "--env netns", NETWORK, pair),
        apart("nft", "--env netns: partitions", NETWORK, table),
        apart("nfqueue", "--env netns: what happens to single packets", NETWORK, queue),
        apart("tbf", "rates in the kernel; the suite limits them itself", NETWORK, &bucket),
    ]
}

/// A file that is mounted, and what is tried on it.
fn on_a_file(file_system: &str, script: &str) -> String {
    format!(
        "truncate -s 400m image
         mkfs.{file_system} -q image
         mkdir disk
         mount -o loop image disk
         {script}
         umount disk"
    )
}

fn disks() -> Vec<Trial> {
    let power = "echo kept >disk/kept
         sync disk/kept
         xfs_io -x -c shutdown disk
         ! (echo lost >disk/lost) 2>/dev/null || exit 1
         umount disk
         mount -o loop image disk
         grep -q kept disk/kept";
    let freeze = "fsfreeze --freeze disk
         fsfreeze --unfreeze disk
         echo thawed >disk/file";
    let write = "echo written >disk/file";
    let in_memory = "mkdir disk
         mount -t tmpfs -o size=1m tmpfs disk
         ! dd if=/dev/zero of=disk/file bs=64k count=32 2>/dev/null || exit 1
         rm disk/file";
    let disk = |name, note, file_system, script| {
        apart(name, note, MOUNTS, &on_a_file(file_system, script))
    };
    vec![
        apart("tmpfs", "--disk tmpfs", MOUNTS, in_memory),
        disk("loop-ext4", "--disk loop-ext4", "ext4", write),
        disk("loop-xfs", "--disk loop-xfs", "xfs", write),
        disk("power-ext4", "power loss on ext4", "ext4", power),
        disk("power-xfs", "power loss on xfs", "xfs", power),
        disk("fsfreeze", "disks that hang", "ext4", freeze),
    ]
}

fn programs() -> Vec<Trial> {
    let inject = "strace -V >/dev/null
         ! strace -f -o trace -e inject=fdatasync:error=EIO \\
             dd if=/dev/zero of=file bs=1 count=1 conv=fdatasync 2>said || exit 1
         grep -q 'Input/output error' said";
    let lie = "strace -f -o trace -e trace=fsync eatmydata \\
             dd if=/dev/zero of=file bs=1 count=1 conv=fsync 2>/dev/null
         ! grep -q fsync trace";
    let fail = "fiu-run -x true
         ! fiu-run -x -c 'enable name=posix/io/sync/fsync' \\
             dd if=/dev/zero of=file bs=1 count=1 conv=fsync 2>/dev/null";
    let fake = "test $(faketime '2001-02-03 04:05:06' date +%Y) = 2001";
    vec![
        here("strace-inject", "disk errors, slow syncs", inject),
        here("eatmydata", "disks that lie about syncs", lie),
        here("libfiu", "disk errors without strace", fail),
        here("libfaketime", "wrong wall clocks of a program without the test clock", fake),
        Trial {
            name: "test-clock",
            note: "wrong clocks and drift; not compiled into releases",
            way: Way::Word(TEST_CLOCK),
        },
    ]
}

/// A control group, and what is tried on it.
fn in_a_group(controller: &str, script: &str) -> String {
    format!(
        "group=/sys/fs/cgroup/{controller}/jepsen-probe-$$
         mkdir $group
         trap 'rmdir $group' EXIT
         {script}"
    )
}

/// Until something is so, for about a second.
fn until(condition: &str) -> String {
    format!("for try in 0 1 2 3 4 5 6 7 8 9; do {condition} && exit 0; sleep 0.1; done; exit 1")
}

fn processes() -> Vec<Trial> {
    let quota = "echo 100000 >$group/cpu.cfs_period_us
         echo 10000 >$group/cpu.cfs_quota_us
         test $(cat $group/cpu.cfs_quota_us) = 10000";
    let freeze = format!(
        "sleep 60 & child=$!
         trap 'echo THAWED >$group/freezer.state; kill -KILL $child; wait $child || rmdir $group' EXIT
         echo $child >$group/cgroup.procs
         echo FROZEN >$group/freezer.state
         {}",
        until("test $(cat $group/freezer.state) = FROZEN")
    );
    let throttle = "device=$(cat /sys/block/*/dev | head -n 1)
         echo $device 1048576 >$group/blkio.throttle.write_bps_device
         grep -q 1048576 $group/blkio.throttle.write_bps_device";
    let stop = format!(
        "sleep 60 & child=$!
         trap 'kill -KILL $child; wait $child || true' EXIT
         kill -STOP $child
         {}",
        until("grep -q 'State:.T' /proc/$child/status")
    );
    vec![
        here("sigstop", "pauses", stop),
        here("cgroup-cpu", "little processor time", in_a_group("cpu", quota)),
        here("cgroup-freezer", "pauses of a node and its children", in_a_group("freezer", &freeze)),
        here("cgroup-blkio", "slow disks", in_a_group("blkio", throttle)),
    ]
}

fn knows(program: Option<&Path>, word: &str) -> io::Result<()> {
    let program = program.ok_or_else(|| io::Error::other("no program was named"))?;
    let bytes = fs::read(program)?;
    let has = bytes.windows(word.len()).any(|window| window == word.as_bytes());
    has.then_some(()).ok_or_else(|| io::Error::other("the program was built without it"))
}

/// Runs a script; why it failed.
fn run(mut command: Command, script: &str) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    command.args(["-ec", script]).current_dir(&directory).env("PATH", search_path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let status = ended(&mut child)?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    Err(io::Error::other(last.map_or_else(|| format!("{status}"), str::to_owned)))
}

fn ended(child: &mut Child) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + WITHIN;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(LOOK_EVERY);
    }
    child.kill()?;
    child.wait()?;
    Err(io::Error::other(format!("it took longer than {WITHIN:?}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_is_tried_and_what_does_not_work_has_a_reason() {
        let found = probe(None);
        let names: BTreeSet<_> = found.iter().map(|capability| capability.name).collect();
        assert_eq!(names.len(), found.len());
        for Capability { name, available, why, note } in found {
            assert_eq!(available, why.is_none(), "{name}");
            assert!(!note.is_empty() && why.is_none_or(|why| !why.is_empty()), "{name}");
            // For whoever runs the test by hand.
            eprintln!("{name}: {available}");
        }
        // Every Unix has it.
        assert!(one("sigstop").unwrap().available);
        assert_eq!(one("nonsense"), None);
    }

    #[test]
    fn the_test_clock_is_found_in_the_program() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        let clock = || {
            let mut found = probe_of("test-clock").tried(Some(&program));
            (found.available, found.why.take())
        };
        fs::write(&program, "x").unwrap();
        assert_eq!(clock(), (false, Some(String::from("the program was built without it"))));
        fs::write(&program, format!("..{TEST_CLOCK}..")).unwrap();
        assert_eq!(clock(), (true, None));
    }

    fn probe_of(name: &str) -> Trial {
        trials().into_iter().find(|trial| trial.name == name).unwrap()
    }

    #[test]
    fn scripts_that_fail_say_why() {
        let sh = || Command::new(tool("sh").unwrap());
        assert!(run(sh(), "true").is_ok());
        let failed = run(sh(), "echo first >&2; echo because >&2; false; true").unwrap_err();
        assert_eq!(failed.to_string(), "because");
        assert_eq!(run(sh(), "exit 3").unwrap_err().to_string(), "exit status: 3");
    }
}
