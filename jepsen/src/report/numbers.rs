//! Figures as people read them.

/// `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if 0 < position && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `grouped` of a length.
pub(crate) fn count(number: usize) -> String {
    grouped(u64::try_from(number).unwrap_or(u64::MAX))
}

/// `1 fault`, `2 faults`.
pub(crate) fn counted(number: usize, word: &str) -> String {
    let plural = match word.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{word}s"),
    };
    format!("{} {}", count(number), if number == 1 { word } else { &plural })
}

/// A moment of a test, in seconds: `14.972`.
pub(crate) fn seconds(ns: u64) -> String {
    let ms = ns / 1_000_000;
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// How long something took: `840 µs`, `3.2 ms`, `1.50 s`.
pub(crate) fn lasted(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..100_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        100_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000.. => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// No more digits than there are: `0.25`, `3`, `1,500`.
pub(crate) fn plain(number: f64) -> String {
    let rounded = (number * 1e6).round() / 1e6;
    let text = format!("{}", rounded.abs());
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), grouped);
    let sign = if rounded < 0.0 { "−" } else { "" };
    match fraction {
        Some(fraction) => format!("{sign}{whole}.{fraction}"),
        None => format!("{sign}{whole}"),
    }
}

/// At most so many characters, of one line.
pub(crate) fn short(text: &str, most: usize) -> String {
    let mut short: String =
        text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_legible() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(
            (counted(1, "anomaly"), counted(2, "anomaly")),
            ("1 anomaly".into(), "2 anomalies".into())
        );
        assert_eq!(counted(0, "fault"), "0 faults");
        assert_eq!(seconds(14_971_939_190), "14.971");
        let lasted = [850_400, 3_240_000, 640_000_000, 5_005_000_000].map(lasted);
        assert_eq!(lasted, ["850 µs", "3.2 ms", "640 ms", "5.00 s"]);
        let plain = [0.1 + 0.2, 1500.0, -2.5, 0.0, -0.0].map(plain);
        assert_eq!(plain, ["0.3", "1,500", "−2.5", "0", "0"]);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(short("größte", 6), "größte");
        assert_eq!(short("größte\n", 6), "größt…");
        assert_eq!(short("a\nb", 3), "a b");
    }
}
