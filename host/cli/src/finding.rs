//! What `doctor` and `audit` find: always with why it matters and what to do.

use serde::Serialize;

use crate::output::printable;

/// How bad it is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Calls fail, or data is in danger.
    Error,
    /// It works, and may not go on to; or it can do more than it needs to.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    /// What kind of thing it is, for programs: the same text in every version.
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    /// The driver that it is about; none if it is the node.
    pub(crate) driver: Option<String>,
    pub(crate) what: String,
    pub(crate) why: String,
    pub(crate) remedy: String,
}

impl Finding {
    fn text(&self) -> String {
        let driver = self.driver.as_ref().map(|driver| format!("{driver}: ")).unwrap_or_default();
        self.under(&driver)
    }

    /// After the driver's name, or beneath a heading that has it.
    pub(crate) fn under(&self, driver: &str) -> String {
        let (severity, what) = (self.severity.name(), printable(&self.what));
        let (why, remedy) = (printable(&self.why), printable(&self.remedy));
        format!("{severity:<7}  {driver}{what}\n    why  {why}\n    do   {remedy}")
    }
}

/// All that was found so far, about the node or about one driver.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) all: Vec<Finding>,
    driver: Option<String>,
}

impl Findings {
    /// What follows is about this driver.
    pub(crate) fn about(&mut self, driver: impl ToString) {
        self.driver = Some(driver.to_string());
    }

    pub(crate) fn error(
        &mut self,
        id: &'static str,
        what: impl ToString,
        why: &str,
        remedy: impl ToString,
    ) {
        self.add(id, Severity::Error, what, why, remedy);
    }

    pub(crate) fn warning(
        &mut self,
        id: &'static str,
        what: impl ToString,
        why: &str,
        remedy: impl ToString,
    ) {
        self.add(id, Severity::Warning, what, why, remedy);
    }

    pub(crate) fn note(
        &mut self,
        id: &'static str,
        what: impl ToString,
        why: &str,
        remedy: impl ToString,
    ) {
        self.add(id, Severity::Note, what, why, remedy);
    }

    fn add(
        &mut self,
        id: &'static str,
        severity: Severity,
        what: impl ToString,
        why: &str,
        remedy: impl ToString,
    ) {
        self.all.push(Finding {
            id,
            severity,
            driver: self.driver.clone(),
            what: what.to_string(),
            why: why.to_owned(),
            remedy: remedy.to_string(),
        });
    }

    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.all.iter().filter(|finding| finding.severity == severity).count()
    }

    /// For people, the worst first.
    pub(crate) fn text(&self) -> Vec<String> {
        let mut sorted: Vec<&Finding> = self.all.iter().collect();
        sorted.sort_by_key(|finding| finding.severity);
        sorted.into_iter().map(Finding::text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_first_and_nothing_drives_a_terminal() {
        let mut found = Findings::default();
        found.warning("little-room", "little room", "records", "free some");
        found.about("example.com/x");
        found.error("odd", "a\u{1b}[2J is odd", "it is", "mend it");
        assert_eq!(
            found.text(),
            [
                "error    example.com/x: a\\u{1b}[2J is odd\n    why  it is\n    do   mend it",
                "warning  little room\n    why  records\n    do   free some",
            ]
        );
        assert_eq!((found.count(Severity::Error), found.count(Severity::Warning)), (1, 1));
    }
}
