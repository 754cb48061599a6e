//! What a component or a user wrote, in a line of the log: JSON leaves in a string what drives a
//! terminal or deceives the eye, and a log is read with all kinds of programs. What a string says
//! is not changed, only how it is written.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::reply::deceives;

/// The same JSON, with every such character of its strings written as `\u` and four digits.
pub fn plain(json: &str) -> Cow<'_, str> {
    if json.bytes().all(|byte| (b' '..b'\x7f').contains(&byte)) {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        if c < ' ' {
            // Such a one is between strings: JSON has none within.
            plain.push(' ');
        } else if deceives(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(plain, "\\u{unit:04x}");
            }
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_value_and_can_be_looked_at() {
        for (json, shown) in [
            ("{\"a\":\"größer, 大\"}", "{\"a\":\"größer, 大\"}"),
            ("{\"a\":\"\u{9b}31m\u{202e}\u{7f}\"}", r#"{"a":"\u009b31m\u202e\u007f"}"#),
            ("{\"\u{feff}\":\"\\u001b\u{2028}\"}", r#"{"\ufeff":"\u001b\u2028"}"#),
            ("{\"a\":\t1,\r\"b\":2}", r#"{"a": 1, "b":2}"#),
        ] {
            assert_eq!(plain(json), shown);
            let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).ok();
            assert_eq!(value(&plain(json)), value(json));
            assert!(value(json).is_some());
        }
    }
}
