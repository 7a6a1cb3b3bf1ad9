//! The `Idempotency-Key` header: under which a request that changes something may be sent again
//! and has one effect and one answer.

use http::{HeaderMap, HeaderValue};
use synckairos_protocol::{
    limits,
    wire::problem::{FieldIssue, IssueCode},
};

/// In the spelling of the IETF's draft; it names the field in complaints, too.
pub(super) const NAME: &str = "Idempotency-Key";

/// The key that the request carries, if it carries one.
///
/// # Errors
/// There are several, or it is none: [`limits::REQUEST_KEY_BYTES_MAX`] bytes of visible ASCII at most.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, FieldIssue> {
    let mut given = headers.get_all(NAME).into_iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        let message = "Idempotency key is given more than once";
        return Err(FieldIssue::new(NAME, IssueCode::InvalidValue, message));
    }
    let Some(key) = read(value) else {
        let message = "Idempotency key is not one word of visible ASCII, bare or in double quotes";
        return Err(FieldIssue::new(NAME, IssueCode::InvalidFormat, message));
    };
    let max = limits::REQUEST_KEY_BYTES_MAX;
    match key.len() {
        0 => {
            let message = "Idempotency key is empty";
            Err(FieldIssue::new(NAME, IssueCode::TooSmall, message))
        }
        length if max < length => {
            let message = format!("Idempotency key is {length} bytes, at most {max}");
            Err(FieldIssue::new(NAME, IssueCode::TooBig, message))
        }
        _ => Ok(Some(key)),
    }
}

/// The bare word, or what is inside a structured field's string.
fn read(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let key = match text.strip_prefix('"') {
        None => text.to_owned(),
        Some(quoted) => unquoted(quoted)?,
    };
    key.bytes().all(|byte| byte.is_ascii_graphic()).then_some(key)
}

/// What stands before the closing quote, which must be the end.
fn unquoted(quoted: &str) -> Option<String> {
    let mut key = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return rest.next().is_none().then_some(key),
            '\\' => match rest.next()? {
                escaped @ ('"' | '\\') => key.push(escaped),
                _ => return None,
            },
            plain => key.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_words_bare_or_quoted() {
        let (longest, too_long) = ("k".repeat(255), "k".repeat(256));
        let quoted_longest = format!("\"{longest}\"");
        let table = [
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", Ok("8e03978e-40d5-43dd-bc93-6894a57f9324")),
            ("\"8e03978e\"", Ok("8e03978e")),
            (r#""a\"b\\c""#, Ok(r#"a"b\c"#)),
            ("a\"b", Ok("a\"b")),
            ("!~", Ok("!~")),
            (longest.as_str(), Ok(longest.as_str())),
            (quoted_longest.as_str(), Ok(longest.as_str())),
            (too_long.as_str(), Err(IssueCode::TooBig)),
            ("", Err(IssueCode::TooSmall)),
            ("\"\"", Err(IssueCode::TooSmall)),
            ("a b", Err(IssueCode::InvalidFormat)),
            ("\"a b\"", Err(IssueCode::InvalidFormat)),
            ("a\tb", Err(IssueCode::InvalidFormat)),
            ("\"open", Err(IssueCode::InvalidFormat)),
            ("\"a\";b=1", Err(IssueCode::InvalidFormat)),
            (r#""a\n""#, Err(IssueCode::InvalidFormat)),
        ];
        for (text, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(NAME, HeaderValue::from_str(text).unwrap());
            let found = key(&headers);
            let found =
                found.as_ref().map(|key| key.as_deref().unwrap()).map_err(|issue| issue.code);
            assert_eq!(found, expected, "{text}");
        }
        let mut foreign = HeaderMap::new();
        foreign.insert(NAME, HeaderValue::from_bytes(b"k\xff").unwrap());
        assert_eq!(key(&foreign).unwrap_err().code, IssueCode::InvalidFormat);
    }

    #[test]
    fn none_is_none_and_two_are_too_many() {
        let mut headers = HeaderMap::new();
        assert_eq!(key(&headers), Ok(None));
        headers.append(NAME, HeaderValue::from_static("a"));
        headers.append(NAME, HeaderValue::from_static("a"));
        assert_eq!(key(&headers).unwrap_err().code, IssueCode::InvalidValue);
    }
}
