//! Percent-escapes in paths and queries.

/// The text without its escapes; `None` where an escape is broken or what it hides is no UTF-8.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The first value of `key` in a query; a broken escape stays as it is.
pub(super) fn query_value(query: &str, key: &str) -> Option<String> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode(&spaced).unwrap_or(spaced)
    };
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name) == key).then(|| decode(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_or_refused() {
        let table = [
            ("plain", Some("plain")),
            ("a%2Fb%c3%A9", Some("a/bé")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%ff", None),
        ];
        for (text, decoded) in table {
            assert_eq!(percent_decode(text).as_deref(), decoded, "{text}");
        }
    }

    #[test]
    fn the_first_of_repeated_parameters_wins() {
        let table = [
            ("sessionId=a&sessionId=b", Some("a")),
            ("x=1&sessionId=a%2Db", Some("a-b")),
            ("sessionId", Some("")),
            ("session_id=a", None),
            ("sessionId=%", Some("%")),
            ("", None),
        ];
        for (query, value) in table {
            assert_eq!(query_value(query, "sessionId").as_deref(), value, "{query}");
        }
    }
}
