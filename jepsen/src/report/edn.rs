//! Results as EDN, shaped as Jepsen's: `results.edn`.

use serde_json::Value;

use super::headline::overall;
use crate::check::verdict::{Validity, Verdict};

/// `{:valid? true, :stream {:valid? true, ...}}`.
pub(super) fn results(verdicts: &[Verdict]) -> String {
    let mut text = format!("{{:valid? {}", validity(overall(verdicts)));
    for verdict in verdicts {
        text.push_str(",\n ");
        text.push_str(&keyword(&verdict.checker));
        text.push_str(&format!(" {{:valid? {}", validity(verdict.valid)));
        if let Some(why) = &verdict.why {
            text.push_str(", :why ");
            string(why, &mut text);
        }
        if !verdict.anomalies.is_empty() {
            text.push_str(",\n  :anomalies ");
            element(&serde_json::to_value(&verdict.anomalies).unwrap_or_default(), &mut text);
        }
        for (name, fact) in &verdict.facts {
            text.push_str(&format!(",\n  {} ", keyword(name)));
            element(fact, &mut text);
        }
        text.push('}');
    }
    text.push_str("}\n");
    text
}

const fn validity(valid: Validity) -> &'static str {
    match valid {
        Validity::Valid => "true",
        Validity::Unknown => ":unknown",
        Validity::Invalid => "false",
    }
}

fn element(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("nil"),
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(content) => string(content, text),
        Value::Array(elements) => {
            text.push('[');
            for (position, value) in elements.iter().enumerate() {
                text.push_str(if position == 0 { "" } else { " " });
                element(value, text);
            }
            text.push(']');
        }
        Value::Object(entries) => {
            text.push('{');
            for (position, (key, value)) in entries.iter().enumerate() {
                text.push_str(if position == 0 { "" } else { ", " });
                text.push_str(&keyword(key));
                text.push(' ');
                element(value, text);
            }
            text.push('}');
        }
    }
}

/// A keyword where the name can be one, else a string.
fn keyword(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_?!*+.".contains(&byte);
    if name.bytes().all(plain) && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
    {
        return format!(":{name}");
    }
    let mut text = String::new();
    string(name, &mut text);
    text
}

fn string(content: &str, text: &mut String) {
    text.push('"');
    for character in content.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            control if control.is_control() => {
                text.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::verdict::Anomaly;

    #[test]
    fn results_are_jepsens_maps() {
        let verdicts = [
            Verdict::of("stream", vec![Anomaly::new("a \"b\"\n").session("s")]).with("syncs", 3),
            Verdict::of("clock", Vec::new())
                .unknown("none\u{1}")
                .with("by f", json!({"a": [1, null], "1": true})),
            Verdict::of("lists", Vec::new()),
        ];
        let expected = "{:valid? false,\n \
            :stream {:valid? false,\n  :anomalies [{:session \"s\", :what \"a \\\"b\\\"\\n\"}],\n  :syncs 3},\n \
            :clock {:valid? :unknown, :why \"none\\u0001\",\n  \"by f\" {\"1\" true, :a [1 nil]}},\n \
            :lists {:valid? true}}\n";
        assert_eq!(results(&verdicts), expected);
        assert_eq!(results(&[]), "{:valid? :unknown}\n");
    }
}
