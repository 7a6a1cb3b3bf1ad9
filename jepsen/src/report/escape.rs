//! Text of strangers within HTML, XML and addresses.

use std::fmt::Write;

/// Text as content or within a quoted attribute of HTML or XML. What XML has no room for becomes a
/// replacement character.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A relative path, or any text, within an address. Slashes stay.
pub(crate) fn address(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// A word of a shell's command line.
pub(crate) fn shell(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/=,+".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let cases = [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\" onmouseover='x' a=&", "&quot; onmouseover=&#39;x&#39; a=&amp;"),
            ("a\u{0}b\u{1b}[31m\u{ffff}\n", "a\u{fffd}b\u{fffd}[31m\u{fffd}\n"),
            ("größer ≤ 5 µs", "größer ≤ 5 µs"),
        ];
        for (text, escaped) in cases {
            assert_eq!(escape(text), escaped);
        }
    }

    #[test]
    fn addresses_and_shell_words_are_quoted() {
        assert_eq!(address("soak+kill,pause/a b?#é"), "soak%2Bkill%2Cpause/a%20b%3F%23%C3%A9");
        for (text, quoted) in [("a/b", "a/b"), ("", "''"), ("a b", "'a b'"), ("'$x", r"''\''$x'")] {
            assert_eq!(shell(text), quoted);
        }
    }
}
