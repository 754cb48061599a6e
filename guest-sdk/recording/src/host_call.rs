//! The host calls that a driver can make, and one of them with its answer, as a recording has it.

use std::fmt;

use toml::{Table, Value};

use crate::answer::{Answer, Held};
use crate::words;

/// A function of `wit/` that the host is asked through.
#[derive(Debug, PartialEq)]
pub struct Function {
    /// Its name, such as `images.open`.
    pub name: &'static str,
    /// Its arguments, in their order.
    pub arguments: &'static [(&'static str, Kind)],
    /// What it returns.
    pub returns: Returns,
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A number.
    Number,
    /// A number, or nothing.
    MaybeNumber,
    /// `read-only` or `read-write`.
    Access,
    /// Bytes: a text, or `{ hex = "00ff" }` if they are none.
    Bytes,
    /// A list of names, which may be left out if it is empty.
    Names,
    /// A list of names with values, which may be left out if it is empty.
    Pairs,
    /// Something that the host holds, by the name that it has in the recording.
    Held,
}

/// What the host returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "what each stands for is `Answer`'s case of that name")]
pub enum Returns {
    Done,
    Flag,
    Number,
    MaybeText,
    Bytes,
    MaybeBytes,
    Handle,
    Device,
    MaybeDevice,
}

/// Every function that the host is asked through. What is answered without asking, such as a
/// volume's options, is among the facts of a call; the clock and randomness are real.
pub const FUNCTIONS: &[Function] = {
    use Kind::{Access, Bytes, Held, MaybeNumber, Names, Number, Pairs, Text};
    const fn function(
        name: &'static str,
        arguments: &'static [(&'static str, Kind)],
        returns: Returns,
    ) -> Function {
        Function { name, arguments, returns }
    }
    &[
        function("state.get", &[("key", Text)], Returns::MaybeBytes),
        function("state.put", &[("key", Text), ("value", Bytes)], Returns::Done),
        function("state.delete", &[("key", Text)], Returns::Done),
        function("secrets.open", &[("key", Text)], Returns::Handle),
        function("secret.reveal", &[("secret", Held)], Returns::Bytes),
        function("mount-target.is-mounted", &[], Returns::Flag),
        function("mount-target.attach", &[("pending", Held)], Returns::Done),
        function("mount-target.unmount", &[], Returns::Done),
        function("devices.find", &[("rule", Text), ("id", Text)], Returns::MaybeDevice),
        function(
            "devices.wait",
            &[("rule", Text), ("id", Text), ("milliseconds", Number)],
            Returns::Device,
        ),
        function("block-device.size", &[("device", Held)], Returns::Number),
        function("block-device.is-read-only", &[("device", Held)], Returns::Flag),
        function("block-device.probe", &[("device", Held)], Returns::MaybeText),
        function(
            "filesystems.format",
            &[("device", Held), ("fs-type", Text), ("options", Pairs)],
            Returns::Done,
        ),
        function("filesystems.check", &[("device", Held), ("fs-type", Text)], Returns::Flag),
        function("filesystems.grow", &[], Returns::Number),
        function(
            "mounts-block.mount",
            &[("device", Held), ("fs-type", Text), ("access", Access), ("options", Names)],
            Returns::Handle,
        ),
        function("mounts-bind.staged", &[("access", Access)], Returns::Handle),
        function(
            "mounts-tmpfs.create",
            &[("size", Number), ("mode", Number), ("group", MaybeNumber)],
            Returns::Handle,
        ),
        function(
            "mounts-tmpfs.write-file",
            &[("pending", Held), ("name", Text), ("contents", Bytes), ("mode", Number)],
            Returns::Done,
        ),
        function(
            "mounts-tmpfs.write-secret",
            &[("pending", Held), ("name", Text), ("secret", Held), ("mode", Number)],
            Returns::Done,
        ),
        function("mounts-tmpfs.seal", &[("pending", Held)], Returns::Done),
        function("images.open", &[("name", Text)], Returns::Handle),
        function("images.create", &[("name", Text), ("size", Number)], Returns::Handle),
        function("image.size", &[("image", Held)], Returns::Number),
        function("image.grow", &[("image", Held), ("size", Number)], Returns::Number),
        function("image.lease", &[("image", Held), ("node", Text)], Returns::Done),
        function("image.holder", &[("image", Held)], Returns::MaybeText),
        function("image.attach", &[("image", Held), ("access", Access)], Returns::Device),
        function("images.attached", &[], Returns::MaybeDevice),
        function("images.detach", &[], Returns::Done),
        function("images.release", &[("node", Text)], Returns::Done),
    ]
};

/// A host call as a driver makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked<'a> {
    /// The function's name.
    pub function: &'a str,
    /// Its arguments, but for lists that are empty and what is none.
    pub arguments: Vec<(&'a str, Argument)>,
}

/// An argument of a host call as a driver makes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// As it stands in a recording.
    Value(Value),
    /// The number of something that the host holds.
    Held(u32),
}

/// A host call with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCall {
    /// The function.
    pub function: &'static Function,
    /// Its arguments by name, but for lists that are empty and what is none.
    pub arguments: Table,
    /// The answer.
    pub answer: Answer,
}

impl<'a> Asked<'a> {
    /// A call of a function.
    #[must_use]
    pub fn new(function: &'a str) -> Self {
        Self { function, arguments: Vec::new() }
    }

    /// With a text.
    #[must_use]
    pub fn text(self, name: &'a str, text: &str) -> Self {
        self.value(name, Value::String(text.to_owned()))
    }

    /// With a number. TOML has none beyond 2⁶³; there they are all taken for the same.
    #[must_use]
    pub fn number(self, name: &'a str, number: impl Into<u64>) -> Self {
        self.value(name, Value::Integer(i64::try_from(number.into()).unwrap_or(i64::MAX)))
    }

    /// With bytes.
    #[must_use]
    pub fn bytes(self, name: &'a str, bytes: &[u8]) -> Self {
        self.value(name, bytes_value(bytes))
    }

    /// With something that the host holds.
    #[must_use]
    pub fn held(mut self, name: &'a str, number: u32) -> Self {
        self.arguments.push((name, Argument::Held(number)));
        self
    }

    /// With names.
    #[must_use]
    pub fn names(self, name: &'a str, names: &[String]) -> Self {
        let names = names.iter().map(|name| Value::String(name.clone())).collect();
        self.value(name, Value::Array(names))
    }

    /// With names that have values.
    #[must_use]
    pub fn pairs(self, name: &'a str, pairs: &[(String, String)]) -> Self {
        let pair = |(key, value): &(String, String)| {
            Value::Array(vec![Value::String(key.clone()), Value::String(value.clone())])
        };
        self.value(name, Value::Array(pairs.iter().map(pair).collect()))
    }

    /// With what stands so in a recording.
    #[must_use]
    pub fn value(mut self, name: &'a str, value: Value) -> Self {
        if !is_empty(&value) {
            self.arguments.push((name, Argument::Value(value)));
        }
        self
    }
}

impl HostCall {
    /// Whether there is something on the target after this, or was before.
    pub(crate) fn leaves_it_mounted(&self) -> bool {
        match self.function.name {
            "mount-target.attach" => self.answer == Answer::Done,
            "mount-target.is-mounted" => self.answer == Answer::Flag(true),
            _ => false,
        }
    }

    /// The host call of this number in its call, from what stands in a recording.
    pub(crate) fn new(number: u32, mut table: Table) -> Result<Self, String> {
        let Some(Value::String(name)) = table.remove("call") else {
            return Err("a host call has its function's name as `call`, a text".to_owned());
        };
        let function =
            FUNCTIONS.iter().find(|function| function.name == name).ok_or_else(|| {
                let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
                format!("unknown host call `{name}`; valid: {}", names.join(", "))
            })?;
        let (returns, fails) = (table.remove("returns"), table.remove("fails"));
        let answer = match (table.remove("ends"), &returns, &fails) {
            (None, ..) => answer(function, number, returns, fails)?,
            (Some(Value::Boolean(true)), None, None) => Answer::Ended,
            (Some(_), ..) => {
                return Err(format!("{name} either `ends = true`, or `returns` or `fails`"));
            }
        };
        table.retain(|_, value| !is_empty(value));
        for (argument, value) in &table {
            let valid = || function.arguments.iter().map(|(name, _)| *name).collect::<Vec<_>>();
            let kind = function.arguments.iter().find(|(name, _)| name == argument);
            let (_, kind) = kind.ok_or_else(|| {
                format!("{name} has no argument `{argument}`; valid: {}", valid().join(", "))
            })?;
            kind.check(value).map_err(|what| format!("`{argument}` of {name} is {what}"))?;
        }
        let needed = function.arguments.iter().find(|(argument, kind)| {
            let optional = matches!(kind, Kind::MaybeNumber | Kind::Names | Kind::Pairs);
            !optional && !table.contains_key(*argument)
        });
        match needed {
            Some((argument, _)) => Err(format!("{name} lacks its argument `{argument}`")),
            None => Ok(Self { function, arguments: table, answer }),
        }
    }
}

impl Kind {
    /// An error says what the value should be.
    fn check(self, value: &Value) -> Result<(), &'static str> {
        let is_text = |value: &Value| value.is_str();
        let is_pair = |value: &Value| {
            value.as_array().is_some_and(|pair| pair.len() == 2 && pair.iter().all(is_text))
        };
        let (fits, rule) = match self {
            Self::Text => (is_text(value), "a text"),
            Self::Held => (is_text(value), "the name of what an earlier `returns` has named"),
            Self::Number | Self::MaybeNumber => {
                (value.as_integer().is_some_and(|number| number >= 0), "a number from 0 on")
            }
            Self::Access => (
                matches!(value.as_str(), Some("read-only" | "read-write")),
                "`read-only` or `read-write`",
            ),
            Self::Bytes => (bytes(value).is_some(), "a text, or bytes such as { hex = \"00ff\" }"),
            Self::Names => {
                (value.as_array().is_some_and(|names| names.iter().all(is_text)), "a list of texts")
            }
            Self::Pairs => (
                value.as_array().is_some_and(|pairs| pairs.iter().all(is_pair)),
                "a list of pairs such as [\"label\", \"data\"]",
            ),
        };
        if fits { Ok(()) } else { Err(rule) }
    }
}

impl fmt::Display for HostCall {
    /// Without the answer, in one line that can stand in a recording.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_asked(f)?;
        write!(f, " }}")
    }
}

impl HostCall {
    /// The same without its end.
    pub(crate) fn write_asked(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(f, "{{ call = \"{}\"", self.function.name)?;
        for (name, _) in self.function.arguments {
            match self.arguments.get(*name) {
                Some(Value::Integer(mode)) if *name == "mode" => {
                    write!(f, ", {name} = 0o{mode:o}")?
                }
                Some(value) => write!(f, ", {name} = {}", words::value(value))?,
                None => {}
            }
        }
        Ok(())
    }
}

fn answer(
    function: &Function,
    number: u32,
    returns: Option<Value>,
    fails: Option<Value>,
) -> Result<Answer, String> {
    let name = function.name;
    let held = |name: String| Held { number, name };
    match (returns, fails) {
        (Some(_), Some(_)) => Err(format!("{name} either `returns` or `fails`")),
        (None, Some(fails)) => {
            fails.try_into().map(Answer::Failed).map_err(|error| error.message().to_owned())
        }
        (value, None) => match (function.returns, value) {
            (Returns::Done, None) => Ok(Answer::Done),
            (Returns::Done, Some(_)) => Err(format!("{name} returns nothing")),
            (Returns::Flag, Some(Value::Boolean(flag))) => Ok(Answer::Flag(flag)),
            (Returns::Flag, _) => Err(format!("{name} returns true or false")),
            (Returns::Number, Some(Value::Integer(number))) if number >= 0 => {
                Ok(Answer::Number(number.unsigned_abs()))
            }
            (Returns::Number, _) => Err(format!("{name} returns a number")),
            (Returns::MaybeText, None) => Ok(Answer::Text(None)),
            (Returns::MaybeText, Some(Value::String(text))) => Ok(Answer::Text(Some(text))),
            (Returns::MaybeText, _) => Err(format!("{name} returns a text or, left out, none")),
            (Returns::MaybeBytes, None) => Ok(Answer::Bytes(None)),
            (Returns::MaybeBytes | Returns::Bytes, value) => match value.as_ref().and_then(bytes) {
                Some(bytes) => Ok(Answer::Bytes(Some(bytes))),
                None => {
                    Err(format!("{name} returns a text, or bytes such as {{ hex = \"00ff\" }}"))
                }
            },
            (Returns::MaybeDevice, None) => Ok(Answer::Device(None)),
            (Returns::MaybeDevice | Returns::Device, Some(Value::String(name))) => {
                Ok(Answer::Device(Some(held(name))))
            }
            (Returns::Handle, Some(Value::String(name))) => Ok(Answer::Handle(held(name))),
            (Returns::Handle | Returns::Device | Returns::MaybeDevice, _) => {
                Err(format!("{name} returns something that a name is to be given, such as \"it\""))
            }
        },
    }
}

/// Lists that are empty are the same as none.
fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

/// Bytes as a recording has them.
pub fn bytes_value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Value::Table(Table::from_iter([("hex".to_owned(), Value::String(hex))]))
        }
    }
}

/// The bytes that stand so in a recording.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Table(table) if table.len() == 1 => {
            let hex = table.get("hex")?.as_str()?.as_bytes();
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
            let (pairs, rest) = hex.as_chunks::<2>();
            let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
            rest.is_empty().then(|| bytes.collect())?
        }
        _ => None,
    }
}
