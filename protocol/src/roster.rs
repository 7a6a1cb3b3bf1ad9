//! Who may be in the cluster: join tokens, ids that were given out, and ids that never come back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{limits, reject::Reject, time::Stamp};

pub type TokenId = [u8; 16];

/// Lets one node in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Of its secret.
    pub digest: [u8; 32],
    pub expires_at: Stamp,
    /// The member that goes when the new one has caught up.
    pub replaces: Option<u64>,
}

/// What a node shows that wants in.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    pub token: &'a TokenId,
    /// Of the token's secret.
    pub digest: &'a [u8; 32],
    /// Hash of the node's public key.
    pub key: &'a [u8; 32],
    /// Where it will be reached: `host:port`.
    pub peer: &'a str,
    pub http: &'a str,
}

impl Shown<'_> {
    /// Two nodes cannot be reached at one address.
    ///
    /// # Errors
    /// [`Reject::AddressTaken`] where `node`, which is reached at these, has one of its addresses.
    pub fn require_apart(&self, node: u64, (peer, http): (&str, &str)) -> Result<(), Reject> {
        for (address, theirs) in [(self.peer, peer), (self.http, http)] {
            if address.eq_ignore_ascii_case(theirs) {
                return Err(Reject::AddressTaken { address: address.to_owned(), node });
            }
        }
        Ok(())
    }
}

/// A node that showed a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    pub peer: String,
    pub http: String,
    pub replaces: Option<u64>,
}

/// A token that let a node in. Kept until it expires, so that a node that did not get its answer
/// can ask again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    digest: [u8; 32],
    /// Hash of the public key of the node that may ask again: nobody else gets its answer.
    key: [u8; 32],
    expires_at: Stamp,
    node: u64,
    /// The node votes, so it got its answer.
    done: bool,
}

/// Frozen as it is stored: a change is a new format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The highest id that anybody ever had.
    highest: u64,
    /// Of the current membership, learners included.
    members: BTreeSet<u64>,
    /// Were members once. Their data may be gone, and with it votes they gave: a node that came
    /// back under such an id could vote twice.
    retired: BTreeSet<u64>,
    tokens: BTreeMap<TokenId, Token>,
    admitted: BTreeMap<u64, Admission>,
    used: BTreeMap<TokenId, Used>,
}

impl Roster {
    /// Of a cluster that has these members and nothing to remember.
    pub fn of_members(members: impl IntoIterator<Item = u64>) -> Self {
        let members: BTreeSet<u64> = members.into_iter().collect();
        let highest = members.last().copied().unwrap_or(0);
        Self { highest, members, ..Self::default() }
    }

    /// The cluster has these members from now on, of whom these vote.
    pub(crate) fn note_members(&mut self, members: BTreeSet<u64>, voters: &BTreeSet<u64>) {
        self.retired.extend(self.members.difference(&members));
        self.admitted.retain(|node, _| !self.retired.contains(node));
        for used in self.used.values_mut() {
            used.done |= voters.contains(&used.node);
        }
        self.highest = self.highest.max(members.last().copied().unwrap_or(0));
        self.members = members;
    }

    /// Was it a member, and is none any more? Its id is never used again.
    pub fn is_retired(&self, node: u64) -> bool {
        self.retired.contains(&node)
    }

    /// The id that the next node gets.
    pub fn next_node(&self) -> u64 {
        self.highest + 1
    }

    pub fn members(&self) -> &BTreeSet<u64> {
        &self.members
    }

    pub fn token(&self, id: &TokenId) -> Option<&Token> {
        self.tokens.get(id)
    }

    /// How the node came in, where it joined by token and is still there.
    pub fn admitted(&self, node: u64) -> Option<&Admission> {
        self.admitted.get(&node)
    }

    /// All nodes that joined by token and are still there, or have not come yet.
    pub fn all_admitted(&self) -> impl Iterator<Item = (&u64, &Admission)> {
        self.admitted.iter()
    }

    pub(crate) fn create_token(
        &mut self,
        id: TokenId,
        token: Token,
        now: Stamp,
    ) -> Result<(), Reject> {
        self.tokens.retain(|_, token| now < token.expires_at);
        if let Some(node) = token.replaces
            && !self.members.contains(&node)
        {
            return Err(Reject::NodeUnknown { node });
        }
        if limits::TOKENS_MAX <= self.tokens.len() {
            return Err(Reject::TooManyTokens { max: limits::TOKENS_MAX as u64 });
        }
        self.used.remove(&id);
        self.tokens.insert(id, token);
        Ok(())
    }

    /// What `Roster::admit` would say now.
    ///
    /// # Errors
    /// The reason why nobody is let in.
    pub fn would_admit(&self, shown: &Shown<'_>, now: Stamp) -> Result<(u64, Option<u64>), Reject> {
        let Shown { token: id, digest, key, peer, http } = *shown;
        if [peer, http].iter().any(|address| limits::ADDRESS_BYTES_MAX < address.len()) {
            return Err(Reject::Malformed {
                rule: String::from("addresses are at most 300 bytes"),
            });
        }
        if let Some(used) = self.used.get(id).filter(|used| used.digest == *digest) {
            let may_ask_again = !used.done && now < used.expires_at && used.key == *key;
            let same =
                |admission: &&Admission| (&*admission.peer, &*admission.http) == (peer, http);
            return match self.admitted.get(&used.node).filter(same) {
                Some(admission) if may_ask_again => Ok((used.node, admission.replaces)),
                _ => Err(Reject::TokenUsed { node: used.node }),
            };
        }
        let token = self.tokens.get(id).filter(|token| token.digest == *digest);
        let token = token.ok_or(Reject::TokenUnknown)?;
        if token.expires_at <= now {
            return Err(Reject::TokenExpired);
        }
        if let Some(node) = token.replaces
            && !self.members.contains(&node)
        {
            return Err(Reject::NodeUnknown { node });
        }
        // Two that took one place would be one voter more, without a word.
        let rival = self
            .admitted
            .iter()
            .find(|(_, other)| token.replaces.is_some() && other.replaces == token.replaces);
        if let (Some((by, _)), Some(node)) = (rival, token.replaces) {
            return Err(Reject::BeingReplaced { node, by: *by });
        }
        for (node, other) in self.admitted.iter().filter(|(id, _)| Some(**id) != token.replaces) {
            shown.require_apart(*node, (&other.peer, &other.http))?;
        }
        Ok((self.next_node(), token.replaces))
    }

    /// Uses up the token; the id that the node gets, and whom it replaces. The same node gets the
    /// same answer again, until it votes or the token expires.
    pub(crate) fn admit(
        &mut self,
        shown: &Shown<'_>,
        now: Stamp,
    ) -> Result<(u64, Option<u64>), Reject> {
        let (node, replaces) = self.would_admit(shown, now)?;
        if let Some(Token { digest, expires_at, .. }) = self.tokens.remove(shown.token) {
            self.highest = node;
            let (peer, http) = (shown.peer.to_owned(), shown.http.to_owned());
            self.admitted.insert(node, Admission { peer, http, replaces });
            let used = Used { digest, key: *shown.key, expires_at, node, done: false };
            self.remember(*shown.token, used, now);
        }
        Ok((node, replaces))
    }

    fn remember(&mut self, id: TokenId, used: Used, now: Stamp) {
        self.used.retain(|_, used| now < used.expires_at);
        if limits::TOKENS_MAX <= self.used.len() {
            // Ids grow, so this is the one that has waited longest for somebody to ask again.
            let oldest = self.used.iter().min_by_key(|(_, used)| used.node).map(|(id, _)| *id);
            oldest.map(|oldest| self.used.remove(&oldest));
        }
        self.used.insert(id, used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Stamp = Stamp::from_unix_millis(1_000);
    /// What the node of the tests shows.
    const SHOWN: Shown<'static> =
        Shown { token: &[9; 16], digest: &[1; 32], key: &[5; 32], peer: "a:1", http: "a:2" };

    fn token(replaces: Option<u64>) -> Token {
        Token { digest: [1; 32], expires_at: Stamp::from_unix_millis(2_000), replaces }
    }

    #[test]
    fn a_token_lets_one_node_in() {
        let mut roster = Roster::of_members([1, 2, 3]);
        roster.create_token([9; 16], token(Some(2)), NOW).unwrap();
        assert_eq!(
            roster.admit(&Shown { digest: &[2; 32], ..SHOWN }, NOW),
            Err(Reject::TokenUnknown)
        );
        let late = Stamp::from_unix_millis(2_000);
        assert_eq!(roster.admit(&SHOWN, late), Err(Reject::TokenExpired));
        assert_eq!(roster.admit(&SHOWN, NOW), Ok((4, Some(2))));
        assert_eq!(roster.admitted(4).unwrap().replaces, Some(2));
        assert_eq!(roster.next_node(), 5);
    }

    /// The node of a token that was used, having lost the answer.
    fn joined() -> Roster {
        let mut roster = Roster::of_members([1, 2, 3]);
        roster.create_token([9; 16], token(Some(2)), NOW).unwrap();
        assert_eq!(roster.admit(&SHOWN, NOW), Ok((4, Some(2))));
        roster
    }

    #[test]
    fn whoever_lost_its_answer_asks_again() {
        let mut roster = joined();
        let before = roster.clone();
        assert_eq!(roster.admit(&SHOWN, NOW), Ok((4, Some(2))));
        assert_eq!(roster, before);
        let used = Err(Reject::TokenUsed { node: 4 });
        let others = [
            Shown { peer: "b:1", ..SHOWN },
            Shown { http: "b:2", ..SHOWN },
            Shown { key: &[6; 32], ..SHOWN },
        ];
        for other in others {
            assert_eq!(roster.admit(&other, NOW), used, "{other:?}");
        }
        assert_eq!(
            roster.admit(&Shown { digest: &[2; 32], ..SHOWN }, NOW),
            Err(Reject::TokenUnknown)
        );
        let late = Stamp::from_unix_millis(2_000);
        assert_eq!(roster.admit(&SHOWN, late), used);
        // Whom it replaces may have gone by then.
        roster.note_members([1, 3, 4].into(), &[1, 3].into());
        assert_eq!(roster.admit(&SHOWN, NOW), Ok((4, Some(2))));
    }

    #[test]
    fn nobody_gets_the_answer_of_a_node_that_votes_or_is_gone() {
        let used = Err(Reject::TokenUsed { node: 4 });
        let mut roster = joined();
        roster.note_members([1, 2, 3, 4].into(), &[1, 2, 3, 4].into());
        assert_eq!(roster.admit(&SHOWN, NOW), used);
        let mut roster = joined();
        roster.note_members([1, 2, 3, 4].into(), &[1, 2, 3].into());
        roster.note_members([1, 2, 3].into(), &[1, 2, 3].into());
        assert_eq!(roster.admit(&SHOWN, NOW), used);
    }

    #[test]
    fn an_address_that_another_node_has_uses_up_no_token() {
        let mut roster = joined();
        roster.create_token([7; 16], token(None), NOW).unwrap();
        let other = Shown { token: &[7; 16], key: &[6; 32], peer: "b:1", http: "b:2", ..SHOWN };
        let before = roster.clone();
        for (shown, address) in [
            (Shown { peer: "a:1", ..other }, "a:1"),
            (Shown { peer: "A:1", ..other }, "A:1"),
            (Shown { http: "a:2", ..other }, "a:2"),
        ] {
            let taken = Reject::AddressTaken { address: address.to_owned(), node: 4 };
            assert_eq!(roster.admit(&shown, NOW), Err(taken), "{shown:?}");
        }
        assert_eq!(roster, before);
        // One is UDP, the other TCP.
        assert_eq!(roster.admit(&Shown { peer: "a:2", http: "a:1", ..other }, NOW), Ok((5, None)));
        // A node in another's place may have its addresses; one that is gone has none.
        roster.note_members([1, 2, 3, 4, 5].into(), &[1, 2, 3].into());
        roster.create_token([8; 16], token(Some(4)), NOW).unwrap();
        let instead = Shown { token: &[8; 16], ..SHOWN };
        assert_eq!(roster.admit(&instead, NOW), Ok((6, Some(4))));
        roster.note_members([1, 2, 3].into(), &[1, 2, 3].into());
        roster.create_token([7; 16], token(None), NOW).unwrap();
        let reused = Shown { peer: "a:2", http: "a:1", ..other };
        assert_eq!(roster.admit(&reused, NOW), Ok((7, None)));
    }

    #[test]
    fn used_tokens_are_bounded_too() {
        let mut roster = Roster::of_members([1]);
        let show = |roster: &mut Roster, number: usize, now| {
            let (token, place) = ((number as u128).to_be_bytes(), format!("node-{number}:1"));
            roster.admit(&Shown { token: &token, peer: &place, http: &place, ..SHOWN }, now)
        };
        let id = |number: usize| (number as u128).to_be_bytes();
        for number in 0..=limits::TOKENS_MAX {
            roster.create_token(id(number), token(None), NOW).unwrap();
            show(&mut roster, number, NOW).unwrap();
        }
        assert_eq!(roster.used.len(), limits::TOKENS_MAX);
        assert_eq!(show(&mut roster, 0, NOW), Err(Reject::TokenUnknown));
        assert_eq!(show(&mut roster, 1, NOW), Ok((3, None)));
        let late = Stamp::from_unix_millis(2_000);
        let later = Token { expires_at: Stamp::from_unix_millis(9_000), ..token(None) };
        roster.create_token(id(1_000), later, late).unwrap();
        show(&mut roster, 1_000, late).unwrap();
        assert_eq!(roster.used.len(), 1);
    }

    #[test]
    fn ids_are_never_used_twice() {
        let mut roster = Roster::of_members([1, 2, 3]);
        roster.note_members([1, 2, 3, 7].into(), &[1, 2, 3].into());
        roster.note_members([1, 2].into(), &[1, 2].into());
        assert!(roster.is_retired(3) && roster.is_retired(7) && !roster.is_retired(2));
        assert_eq!(roster.next_node(), 8);
        roster.create_token([9; 16], token(None), NOW).unwrap();
        assert_eq!(roster.admit(&SHOWN, NOW), Ok((8, None)));
        // Let in, and never seen: its id is gone all the same.
        assert_eq!(roster.next_node(), 9);
    }

    #[test]
    fn one_node_takes_the_place_of_another_and_no_second_one_does() {
        let mut roster = Roster::of_members([1, 2, 3]);
        for id in [9, 8] {
            roster.create_token([id; 16], token(Some(2)), NOW).unwrap();
        }
        assert_eq!(roster.admit(&SHOWN, NOW), Ok((4, Some(2))));
        let second = Shown { token: &[8; 16], key: &[6; 32], peer: "b:1", http: "b:2", ..SHOWN };
        assert_eq!(roster.admit(&second, NOW), Err(Reject::BeingReplaced { node: 2, by: 4 }));
        // The first one did not come, and its operator gave up on it.
        roster.note_members([1, 2, 3, 4].into(), &[1, 2, 3].into());
        roster.note_members([1, 2, 3].into(), &[1, 2, 3].into());
        assert_eq!(roster.admit(&second, NOW), Ok((5, Some(2))));
    }

    #[test]
    fn tokens_are_bounded_and_those_that_expired_make_room() {
        let mut roster = Roster::of_members([1]);
        for number in 0..limits::TOKENS_MAX {
            let id = (number as u128).to_be_bytes();
            roster.create_token(id, token(None), NOW).unwrap();
        }
        assert!(matches!(
            roster.create_token([255; 16], token(None), NOW),
            Err(Reject::TooManyTokens { .. })
        ));
        let later = Token { expires_at: Stamp::from_unix_millis(9_000), ..token(None) };
        roster.create_token([255; 16], later, Stamp::from_unix_millis(2_000)).unwrap();
        assert_eq!(
            roster.create_token([1; 16], token(Some(5)), NOW),
            Err(Reject::NodeUnknown { node: 5 })
        );
    }
}
