//! Plays the host of one call: answers what is on record, and tells where the driver does
//! something else. Who runs the driver is not known here.

use std::fmt;

use toml::{Table, Value};

use crate::answer::{Answer, Outcome};
use crate::call::Call;
use crate::host_call::{Argument, Asked, HostCall};

/// The host of one call.
#[derive(Debug)]
pub struct Player {
    call: Call,
    /// How many host calls were made.
    made: usize,
    log: Vec<String>,
}

/// Where a call did not go as recorded: some lines, each indented, without a final line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch(String);

impl Player {
    /// The host of this call.
    #[must_use]
    pub fn new(call: Call) -> Self {
        Self { call, made: 0, log: Vec::new() }
    }

    /// The call.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Takes a log line, to be shown with a mismatch.
    pub fn log(&mut self, level: &str, message: &str) {
        self.log.push(format!("{level}: {message}"));
    }

    /// The recorded answer, if this is the host call that is next on record.
    pub fn ask(&mut self, asked: &Asked<'_>) -> Result<Answer, Mismatch> {
        self.made += 1;
        let recorded = self.call.host_calls.get(self.made - 1);
        let is = recorded.is_some_and(|recorded| {
            recorded.function.name == asked.function && recorded.arguments == self.named(asked)
        });
        match recorded {
            Some(recorded) if is => Ok(recorded.answer.clone()),
            recorded => Err(self.mismatch(
                &format!("host call {}", self.made),
                &recorded.map_or_else(|| "no further host call".to_owned(), HostCall::to_string),
                &format!("asked     {}", self.shown(asked)),
            )),
        }
    }

    /// Whether the host has ended the driver, which is to go no further: then this is the end.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.made.checked_sub(1), Some(last)
            if self.call.host_calls.get(last).is_some_and(|call| call.answer == Answer::Ended))
    }

    /// Whether the call has ended as recorded.
    pub fn finish(&self, outcome: &Outcome) -> Result<(), Mismatch> {
        if !outcome.is(&self.call.outcome) {
            let ended = format!("ended     {outcome}");
            return Err(self.mismatch("the end", &self.call.outcome.to_string(), &ended));
        }
        match self.call.host_calls.get(self.made) {
            Some(left) => Err(self.mismatch(
                &format!("host call {}", self.made + 1),
                &left.to_string(),
                "ended     without it",
            )),
            None => Ok(()),
        }
    }

    /// Tells that something happened of which no recording can say anything.
    #[must_use]
    pub fn mishap(&self, what: &str) -> Mismatch {
        self.mismatch("the end", &self.call.outcome.to_string(), &format!("but       {what}"))
    }

    fn mismatch(&self, place: &str, recorded: &str, instead: &str) -> Mismatch {
        let mut text = format!("  {place}\n    recorded  {recorded}\n    {instead}");
        for line in &self.log {
            text.push_str("\n    log       ");
            text.push_str(line);
        }
        Mismatch(text)
    }

    /// The arguments as a recording has them.
    fn named(&self, asked: &Asked<'_>) -> Table {
        let named = |argument: &Argument| match argument {
            Argument::Value(value) => value.clone(),
            Argument::Held(number) => Value::String(self.name(*number).to_owned()),
        };
        asked.arguments.iter().map(|(name, value)| ((*name).to_owned(), named(value))).collect()
    }

    /// The name of what the host has handed out under a number.
    fn name(&self, number: u32) -> &str {
        let held = self.call.host_calls.iter().filter_map(|host_call| match &host_call.answer {
            Answer::Handle(held) | Answer::Device(Some(held)) => Some(held),
            _ => None,
        });
        let named = held.into_iter().find(|held| held.number == number);
        named.map_or("?", |held| &held.name)
    }

    fn shown(&self, asked: &Asked<'_>) -> String {
        let known = crate::FUNCTIONS.iter().find(|function| function.name == asked.function);
        match known {
            Some(function) => {
                let arguments = self.named(asked);
                HostCall { function, arguments, answer: Answer::Done }.to_string()
            }
            None => asked.function.to_owned(),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}
