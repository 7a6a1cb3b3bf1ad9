//! Identifiers: UUIDs that keep the spelling they came with.
//!
//! v2 compares ids as exact strings, so `A…` and `a…` are two sessions. An id is therefore its
//! 128 bits and a mask that says which of its 32 digits were written in upper case.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A UUID in its canonical 8-4-4-4-12 form, case kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct SpelledUuid {
    bits: u128,
    /// Bit `i` is set where the `i`-th hexadecimal digit from the left is an upper-case letter.
    upper: u32,
}

/// The text is not an 8-4-4-4-12 hexadecimal UUID, or not one of a kind that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")]
pub struct NotAUuid;

const TEXT_LEN: usize = 36;
const DASHES: [usize; 4] = [8, 13, 18, 23];

impl SpelledUuid {
    /// Any 8-4-4-4-12 hexadecimal text: the looser rule of the WebSocket URL.
    fn parse_loose(text: &str) -> Result<Self, NotAUuid> {
        let bytes = text.as_bytes();
        if bytes.len() != TEXT_LEN {
            return Err(NotAUuid);
        }
        let (mut bits, mut upper, mut digit_index) = (0u128, 0u32, 0u32);
        for (position, &byte) in bytes.iter().enumerate() {
            if DASHES.contains(&position) {
                if byte != b'-' {
                    return Err(NotAUuid);
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16).ok_or(NotAUuid)?;
            bits = (bits << 4) | u128::from(digit);
            if byte.is_ascii_uppercase() {
                upper |= 1 << digit_index;
            }
            digit_index += 1;
        }
        Ok(Self { bits, upper })
    }

    /// Bit `i` is set where the `i`-th digit from the left is a letter.
    fn letters(self) -> u32 {
        let is_letter = |index: u32| 9 < (self.bits >> (124 - 4 * index)) & 0xf;
        (0..32).filter(|index| is_letter(*index)).fold(0, |letters, index| letters | 1 << index)
    }

    /// RFC 9562: versions 1 to 8 of the standard variant, or nil, or max in lower case.
    fn parse(text: &str) -> Result<Self, NotAUuid> {
        let uuid = Self::parse_loose(text)?;
        let version = (uuid.bits >> 76) & 0xf;
        let variant = (uuid.bits >> 62) & 0b11;
        let standard = (1..=8).contains(&version) && variant == 0b10;
        let max_in_lower_case = uuid.bits == u128::MAX && uuid.upper == 0;
        if standard || uuid.bits == 0 || max_in_lower_case { Ok(uuid) } else { Err(NotAUuid) }
    }
}

impl fmt::Display for SpelledUuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'-'; TEXT_LEN];
        let mut digit_index = 0u32;
        for (position, byte) in text.iter_mut().enumerate() {
            if DASHES.contains(&position) {
                continue;
            }
            let digit = usize::try_from((self.bits >> (124 - 4 * digit_index)) & 0xf).unwrap_or(0);
            let alphabet = if self.upper >> digit_index & 1 == 1 {
                b"0123456789ABCDEF"
            } else {
                b"0123456789abcdef"
            };
            *byte = alphabet[digit];
            digit_index += 1;
        }
        formatter.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for SpelledUuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.bits.to_le_bytes(), self.upper).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for SpelledUuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            Self::parse_loose(&text).map_err(de::Error::custom)
        } else {
            let (bits, upper) = <([u8; 16], u32)>::deserialize(deserializer)?;
            let id = Self { bits: u128::from_le_bytes(bits), upper };
            // Two spellings of one text would be two ids.
            if upper & !id.letters() == 0 {
                Ok(id)
            } else {
                Err(de::Error::custom("an upper-case digit that is no letter"))
            }
        }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(SpelledUuid);

        impl $name {
            /// Accepts any 8-4-4-4-12 hexadecimal text, whatever its version and variant.
            ///
            /// # Errors
            /// [`NotAUuid`] where the form is another one.
            pub fn parse_loose(text: &str) -> Result<Self, NotAUuid> {
                SpelledUuid::parse_loose(text).map(Self)
            }

            /// The id of these bits in lower case.
            pub const fn from_bits(bits: u128) -> Self {
                Self(SpelledUuid { bits, upper: 0 })
            }

            /// Bits and spelling as bytes whose order is the order of the ids.
            pub fn to_key(self) -> [u8; 20] {
                let mut key = [0; 20];
                key[..16].copy_from_slice(&self.0.bits.to_be_bytes());
                key[16..].copy_from_slice(&self.0.upper.to_be_bytes());
                key
            }

            /// Reads what `to_key` writes; `None` for any other bytes.
            pub fn from_key(key: &[u8]) -> Option<Self> {
                let (bits, upper) = key.split_at_checked(16)?;
                let bits = u128::from_be_bytes(bits.try_into().ok()?);
                let upper = u32::from_be_bytes(upper.try_into().ok()?);
                let id = SpelledUuid { bits, upper };
                (upper & !id.letters() == 0).then_some(Self(id))
            }
        }

        impl FromStr for $name {
            type Err = NotAUuid;

            /// The rule of the REST routes: RFC 9562, versions 1 to 8, nil, or max in lower case.
            fn from_str(text: &str) -> Result<Self, NotAUuid> {
                SpelledUuid::parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }
    };
}

id! {
    /// Names a session; chosen by its creator.
    SessionId
}
id! {
    /// Names a participant within its session.
    ParticipantId
}
id! {
    /// Names a group of participants who share a bank.
    GroupId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_rule_is_the_one_of_v2() {
        let table = [
            ("123e4567-e89b-12d3-a456-426614174000", true),
            ("123E4567-e89b-82d3-B456-426614174000", true),
            ("00000000-0000-0000-0000-000000000000", true),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", true),
            ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", false),
            ("123e4567-e89b-02d3-a456-426614174000", false),
            ("123e4567-e89b-92d3-a456-426614174000", false),
            ("123e4567-e89b-12d3-c456-426614174000", false),
            ("123e4567-e89b-12d3-7456-426614174000", false),
            ("123e4567e89b12d3a456426614174000", false),
            ("{123e4567-e89b-12d3-a456-426614174000}", false),
            (" 123e4567-e89b-12d3-a456-426614174000", false),
            ("123e4567-e89b-12d3-a456-42661417400g", false),
            ("", false),
        ];
        for (text, accepted) in table {
            assert_eq!(text.parse::<SessionId>().is_ok(), accepted, "{text}");
        }
    }

    #[test]
    fn spelling_is_kept_and_tells_ids_apart() {
        let mixed = "123E4567-e89B-12d3-A456-42661417400f";
        let id: SessionId = mixed.parse().unwrap();
        assert_eq!(id.to_string(), mixed);
        assert_ne!(id, mixed.to_lowercase().parse().unwrap());
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{mixed}\""));
        assert_eq!(serde_json::from_str::<SessionId>(&json).unwrap(), id);
    }

    #[test]
    fn one_text_has_one_binary_form() {
        let bits = 0xA0_u128 << 120;
        let encode = |upper: u32| {
            crate::codec::encode(crate::codec::Kind::SessionRow, 1, &(bits.to_le_bytes(), upper))
                .unwrap()
        };
        let decode = |bytes: &[u8]| {
            crate::codec::decode::<SessionId>(crate::codec::Kind::SessionRow, 1, bytes)
        };
        assert!(decode(&encode(0b01)).is_ok());
        assert!(decode(&encode(0b10)).is_err());
    }

    #[test]
    fn websocket_rule_is_looser() {
        assert!(SessionId::parse_loose("123e4567-e89b-92d3-c456-426614174000").is_ok());
        assert_eq!(SessionId::parse_loose("nonsense"), Err(NotAUuid));
    }
}
