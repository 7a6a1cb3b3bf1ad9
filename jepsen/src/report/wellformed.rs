//! Is a text well-formed XML? Enough of the rules to catch what a writer of it does wrong.

/// Elements are nested and closed, attributes quoted and given once, and nothing stands unescaped.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let mut open: Vec<String> = Vec::new();
    let mut rest = text.strip_prefix("<!doctype html>").unwrap_or(text);
    let mut roots = 0;
    while let Some(position) = rest.find('<') {
        content(&rest[..position])?;
        let end = end_of_tag(&rest[position..])?;
        let tag = &rest[position + 1..position + end];
        rest = &rest[position + end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            match open.pop() {
                Some(opened) if opened == name => {}
                other => return Err(format!("</{name}> closes {other:?}")),
            }
            continue;
        }
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let name = tag.split_whitespace().next().unwrap_or_default();
        if name.is_empty() || !name.chars().all(char::is_alphanumeric) {
            return Err(format!("<{tag}>"));
        }
        attributes(&tag[name.len()..])?;
        roots += usize::from(open.is_empty());
        if !closed {
            open.push(name.to_owned());
        }
    }
    content(rest)?;
    if open.is_empty() && roots == 1 {
        Ok(())
    } else {
        Err(format!("{roots} roots, open: {open:?}"))
    }
}

/// Quotes may hold a `>`.
fn end_of_tag(text: &str) -> Result<usize, String> {
    let mut quoted = false;
    for (position, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '>' if !quoted => return Ok(position),
            '<' if 0 < position => break,
            _ => {}
        }
    }
    Err(format!("no end of {}", &text.chars().take(80).collect::<String>()))
}

fn attributes(text: &str) -> Result<(), String> {
    let mut names = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").ok_or_else(|| format!("attribute {rest}"))?;
        let (value, after) = value.split_once('"').ok_or_else(|| format!("quote {rest}"))?;
        content(value)?;
        if names.contains(&name) || name.contains(char::is_whitespace) {
            return Err(format!("attribute {name} in {text}"));
        }
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return Err(format!("no space after {name}"));
        }
        names.push(name);
        rest = after.trim_start();
    }
    Ok(())
}

fn content(text: &str) -> Result<(), String> {
    if let Some(bad) = text.chars().find(|c| c.is_control() && !"\n\t".contains(*c)) {
        return Err(format!("character {bad:?}"));
    }
    for part in text.split('&').skip(1) {
        let name = part.split_once(';').map_or("", |(name, _)| name);
        let numeric = name.strip_prefix('#').is_some_and(|number| number.parse::<u32>().is_ok());
        if !numeric && !["amp", "lt", "gt", "quot"].contains(&name) {
            return Err(format!("&{}", part.chars().take(20).collect::<String>()));
        }
    }
    Ok(())
}

#[test]
fn it_tells_good_from_bad() {
    for good in ["<a/>", "<!doctype html><a b=\"1>\" c=\"&lt;\"><d>x &amp; y</d></a>\n"] {
        assert_eq!(check(good), Ok(()));
    }
    let bad = [
        "",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a b=1/>",
        "<a b=\"1\" b=\"2\"/>",
        "<a>&</a>",
        "<a>&nbsp;</a>",
        "<a b=\"<\"/>",
        "<a>\u{1}</a>",
        "<a><b></a></b>",
        "<a b=\"1\"c=\"2\"/>",
    ];
    for bad in bad {
        assert!(check(bad).is_err(), "{bad}");
    }
}
