//! `wasmount grants check`: what is wrong in a grants file, and whether it fits a component.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Error, Result, anyhow};
use serde::Serialize;
use wasmount_core::grants::{Grants, GrantsError, MAX_FILE};

use crate::arguments;
use crate::component::{Component, read_at_most};
use crate::coverage::{self, Coverage, Missing, in_short};
use crate::output::{Output, wrap};

/// What a driver gets that is installed without a grants file.
pub const NOTHING: &str = "version = 1\n";

/// A grants file, as it is and as it is understood.
#[derive(Debug)]
pub struct GrantsFile {
    /// The text.
    pub text: String,
    /// What it grants.
    pub grants: Grants,
}

/// Why there is none.
enum Unusable {
    /// It cannot be read.
    Unread(Error),
    /// It is not valid.
    Invalid(GrantsError),
}

impl GrantsFile {
    /// Reads a file. The error names file, line, mistake and valid choices.
    pub fn read(path: &Path) -> Result<Self> {
        Self::open(path).map_err(|unusable| match unusable {
            Unusable::Unread(error) => error,
            Unusable::Invalid(error) => anyhow!("{}: {error}", path.display()),
        })
    }

    /// What is granted without a file: nothing.
    pub fn nothing() -> Self {
        Self { text: NOTHING.to_owned(), grants: Grants::none() }
    }

    fn open(path: &Path) -> Result<Self, Unusable> {
        let bytes = read_at_most(path, MAX_FILE).map_err(Unusable::Unread)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
            Unusable::Invalid(GrantsError { line, mistake: "this is not UTF-8".to_owned() })
        })?;
        let grants = Grants::parse(&text).map_err(Unusable::Invalid)?;
        Ok(Self { text, grants })
    }
}

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether the file can be used.
    ok: bool,
    /// What is wrong in it.
    error: Option<Mistake<'a>>,
    /// What it gives.
    given: Vec<&'static str>,
    /// How that fits the component, if one was named.
    #[serde(flatten)]
    coverage: Option<Coverage>,
}

#[derive(Serialize)]
struct Mistake<'a> {
    line: usize,
    mistake: &'a str,
}

/// Checks the file. What a component lacks is worth a warning, not a failure: granting less
/// than a component asks for is the operator's right.
pub fn check(arguments: &arguments::GrantsCheck, output: &mut Output<'_>) -> Result<()> {
    let file = match GrantsFile::open(&arguments.file) {
        Ok(file) => file,
        Err(Unusable::Unread(error)) => return Err(error),
        Err(Unusable::Invalid(error)) => {
            if arguments.json {
                let mistake = Mistake { line: error.line, mistake: &error.mistake };
                output.json(&Document {
                    ok: false,
                    error: Some(mistake),
                    given: Vec::new(),
                    coverage: None,
                })?;
            }
            return Err(anyhow!("{}: {error}", arguments.file.display()));
        }
    };
    let given = coverage::given(&file.grants);
    let coverage = match &arguments.component {
        Some(component) => {
            let component = Component::read(component).context("reading the component")?;
            Some(Coverage::of(&component.inspection, &file.grants))
        }
        None => None,
    };
    if arguments.json {
        return output.json(&Document { ok: true, error: None, given, coverage });
    }
    output.text(&format!("{}: ok", arguments.file.display()))?;
    output.text(&format!("  gives    {}", in_short(&given)))?;
    let Some(coverage) = coverage else {
        return Ok(());
    };
    output.text(&format!("  unused   {}", in_short(&coverage.unused)))?;
    if coverage.missing.is_empty() {
        output.text("  missing  nothing")
    } else {
        output.text(&format!("  missing  {}", describe_missing(&coverage)))
    }
}

/// What will be refused, by what is to be added, so that each reason is read once.
pub fn describe_missing(coverage: &Coverage) -> String {
    let mut text = "the component asks for more than is granted, and will be refused it".to_owned();
    let mut told: Vec<&[&str]> = Vec::new();
    for Missing { needs, reason, .. } in &coverage.missing {
        if told.contains(&needs.as_slice()) {
            continue;
        }
        told.push(needs);
        let functions = coverage.missing.iter().filter(|missing| missing.needs == *needs);
        let functions = functions.map(|missing| missing.function.as_str());
        let _ = write!(text, "\n    {}\n{}", needs.join(" and "), wrap("for", functions, ", "));
        if let Some(reason) = reason {
            let _ = write!(text, "\n{}", wrap("why", reason.split(' '), " "));
        }
    }
    text
}
