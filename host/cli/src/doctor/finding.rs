//! What `doctor` finds: always with why it matters and what to do.

use serde::Serialize;

use crate::output::printable;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Severity {
    /// Calls fail, or data is in danger.
    Error,
    /// It works, and may not go on to.
    Warning,
}

impl Severity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The driver that it is about; none if it is the node.
    pub(super) driver: Option<String>,
    pub(super) what: String,
    pub(super) why: String,
    pub(super) remedy: String,
}

impl Finding {
    fn text(&self) -> String {
        let driver = self.driver.as_ref().map(|driver| format!("{driver}: ")).unwrap_or_default();
        let (severity, what) = (self.severity.name(), printable(&self.what));
        let (why, remedy) = (printable(&self.why), printable(&self.remedy));
        format!("{severity:<7}  {driver}{what}\n    why  {why}\n    do   {remedy}")
    }
}

/// All that was found so far, about the node or about one driver.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) all: Vec<Finding>,
    driver: Option<String>,
}

impl Findings {
    /// What follows is about this driver.
    pub(super) fn about(&mut self, driver: impl ToString) {
        self.driver = Some(driver.to_string());
    }

    pub(super) fn error(&mut self, what: impl ToString, why: &str, remedy: impl ToString) {
        self.add(Severity::Error, what.to_string(), why, remedy.to_string());
    }

    pub(super) fn warning(&mut self, what: impl ToString, why: &str, remedy: impl ToString) {
        self.add(Severity::Warning, what.to_string(), why, remedy.to_string());
    }

    fn add(&mut self, severity: Severity, what: String, why: &str, remedy: String) {
        let driver = self.driver.clone();
        self.all.push(Finding { severity, driver, what, why: why.to_owned(), remedy });
    }

    pub(super) fn count(&self, severity: Severity) -> usize {
        self.all.iter().filter(|finding| finding.severity == severity).count()
    }

    /// For people, the worst first.
    pub(super) fn text(&self) -> Vec<String> {
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
        found.warning("little room", "records", "free some");
        found.about("example.com/x");
        found.error("a\u{1b}[2J is odd", "it is", "mend it");
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
