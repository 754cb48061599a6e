//! Values as they can stand in a recording, in one line each. (TOML's own writer gives a text with line
//! ends several.)

use std::fmt::Write as _;

use toml::Value;

/// A value.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(self::value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(fields) => {
            let field = |(name, field)| format!("{name} = {}", self::value(field));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(time) => time.to_string(),
    }
}

/// A text, with what could be taken for something else escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let text =
            "v = [\"a\\n\\t\\\"\\\\\\u001b\\u0085é\", 1, true, [\"x\", \"y\"], { hex = \"00\" }]";
        let table: toml::Table = toml::from_str(text).expect("valid");
        assert_eq!(format!("v = {}", value(&table["v"])), text);
    }
}
