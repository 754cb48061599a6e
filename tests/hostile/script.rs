//! The language of the cases: a statement a line, each a host call as a driver would make it, or as
//! none would.
//!
//! * `image = images.open("vol.img")` makes a host call and keeps the handle that it yields. The names
//!   are the audit log's; `image.drop(image)` gives a handle back. Where it is refused, the operation
//!   fails with that refusal, unless `try` stands before it.
//! * `none = config.get("a")` is for an answer that has to be none.
//! * `65 x secrets.open("password")` makes it so many times.
//! * `"x" * 300` is a text of 300 letters; `volume`, `target` and `previous` are what the
//!   operation was given, any other word is what was kept, a case of an enumeration, or `none`.
//! * `images.open!(0xffffff00, 16, answer)` makes it with these numbers, whatever its type says, where
//!   `answer` is where answers are put.
//! * `realloc(trap)` has the component's allocator do that from now on, `store(8, 255)` puts a byte into
//!   its memory, and `return(0xffffff00)` ends the operation with what is there.

use serde::Deserialize as _;

/// A statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// How often it is done.
    pub(crate) times: u32,
    /// Whether a refusal is swallowed.
    pub(crate) goes_on: bool,
    /// What the answer is kept as.
    pub(crate) kept: Option<String>,
    /// The function, or what else it does.
    pub(crate) name: String,
    /// Whether the values are the numbers that WebAssembly sees.
    pub(crate) raw: bool,
    /// What it is given.
    pub(crate) values: Vec<Value>,
}

/// What a function is given.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    /// So many letters `x`.
    Letters(u32),
    Number(u64),
    Word(String),
    List(Vec<Value>),
}

impl Statement {
    /// Reads a line.
    pub(crate) fn parse(line: &str) -> Self {
        let mut rest = Rest(line);
        let goes_on = rest.skip("try ");
        let times = match rest.0.split_once(" x ").map(|(times, after)| (times.parse(), after)) {
            Some((Ok(times), after)) => {
                rest = Rest(after);
                times
            }
            _ => 1,
        };
        let first = rest.word();
        let (kept, name) = match rest.skip("=") {
            true => (Some(first), rest.word()),
            false => (None, first),
        };
        let raw = rest.skip("!");
        assert!(rest.skip("("), "{line}: no values");
        let values = rest.values(")");
        assert!(rest.0.is_empty(), "{line}: what is `{}`?", rest.0);
        Self { times, goes_on, kept, name, raw, values }
    }
}

/// What is left of a line.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn skip(&mut self, token: &str) -> bool {
        let found = self.0.trim_start().strip_prefix(token);
        self.0 = found.unwrap_or(self.0);
        found.is_some()
    }

    fn word(&mut self) -> String {
        let text = self.0.trim_start();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let (word, rest) = text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()));
        assert!(!word.is_empty(), "{text}: no word");
        self.0 = rest;
        word.to_owned()
    }

    fn values(&mut self, end: &str) -> Vec<Value> {
        let mut values = Vec::new();
        while !self.skip(end) {
            values.push(self.value());
            self.skip(",");
        }
        values
    }

    fn value(&mut self) -> Value {
        if self.skip("[") {
            return Value::List(self.values("]"));
        }
        if self.0.trim_start().starts_with('"') {
            let mut json = serde_json::Deserializer::from_str(self.0);
            let text = String::deserialize(&mut json).expect("a text");
            let end = json.into_iter::<()>().byte_offset();
            self.0 = &self.0[end..];
            if !self.skip("*") {
                return Value::Text(text);
            }
            assert_eq!(text, "x", "there are long texts of this letter only");
            return Value::Letters(self.word().parse().expect("how many"));
        }
        let word = self.word();
        let number = match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        number.map_or(Value::Word(word), Value::Number)
    }
}
