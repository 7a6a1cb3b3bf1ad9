//! A name for each request: the client's own where it is harmless, else a new one.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a client.
const LENGTH_MAX: usize = 128;

#[derive(Clone, Debug)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The id that the client sent, where it is short and plain; a new UUID of version 7 otherwise.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(&HEADER).filter(|value| is_plain(value.as_bytes()));
        Self(sent.cloned().unwrap_or_else(fresh))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(super) fn into_header(self) -> HeaderValue {
        self.0
    }
}

fn fresh() -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("a UUID is plain ASCII")
}

fn is_plain(bytes: &[u8]) -> bool {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    (1..=LENGTH_MAX).contains(&bytes.len()) && bytes.iter().all(harmless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_ids_are_taken_over() {
        let long = "a".repeat(LENGTH_MAX + 1);
        let table = [
            ("abc-123_4.5", true),
            ("", false),
            ("two words", false),
            ("<script>", false),
            (long.as_str(), false),
            (&long[1..], true),
        ];
        for (sent, kept) in table {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_str(sent).unwrap());
            let id = RequestId::of(&headers);
            assert_eq!(id.as_str() == sent, kept, "{sent}");
            assert!(!id.as_str().is_empty());
        }
    }
}
