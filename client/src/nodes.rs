//! The nodes of a cluster: those that were configured, those that the cluster named since, and which
//! of them answered last.
//!
//! No call asks an address that the cluster named before it has answered in the background: a client
//! behind a proxy or in another network is told addresses that lead nowhere, or to somebody else,
//! and must be no worse off for them. One that cannot be connected to any more is left to the
//! background again, and so is one where another cluster answers. Where a seed says that it belongs to
//! another cluster, the client goes along: the cluster was restored from a backup, or its name leads
//! elsewhere now.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use synckairos_protocol::wire::rest::NodesAnswer;

use crate::client::SettingsError;

/// A base URL without a slash at the end.
pub(crate) type Node = Arc<str>;

/// More members than any cluster has.
const MEMBERS_MAX: usize = 100;

#[derive(Debug)]
pub(crate) struct Nodes {
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// The seeds in the order given, then the other members in the order of their ids.
    addresses: Vec<Address>,
    /// Whom to ask first.
    preferred: Node,
    /// Of the answer that named the members; `None` before there was one.
    cluster: Option<String>,
    revision: u64,
    /// The newest that was answered, whether or not it could be taken.
    noted: u64,
}

#[derive(Clone, Debug)]
struct Address {
    node: Node,
    /// Configured, and never forgotten.
    is_seed: bool,
    /// Named by the cluster.
    is_member: bool,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It answered, or it was configured and nothing is known against it.
    Present,
    /// It could not be connected to, or said that it was removed.
    Away,
    /// It was named, and has never answered, or another cluster did.
    Unproven,
}

/// Whom a call, or a follower, has asked in vain since its last pause.
#[derive(Debug, Default)]
pub(crate) struct Round {
    asked: Vec<Node>,
}

impl Nodes {
    pub(crate) fn new(given: &[String]) -> Result<Self, SettingsError> {
        let seeds = given.iter().map(|url| base_url(url)).collect::<Result<Vec<_>, _>>()?;
        let mut addresses: Vec<Address> = Vec::new();
        for node in seeds {
            if addresses.iter().all(|address| address.node != node) {
                let standing = Standing::Present;
                addresses.push(Address { node, is_seed: true, is_member: false, standing });
            }
        }
        let first = addresses.first().ok_or(SettingsError::NoNodes)?;
        let preferred = Arc::clone(&first.node);
        let known =
            Mutex::new(Known { addresses, preferred, cluster: None, revision: 0, noted: 0 });
        Ok(Self { known })
    }

    /// Everybody who is known, whether or not calls ask them.
    pub(crate) fn all(&self) -> Vec<Node> {
        self.known().addresses.iter().map(|address| Arc::clone(&address.node)).collect()
    }

    /// The node to ask first.
    pub(crate) fn preferred(&self) -> Node {
        Arc::clone(&self.known().preferred)
    }

    /// Whom to ask after `failed`, and whether everybody was asked in vain, so that a pause is due.
    pub(crate) fn next(&self, failed: &Node, round: &mut Round) -> (Node, bool) {
        let known = self.known();
        round.asked.push(Arc::clone(failed));
        if let Some(node) = known.after(failed, &round.asked) {
            return (node, false);
        }
        round.asked.clear();
        (known.after(failed, &[]).unwrap_or_else(|| Arc::clone(failed)), true)
    }

    /// It served, and is asked first from now on.
    pub(crate) fn worked(&self, node: &Node) {
        let mut known = self.known();
        known.set_present(node);
        if known.preferred != *node {
            known.preferred = Arc::clone(node);
        }
    }

    /// It answered.
    pub(crate) fn answered(&self, node: &Node) {
        self.known().set_present(node);
    }

    /// It did not serve; `is_gone` where there is nobody, or nobody who will. Of many requests that
    /// fail at one node at once, the first moves everybody on.
    pub(crate) fn failed(&self, node: &Node, is_gone: bool) {
        let mut known = self.known();
        if is_gone
            && let Some(address) = known.address_of(node)
            && address.standing == Standing::Present
        {
            address.standing = Standing::Away;
        }
        if known.preferred == *node
            && let Some(next) = known.after(node, &[Arc::clone(node)])
        {
            known.preferred = next;
        }
    }

    /// Takes the members that `from` names, unless they are older than those that are known. Those
    /// of another cluster are taken from a seed only, and then nothing of the old one is kept. False
    /// where `from` is no help, and somebody else should be asked.
    pub(crate) fn hear(&self, from: &Node, answer: &NodesAnswer) -> bool {
        let mut known = self.known();
        let is_other = known.cluster.as_ref().is_some_and(|cluster| *cluster != answer.cluster_id);
        if is_other && !known.is_seed(from) {
            known.distrust(from);
            return false;
        }
        known.set_present(from);
        known.noted = known.noted.max(answer.membership_revision);
        if !is_other && answer.membership_revision < known.revision {
            return true;
        }
        // Others are catching up, or on their way out.
        let voters = answer.nodes.iter().filter(|member| member.voter);
        let urls = voters.filter_map(|member| base_url(&format!("http://{}", member.http)).ok());
        let members: Vec<Node> = urls.take(MEMBERS_MAX).collect();
        if members.is_empty() {
            return false;
        }
        if is_other {
            // Revisions of two clusters cannot be compared, and who answered for the old one has
            // yet to answer for the new one.
            known.noted = answer.membership_revision;
            known.addresses.retain(|address| address.is_seed);
        }
        known.cluster = Some(answer.cluster_id.clone());
        known.revision = answer.membership_revision;
        known.replace_members(members);
        true
    }

    /// Is this membership newer than all that was answered? Not where one tells it who does not
    /// belong to the cluster, as far as is known.
    pub(crate) fn is_news(&self, from: &Node, revision: u64) -> bool {
        let mut known = self.known();
        let is_ours = |address: &mut Address| address.standing != Standing::Unproven;
        known.noted < revision && known.address_of(from).is_some_and(is_ours)
    }

    /// The id of the cluster, once a node has told it.
    pub(crate) fn cluster(&self) -> Option<String> {
        self.known().cluster.clone()
    }

    /// Who answers, as far as is known, the preferred one first.
    pub(crate) fn present(&self) -> Vec<Node> {
        let known = self.known();
        let mut present = known.with(|address| address.standing == Standing::Present);
        present.sort_by_key(|node| *node != known.preferred);
        present
    }

    /// Who may answer one day.
    pub(crate) fn absent(&self) -> Vec<Node> {
        self.known().with(|address| address.standing != Standing::Present)
    }

    /// Is a member missing that answered before?
    pub(crate) fn misses_members(&self) -> bool {
        let missing = |address: &Address| address.is_member && address.standing == Standing::Away;
        self.known().addresses.iter().any(missing)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn address_of(&mut self, node: &Node) -> Option<&mut Address> {
        self.addresses.iter_mut().find(|address| address.node == *node)
    }

    fn with(&self, wanted: impl Fn(&Address) -> bool) -> Vec<Node> {
        let wanted = self.addresses.iter().filter(|address| wanted(address));
        wanted.map(|address| Arc::clone(&address.node)).collect()
    }

    fn is_seed(&self, node: &Node) -> bool {
        self.addresses.iter().any(|address| address.is_seed && address.node == *node)
    }

    /// No call asks this member until it answers for the cluster again.
    fn distrust(&mut self, node: &Node) {
        if let Some(address) = self.address_of(node) {
            address.standing = Standing::Unproven;
        }
        self.prefer_one_that_is_asked();
    }

    fn set_present(&mut self, node: &Node) {
        if let Some(address) = self.address_of(node) {
            address.standing = Standing::Present;
        }
    }

    /// Whom calls ask after `node`, those in `asked` left out: in their order, and seeds that are
    /// away last.
    fn after(&self, node: &Node, asked: &[Node]) -> Option<Node> {
        let found = self.addresses.iter().position(|address| address.node == *node);
        let (before, rest) = self.addresses.split_at(found.map_or(0, |found| found + 1));
        let in_order = rest.iter().chain(before);
        let open = in_order.filter(|address| address.is_asked() && !asked.contains(&address.node));
        open.min_by_key(|address| address.standing).map(|address| Arc::clone(&address.node))
    }

    fn replace_members(&mut self, members: Vec<Node>) {
        let old = mem::take(&mut self.addresses);
        self.addresses = old.iter().filter(|address| address.is_seed).cloned().collect();
        for address in &mut self.addresses {
            address.is_member = members.contains(&address.node);
        }
        for node in members {
            if self.address_of(&node).is_none() {
                let standing = old.iter().find(|address| address.node == node);
                let standing = standing.map_or(Standing::Unproven, |address| address.standing);
                self.addresses.push(Address { node, is_seed: false, is_member: true, standing });
            }
        }
        self.prefer_one_that_is_asked();
    }

    fn prefer_one_that_is_asked(&mut self) {
        let mut asked = self.addresses.iter().filter(|address| address.is_asked());
        if asked.all(|address| address.node != self.preferred)
            && let Some(next) = self.after(&self.preferred, &[])
        {
            self.preferred = next;
        }
    }
}

impl Address {
    /// Do calls ask it?
    fn is_asked(&self) -> bool {
        self.is_seed || self.standing == Standing::Present
    }
}

fn base_url(given: &str) -> Result<Node, SettingsError> {
    let invalid = |reason: String| SettingsError::InvalidUrl { url: given.to_owned(), reason };
    let url = reqwest::Url::parse(given).map_err(|error| invalid(error.to_string()))?;
    let reason = if url.scheme() != "http" {
        "the scheme must be http"
    } else if !url.has_host() {
        "there is no host"
    } else if url.query().is_some() || url.fragment().is_some() {
        "a base URL has no query and no fragment"
    } else {
        return Ok(url.as_str().trim_end_matches('/').into());
    };
    Err(invalid(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use synckairos_protocol::wire::rest::MemberAnswer;

    use super::*;

    #[test]
    fn base_urls_are_checked_and_trimmed() {
        let table = [
            ("http://127.0.0.1:3000", Some("http://127.0.0.1:3000")),
            ("http://127.0.0.1:3000/", Some("http://127.0.0.1:3000")),
            ("http://Example.org/kairos/", Some("http://example.org/kairos")),
            ("https://example.org", None),
            ("127.0.0.1:3000", None),
            ("http://example.org/?a=b", None),
            ("", None),
        ];
        for (given, expected) in table {
            assert_eq!(base_url(given).ok().as_deref(), expected, "{given}");
        }
        assert!(matches!(Nodes::new(&[]), Err(SettingsError::NoNodes)));
    }

    fn nodes(given: &[&str]) -> Nodes {
        let given: Vec<String> = given.iter().map(|name| format!("http://{name}")).collect();
        Nodes::new(&given).unwrap()
    }

    fn node(name: &str) -> Node {
        format!("http://{name}").into()
    }

    /// As node `from` says; a member whose name begins with `~` has no vote.
    fn hear(nodes: &Nodes, from: &str, revision: u64, members: &[&str]) {
        hear_of("ours", nodes, from, revision, members);
    }

    fn hear_of(cluster: &str, nodes: &Nodes, from: &str, revision: u64, members: &[&str]) {
        let member = |(id, name): (u64, &&str)| MemberAnswer {
            id,
            http: name.trim_start_matches('~').to_owned(),
            voter: !name.starts_with('~'),
        };
        let answer = NodesAnswer {
            cluster_id: cluster.to_owned(),
            nodes: (1..).zip(members).map(member).collect(),
            leader: None,
            membership_revision: revision,
        };
        nodes.hear(&node(from), &answer);
    }

    /// The nodes that a call asks, beginning after `first`, until it pauses.
    fn round(nodes: &Nodes, first: &str) -> String {
        let (mut round, mut at, mut asked) = (Round::default(), node(first), Vec::new());
        loop {
            let (next, all_asked) = nodes.next(&at, &mut round);
            if all_asked {
                return asked.join(" ");
            }
            asked.push(next.trim_start_matches("http://").to_owned());
            at = next;
        }
    }

    #[test]
    fn one_failure_moves_on_by_one_node() {
        let nodes = nodes(&["a", "b", "c"]);
        nodes.failed(&node("a"), false);
        nodes.failed(&node("a"), false);
        assert_eq!(nodes.preferred(), node("b"));
        nodes.worked(&node("c"));
        nodes.failed(&node("b"), false);
        assert_eq!(nodes.preferred(), node("c"));
        nodes.failed(&node("c"), false);
        assert_eq!(nodes.preferred(), node("a"));
    }

    #[test]
    fn a_round_asks_everybody_once() {
        let nodes = nodes(&["a", "b", "c", "b"]);
        assert_eq!(round(&nodes, "b"), "c a");
        for seed in ["a", "b", "c"] {
            nodes.failed(&node(seed), true);
            assert_eq!(round(&nodes, "a").len(), 3, "seeds are never given up");
        }
        nodes.answered(&node("a"));
        assert_eq!(round(&nodes, "b"), "a c", "seeds that are away come last");
        let mut alone = Round::default();
        let single = self::nodes(&["a"]);
        assert_eq!(single.next(&node("a"), &mut alone), (node("a"), true));
    }

    #[test]
    fn members_are_asked_once_they_have_answered() {
        let nodes = nodes(&["a", "b"]);
        hear(&nodes, "a", 3, &["a", "b", "c", "~d"]);
        assert_eq!(round(&nodes, "a"), "b", "nobody has reached c");
        assert_eq!(nodes.absent(), [node("c")]);
        assert_eq!(nodes.all(), ["a", "b", "c"].map(node));
        nodes.failed(&node("c"), true);
        assert!(!nodes.misses_members(), "it never answered");
        hear(&nodes, "c", 3, &["a", "b", "c"]);
        assert_eq!(round(&nodes, "a"), "b c");
        nodes.failed(&node("c"), true);
        assert_eq!(round(&nodes, "a"), "b");
        assert!(nodes.misses_members());
        assert_eq!(nodes.absent(), [node("c")]);
        hear(&nodes, "c", 3, &["a", "b", "c"]);
        assert!(!nodes.misses_members());
    }

    #[test]
    fn every_node_can_be_replaced() {
        let nodes = nodes(&["a", "b"]);
        hear(&nodes, "a", 3, &["a", "b", "c"]);
        nodes.worked(&node("c"));
        hear(&nodes, "c", 9, &["c", "d", "e"]);
        for name in ["d", "e"] {
            hear(&nodes, name, 9, &["c", "d", "e"]);
        }
        for gone in ["a", "b"] {
            nodes.failed(&node(gone), true);
        }
        assert!(!nodes.misses_members(), "the seeds are no members any more");
        assert_eq!(nodes.present(), ["c", "d", "e"].map(node));
        assert_eq!(round(&nodes, "c"), "d e a b", "the seeds come last");
        hear(&nodes, "d", 12, &["d", "e"]);
        assert_eq!(nodes.preferred(), node("d"), "what was preferred is gone");
        assert_eq!(round(&nodes, "d"), "e a b");
    }

    #[test]
    fn what_is_old_empty_or_of_others_is_no_news() {
        let nodes = nodes(&["a"]);
        hear(&nodes, "a", 5, &["a", "b"]);
        hear(&nodes, "b", 5, &["a", "b"]);
        let expected = nodes.all();
        hear(&nodes, "a", 4, &["a", "c"]);
        hear(&nodes, "a", 7, &[]);
        hear(&nodes, "a", 7, &["~a", "~c"]);
        hear(&nodes, "a", 7, &["no address"]);
        hear_of("theirs", &nodes, "b", 9, &["x", "y"]);
        assert!(!nodes.is_news(&node("a"), 7), "what cannot be taken is noted all the same");
        assert!(nodes.is_news(&node("a"), 8), "what others say is not");
        assert!(!nodes.is_news(&node("b"), 9), "nor do they tell anything new");
        assert_eq!(nodes.all(), expected);
        hear(&nodes, "a", 6, &["a"]);
        assert_eq!(nodes.all(), [node("a")]);
    }

    #[test]
    fn a_stranger_at_the_address_of_a_member_is_not_asked() {
        let nodes = nodes(&["proxy"]);
        hear(&nodes, "proxy", 5, &["a", "b"]);
        hear_of("theirs", &nodes, "a", 900, &["a"]);
        assert_eq!(round(&nodes, "proxy"), "");
        assert_eq!(nodes.absent(), ["a", "b"].map(node));
    }

    #[test]
    fn a_seed_leads_into_another_cluster_and_a_member_does_not() {
        let nodes = nodes(&["seed", "other"]);
        hear(&nodes, "seed", 50, &["seed", "a", "b"]);
        for member in ["a", "b"] {
            hear(&nodes, member, 50, &["seed", "a", "b"]);
        }
        nodes.worked(&node("a"));
        hear_of("restored", &nodes, "a", 3, &["a", "c"]);
        assert_eq!(round(&nodes, "seed"), "other b");
        assert_eq!(nodes.preferred(), node("b"));
        hear_of("restored", &nodes, "seed", 3, &[]);
        assert_eq!(nodes.cluster().as_deref(), Some("ours"), "it does not say where to go");

        hear_of("restored", &nodes, "seed", 3, &["seed", "b", "c"]);
        assert_eq!(nodes.cluster().as_deref(), Some("restored"));
        assert_eq!(nodes.all(), ["seed", "other", "b", "c"].map(node));
        assert_eq!(nodes.preferred(), node("seed"), "b has answered for the old cluster only");
        assert_eq!(nodes.absent(), ["b", "c"].map(node));
        assert!(!nodes.is_news(&node("seed"), 3) && nodes.is_news(&node("seed"), 4));
        hear_of("restored", &nodes, "b", 3, &["seed", "b", "c"]);
        assert_eq!(round(&nodes, "seed"), "other b");
        hear(&nodes, "b", 60, &["seed", "a", "b"]);
        assert_eq!(round(&nodes, "seed"), "other");
    }
}
