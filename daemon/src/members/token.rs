//! Join tokens: one line that lets one new node find a cluster, know it, and be let in.
//!
//! Whoever holds one can become a node until it is used or expires, so it is as secret as a key.

use std::{fmt, str::FromStr};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use synckairos_protocol::codec::{self, DecodeError, EncodeError, Kind};

use crate::pki::{ClusterId, tls};

/// What every token begins with: it can be found in a text, and says which kind of token it is.
const PREFIX: &str = "skj1_";
const FORMAT: u16 = 1;

/// All that a new node must know to join.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JoinToken {
    pub(crate) cluster: ClusterId,
    /// Of the certificate of the cluster's authority.
    pub(crate) pin: [u8; 32],
    /// Who may be asked: ids, and where their peer ports are, `host:port`.
    pub(crate) nodes: Vec<(u64, String)>,
    /// Under which the cluster knows the token.
    pub(crate) id: [u8; 16],
    pub(crate) secret: [u8; 32],
    /// Cluster time.
    pub(crate) expires_at_ms: u64,
}

/// Frozen: a change is a new format.
#[derive(Serialize, Deserialize)]
struct JoinTokenV1 {
    cluster: [u8; 16],
    pin: [u8; 32],
    nodes: Vec<(u64, String)>,
    id: [u8; 16],
    secret: [u8; 32],
    expires_at_ms: u64,
}

/// A token cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoToken {
    #[error("the operating system has no randomness for a join token; try again")]
    Random,
    #[error("cannot write the join token down: {0}")]
    Encode(#[from] EncodeError),
}

/// A text that is no token, or none that this version reads. Never holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAToken {
    #[error(
        "this is no join token: those begin with {PREFIX}; give the whole line that `synckairos \
         cluster token create` printed"
    )]
    Other,
    #[error(
        "the join token is not whole, or a character of it is wrong; copy the whole line again \
         that `synckairos cluster token create` printed"
    )]
    Damaged,
    #[error(
        "the join token was made by a newer version; install the version that the cluster's nodes \
         run (`synckairos cluster status` shows it)"
    )]
    Newer,
}

impl JoinToken {
    /// A token that nobody ever had, to a cluster whose authority has this pin.
    ///
    /// # Errors
    /// [`NoToken::Random`].
    pub(crate) fn new(
        cluster: ClusterId,
        pin: [u8; 32],
        nodes: Vec<(u64, String)>,
        expires_at_ms: u64,
    ) -> Result<Self, NoToken> {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        for bytes in [&mut id[..], &mut secret] {
            tls::provider().secure_random.fill(bytes).map_err(|_| NoToken::Random)?;
        }
        Ok(Self { cluster, pin, nodes, id, secret, expires_at_ms })
    }

    /// What the cluster keeps of the secret.
    pub(crate) fn digest(&self) -> [u8; 32] {
        digest_of(&self.secret)
    }

    /// The line that an operator carries to the new node.
    ///
    /// # Errors
    /// [`NoToken::Encode`] where the addresses of its nodes are longer than a message may be.
    pub(crate) fn text(&self) -> Result<String, NoToken> {
        let token = JoinTokenV1 {
            cluster: self.cluster.to_bytes(),
            pin: self.pin,
            nodes: self.nodes.clone(),
            id: self.id,
            secret: self.secret,
            expires_at_ms: self.expires_at_ms,
        };
        let bytes = codec::encode(Kind::JoinToken, FORMAT, &token)?;
        Ok(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
    }
}

/// What the cluster keeps of a token's secret.
pub(crate) fn digest_of(secret: &[u8; 32]) -> [u8; 32] {
    *blake3::hash(secret).as_bytes()
}

impl FromStr for JoinToken {
    type Err = NotAToken;

    /// Reads a line, with or without space around it.
    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let text = text.trim();
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            return Err(if is_newer(text) { NotAToken::Newer } else { NotAToken::Other });
        };
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| NotAToken::Damaged)?;
        let token =
            codec::decode(Kind::JoinToken, FORMAT, &bytes).map_err(|error| match error {
                DecodeError::NewerFormat { .. } => NotAToken::Newer,
                DecodeError::Truncated { .. }
                | DecodeError::NotOurs
                | DecodeError::WrongKind { .. }
                | DecodeError::WrongLength { .. }
                | DecodeError::Damaged { .. }
                | DecodeError::Payload { .. } => NotAToken::Damaged,
            })?;
        let JoinTokenV1 { cluster, pin, nodes, id, secret, expires_at_ms } = token;
        let cluster = ClusterId::from_bytes(cluster);
        Ok(Self { cluster, pin, nodes, id, secret, expires_at_ms })
    }
}

/// `skj2_` and so on.
fn is_newer(text: &str) -> bool {
    let number = text.strip_prefix("skj").and_then(|rest| rest.split_once('_'));
    number.is_some_and(|(number, _)| number.parse::<u32>().is_ok_and(|number| 1 < number))
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JoinToken")
            .field("cluster", &self.cluster)
            .field("nodes", &self.nodes)
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As released: tokens that were made must stay readable.
    const GOLDEN: &str = "skj1_U0sOAQAAiwAAAB0jRXwPj61b2ctGn6FlcIZ3KJUOAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\
         BAQEBAQECAQ0xMC4wLjAuMTo3NDAw-ywBDmIuZXhhbXBsZTo3NDAwAgICAgICAgICAgICAgICAgMDAwM\
         DAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD_QDkEBOcAQAA";

    fn example() -> JoinToken {
        JoinToken {
            cluster: "0f8fad5b-d9cb-469f-a165-70867728950e".parse().unwrap(),
            pin: [1; 32],
            nodes: vec![(1, String::from("10.0.0.1:7400")), (300, String::from("b.example:7400"))],
            id: [2; 16],
            secret: [3; 32],
            expires_at_ms: 1_769_846_400_000,
        }
    }

    #[test]
    fn the_text_keeps_its_form() {
        assert_eq!(example().text().unwrap(), GOLDEN);
        assert_eq!(GOLDEN.parse::<JoinToken>(), Ok(example()));
        assert_eq!(format!(" {GOLDEN}\n").parse::<JoinToken>(), Ok(example()));
    }

    #[test]
    fn every_token_is_new_and_reads_as_it_was() {
        let token = || JoinToken::new(example().cluster, [1; 32], example().nodes, 77).unwrap();
        let (one, other) = (token(), token());
        assert!(one.id != other.id && one.secret != other.secret);
        assert_ne!(one.secret, [0; 32]);
        assert_eq!(one.text().unwrap().parse::<JoinToken>(), Ok(one));
    }

    #[test]
    fn no_cut_is_taken_for_a_token() {
        let text = example().text().unwrap();
        for length in 0..text.len() {
            let refused = text[..length].parse::<JoinToken>().unwrap_err();
            assert!(refused.to_string().contains("the whole line"), "{length}: {refused}");
        }
        let longer = format!("{text}A").parse::<JoinToken>();
        assert_eq!(longer, Err(NotAToken::Damaged));
    }

    #[test]
    fn no_other_character_is_taken_for_the_right_one() {
        let text = example().text().unwrap();
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_ =é";
        for (position, right) in text.char_indices() {
            for wrong in letters.chars().filter(|letter| *letter != right) {
                let before = &text[..position];
                let mistyped = format!("{before}{wrong}{}", &text[position + 1..]);
                let refused = mistyped.parse::<JoinToken>();
                let Err(refused) = refused else { panic!("{wrong:?} at {position} is taken") };
                let told = refused.to_string();
                let what_to_do = told.contains("the whole line") || told.contains("install");
                assert!(what_to_do, "{wrong:?} at {position}: {told}");
            }
        }
    }

    #[test]
    fn a_newer_token_is_told_from_a_mistyped_one() {
        let newer = codec::encode(Kind::JoinToken, FORMAT + 1, &"something else").unwrap();
        let newer = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&newer));
        assert_eq!(newer.parse::<JoinToken>(), Err(NotAToken::Newer));
        assert_eq!("skj2_AAAA".parse::<JoinToken>(), Err(NotAToken::Newer));
        assert_eq!("skjx_AAAA".parse::<JoinToken>(), Err(NotAToken::Other));
        let other = codec::encode(Kind::Vote, 1, &1_u8).unwrap();
        let other = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&other));
        assert_eq!(other.parse::<JoinToken>(), Err(NotAToken::Damaged));
    }

    #[test]
    fn nobody_prints_the_secret() {
        let token = JoinToken { secret: [0xab; 32], ..example() };
        let printed = format!("{token:?} {token:#?}");
        assert!(printed.contains("10.0.0.1:7400"), "{printed}");
        for spelling in ["171", "abab", "ABAB"] {
            assert!(!printed.contains(spelling), "{printed}");
        }
        assert_ne!(token.digest(), token.secret);
        assert_eq!(token.digest(), digest_of(&token.secret));
    }
}
