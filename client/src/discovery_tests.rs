//! Members that are learned from scripted nodes: who is asked then, and who never is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use synckairos_protocol::{
    error::Kind,
    time::Stamp,
    wire::{
        problem::Problem,
        rest::{MemberAnswer, TimeAnswer},
    },
};
use tokio::time::{interval, timeout};

use super::*;
use crate::{
    client::{Client, Config},
    test_server::{Reply, TestServer, nobody},
};

const QUESTION: &str = "GET /v1/cluster/nodes";
const PATIENCE: Duration = Duration::from_secs(10);

/// What all nodes of a test say.
#[derive(Default)]
struct Script {
    members: Mutex<Vec<String>>,
    revision: AtomicU64,
    /// URL of the one that says that it was removed.
    removed: Mutex<Option<String>>,
    has_leader: AtomicBool,
    /// The id of another cluster that is there now.
    replaced_by: Mutex<Option<&'static str>>,
}

impl Script {
    fn new() -> Arc<Self> {
        Arc::new(Self { has_leader: AtomicBool::new(true), ..Self::default() })
    }

    fn name<'a>(&self, members: impl IntoIterator<Item = &'a str>) {
        let members = members.into_iter().map(|url| url.trim_start_matches("http://").to_owned());
        *self.members.lock().unwrap() = members.collect();
        self.revision.fetch_add(1, Ordering::Relaxed);
    }

    fn answer(&self, cluster: &str) -> NodesAnswer {
        let members = self.members.lock().unwrap();
        let member =
            |(id, http): (u64, &String)| MemberAnswer { id, http: http.clone(), voter: true };
        NodesAnswer {
            cluster_id: self.replaced_by.lock().unwrap().unwrap_or(cluster).to_owned(),
            nodes: (1..).zip(&*members).map(member).collect(),
            leader: Some(1),
            membership_revision: self.revision.load(Ordering::Relaxed),
        }
    }

    /// A node that follows it.
    async fn node(self: &Arc<Self>) -> TestServer {
        self.node_of("ours").await
    }

    async fn node_of(self: &Arc<Self>, cluster: &'static str) -> TestServer {
        let script = Arc::clone(self);
        // It has to know its own address to know that it is the one that was removed.
        let own = Arc::new(Mutex::new(String::new()));
        let known = Arc::clone(&own);
        let node = TestServer::start(move |_, line| {
            if line == QUESTION {
                return success(&script.answer(cluster));
            }
            if script.removed.lock().unwrap().as_deref() == Some(&*known.lock().unwrap()) {
                return refusal(Kind::NodeRemoved);
            }
            if !script.has_leader.load(Ordering::Relaxed) {
                return refusal(Kind::NoLeader);
            }
            let time = serde_json::to_string(&TimeAnswer::at(Stamp::from_unix_millis(1))).unwrap();
            Reply::Told(200, time, script.revision.load(Ordering::Relaxed))
        });
        let node = node.await;
        *own.lock().unwrap() = node.url.clone();
        node
    }
}

fn success(answer: &impl serde::Serialize) -> Reply {
    Reply::Answer(200, serde_json::to_string(answer).unwrap())
}

fn refusal(kind: Kind) -> Reply {
    let body = serde_json::to_string(&Problem::new(kind, "because")).unwrap();
    Reply::Answer(kind.meaning().status, body)
}

fn client<'a>(seeds: impl IntoIterator<Item = &'a str>) -> Client {
    Client::new(Config::new(seeds)).unwrap()
}

async fn until(condition: impl Fn() -> bool) {
    let mut looks = interval(Duration::from_millis(5));
    let met = async {
        while !condition() {
            looks.tick().await;
        }
    };
    timeout(PATIENCE, met).await.expect("the condition is met in time");
}

fn calls(node: &TestServer) -> usize {
    node.seen().iter().filter(|line| *line != QUESTION).count()
}

#[test]
fn it_is_looked_once_a_minute_and_sooner_where_something_happened() {
    use Occasion::{Changed, InUse, Moved, NobodyLeft};
    // (seconds after the last look, occasion, a member is away, does somebody look)
    let table = [
        (59, InUse, false, false),
        (60, InUse, false, true),
        (4, InUse, true, false),
        (5, InUse, true, true),
        (0, Moved, false, false),
        (1, Moved, false, true),
        (1, NobodyLeft, false, true),
        (1, Changed, false, true),
    ];
    for (seconds, occasion, away, begins) in table {
        let mut schedule = Schedule::default();
        let start = Instant::now();
        assert!(schedule.begins(start, InUse, false), "the first time at once");
        schedule.ended();
        let later = start + Duration::from_secs(seconds);
        assert_eq!(schedule.begins(later, occasion, away), begins, "{seconds} {occasion:?} {away}");
    }

    let (mut schedule, start) = (Schedule::default(), Instant::now());
    let after = |ms| start + Duration::from_millis(ms);
    assert!(schedule.begins(start, Moved, false));
    assert!(!schedule.begins(after(1_500), Moved, false), "somebody looks already");
    schedule.ended();
    assert!(schedule.begins(after(1_600), InUse, false), "what was too early is made up for");
    schedule.ended();
    assert!(!schedule.begins(after(3_000), InUse, false), "once");
}

#[tokio::test]
async fn members_outlive_the_seeds() {
    let script = Script::new();
    let (seed, old, new) = (script.node().await, script.node().await, script.node().await);
    script.name([&*seed.url, &*old.url]);
    let client = client([&*seed.url]);
    client.time().await.unwrap();
    let nodes = &client.inner().nodes;
    until(|| nodes.present().len() == 2).await;
    assert_eq!(
        client.nodes().map(|node| node.url().to_owned()).collect::<Vec<_>>(),
        [seed.url.clone(), old.url.clone()]
    );

    // The one that is preferred goes, and another one has come.
    script.name([&*old.url, &*new.url]);
    *script.removed.lock().unwrap() = Some(seed.url.clone());
    client.time().await.unwrap();
    assert_eq!((calls(&seed), calls(&old)), (2, 1));
    assert_eq!(*nodes.preferred(), *old.url);
    look(client.inner()).await;
    until(|| nodes.present().iter().any(|node| **node == *new.url)).await;

    script.name([&*new.url]);
    *script.removed.lock().unwrap() = Some(old.url.clone());
    for _ in 0..3 {
        client.time().await.unwrap();
    }
    assert_eq!((calls(&seed), calls(&old), calls(&new)), (2, 2, 3));
    look(client.inner()).await;
    let all: Vec<String> = nodes.all().iter().map(ToString::to_string).collect();
    assert_eq!(all, [seed.url.clone(), new.url.clone()], "who was removed is dropped");
}

#[tokio::test]
async fn a_change_is_noticed_by_a_client_that_nobody_refuses() {
    let script = Script::new();
    let (seed, new) = (script.node().await, script.node().await);
    script.name([&*seed.url]);
    let client = client([&*seed.url]);
    let nodes = &client.inner().nodes;
    client.time().await.unwrap();
    until(|| !nodes.is_news(&nodes.preferred(), 1)).await;

    script.name([&*seed.url, &*new.url]);
    let mut steps = interval(Duration::from_millis(5));
    let learned = async {
        while nodes.present().len() < 2 {
            steps.tick().await;
            client.time().await.unwrap();
        }
    };
    timeout(PATIENCE, learned).await.expect("it is noticed in time");
    assert_eq!(calls(&new), 0, "there is no reason to go elsewhere");
}

#[tokio::test]
async fn a_cluster_that_was_restored_behind_the_seed_is_adopted() {
    // Its revisions go on above those of the old one, or below.
    for revision in [900, 2] {
        let (script, before) = (Script::new(), Script::new());
        let (seed, old, new) = (script.node().await, before.node().await, script.node().await);
        for side in [&script, &before] {
            side.revision.store(49, Ordering::Relaxed);
            side.name([&*seed.url, &*old.url]);
        }
        let client = client([&*seed.url]);
        let nodes = &client.inner().nodes;
        look(client.inner()).await;
        assert_eq!(nodes.present(), [&*seed.url, &*old.url].map(Node::from));

        *script.replaced_by.lock().unwrap() = Some("restored");
        script.name([&*seed.url, &*new.url]);
        script.revision.store(revision, Ordering::Relaxed);
        look(client.inner()).await;
        assert_eq!(nodes.cluster().as_deref(), Some("restored"));
        assert_eq!(nodes.present(), [&*seed.url, &*new.url].map(Node::from));
        assert_eq!(nodes.all().len(), 2, "the old member is forgotten");
        client.time().await.unwrap();
        assert!(!nodes.is_news(&nodes.preferred(), revision), "it is looked once");
        assert!(nodes.is_news(&nodes.preferred(), revision + 1));
    }
}

#[tokio::test]
async fn a_cluster_that_was_restored_at_all_addresses_is_found_in_one_look() {
    let script = Script::new();
    let (seed, member) = (script.node().await, script.node().await);
    script.name([&*seed.url, &*member.url]);
    let client = client([&*seed.url]);
    let nodes = &client.inner().nodes;
    look(client.inner()).await;

    *script.replaced_by.lock().unwrap() = Some("restored");
    nodes.failed(&Node::from(&*seed.url), true);
    assert_eq!(nodes.present(), [Node::from(&*member.url)]);
    look(client.inner()).await;
    assert_eq!(nodes.cluster().as_deref(), Some("restored"));
    assert_eq!(nodes.present().len(), 2);
}

#[tokio::test]
async fn a_member_whose_address_is_another_clusters_now_is_left() {
    let (script, strangers) = (Script::new(), Script::new());
    let (seed, member) = (script.node().await, strangers.node().await);
    for side in [&script, &strangers] {
        side.name([&*seed.url, &*member.url]);
    }
    let client = client([&*seed.url]);
    let nodes = &client.inner().nodes;
    look(client.inner()).await;
    let (seed_node, member_node) = (Node::from(&*seed.url), Node::from(&*member.url));
    nodes.worked(&member_node);

    *strangers.replaced_by.lock().unwrap() = Some("theirs");
    strangers.revision.store(900, Ordering::Relaxed);
    strangers.name([&*nobody().await]);
    look(client.inner()).await;
    assert_eq!(nodes.cluster().as_deref(), Some("ours"));
    assert_eq!(nodes.all(), [seed_node.clone(), member_node.clone()], "and nobody of theirs");
    assert_eq!(
        (nodes.present(), nodes.absent()),
        (vec![seed_node.clone()], vec![member_node.clone()])
    );
    assert!(!nodes.is_news(&member_node, 901), "a follower that is still there wakes nobody");
    assert!(nodes.is_news(&seed_node, 2), "and the cluster's own changes are seen");
    for _ in 0..3 {
        client.time().await.unwrap();
    }
    assert_eq!((calls(&seed), calls(&member)), (3, 0));
}

#[tokio::test]
async fn an_answer_that_names_nobody_is_no_news_twice() {
    let script = Script::new();
    let (seed, new) = (script.node().await, script.node().await);
    script.name([&*seed.url]);
    let client = client([&*seed.url]);
    let nodes = &client.inner().nodes;
    look(client.inner()).await;
    let seed_node = nodes.preferred();

    script.name([]);
    assert!(nodes.is_news(&seed_node, 2));
    look(client.inner()).await;
    assert!(!nodes.is_news(&seed_node, 2));
    assert_eq!(nodes.present(), [Node::from(&*seed.url)]);
    script.name([&*seed.url, &*new.url]);
    assert!(nodes.is_news(&seed_node, 3));
    look(client.inner()).await;
    assert_eq!(nodes.present().len(), 2);
}

#[tokio::test]
async fn addresses_that_lead_nowhere_cost_nothing() {
    let script = Script::new();
    let strangers = Script::new();
    let seed = script.node().await;
    let stranger = strangers.node_of("theirs").await;
    let deserted = nobody().await;
    script.name([&*deserted, &*stranger.url]);
    let client = client([&*seed.url]);
    client.time().await.unwrap();
    until(|| !stranger.seen().is_empty()).await;
    look(client.inner()).await;
    assert_eq!(client.inner().nodes.absent().len(), 2);

    script.has_leader.store(false, Ordering::Relaxed);
    let called = calls(&seed);
    let back = async {
        until(|| called + 3 < calls(&seed)).await;
        script.has_leader.store(true, Ordering::Relaxed);
    };
    let (answer, ()) = tokio::join!(client.time(), back);
    answer.unwrap();
    assert_eq!(calls(&stranger), 0);
}

#[tokio::test]
async fn nobody_waits_for_a_node_that_does_not_tell() {
    let node = TestServer::start(|_, line| match line {
        QUESTION => Reply::Hang,
        _ => success(&TimeAnswer::at(Stamp::from_unix_millis(1))),
    });
    let node = node.await;
    let client = client([&*node.url]);
    for _ in 0..3 {
        let answer = timeout(ANSWER_WITHIN / 2, client.time()).await;
        answer.expect("an answer at once").unwrap();
    }
    until(|| node.seen().iter().any(|line| line == QUESTION)).await;
}

#[tokio::test]
async fn a_member_that_comes_back_is_found_where_nobody_else_is_left() {
    let script = Script::new();
    let member = script.node().await;
    script.name([&*member.url]);
    let seed = nobody().await;
    let client = client([&*seed]);
    let nodes = &client.inner().nodes;
    nodes.hear(&Node::from(&*seed), &script.answer("ours"));
    nodes.answered(&Node::from(&*member.url));
    nodes.failed(&Node::from(&*member.url), true);
    assert_eq!(nodes.absent().len(), 1, "it is away, and the seed is not known to be");
    client.time().await.unwrap();
    assert_eq!(*nodes.preferred(), *member.url);
}

#[tokio::test]
async fn who_does_not_want_to_know_does_not_ask() {
    let script = Script::new();
    let (seed, other) = (script.node().await, script.node().await);
    script.name([&*seed.url, &*other.url]);
    let config = Config { discover: false, ..Config::new([seed.url.clone()]) };
    let client = Client::new(config).unwrap();
    for _ in 0..3 {
        client.time().await.unwrap();
    }
    assert_eq!((seed.seen().len(), other.seen().len()), (3, 0));
    assert_eq!(client.nodes().count(), 1);
}
