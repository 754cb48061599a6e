//! The logs of several drivers, one after the other. What is the matter with one driver is told of
//! and keeps nobody from the others: a log is wanted most when something is broken.

use anyhow::{Error, Result, bail};
use wasmount_core::call::DriverName;

use crate::output::{Output, printable};

/// What was found of each driver.
#[derive(Debug)]
pub(super) struct Each<T> {
    /// Of those of which it could be.
    pub(super) found: Vec<T>,
    /// The others. Why has been said.
    pub(super) left_out: Vec<DriverName>,
}

impl<T> Each<T> {
    /// Finds it of each. Of a driver that is alone, an error is all there is to say.
    pub(super) fn find(
        drivers: &[DriverName],
        output: &mut Output<'_>,
        mut find: impl FnMut(&DriverName, &mut Output<'_>) -> Result<T>,
    ) -> Result<Self> {
        let mut each = Self { found: Vec::new(), left_out: Vec::new() };
        for driver in drivers {
            match find(driver, output) {
                Ok(found) => each.found.push(found),
                Err(error) if drivers.len() == 1 => return Err(error),
                Err(error) => {
                    warn(driver, &error, output);
                    each.left_out.push(driver.clone());
                }
            }
        }
        Ok(each)
    }

    /// Tries those again that were left out, and says nothing of those that are still.
    pub(super) fn try_again(&mut self, mut find: impl FnMut(&DriverName) -> Result<T>) {
        let found = &mut self.found;
        self.left_out.retain(|driver| find(driver).map(|it| found.push(it)).is_err());
    }

    /// Fails if any was left out.
    pub(super) fn is_all(&self) -> Result<()> {
        match self.left_out.len() {
            0 => Ok(()),
            1 => bail!("1 driver was left out, as its log cannot be found or read"),
            count => bail!("{count} drivers were left out, as their logs cannot be found or read"),
        }
    }
}

/// Says why the log of a driver is left out.
pub(super) fn warn(driver: &DriverName, error: &Error, output: &mut Output<'_>) {
    output.warn(&printable(&format!("{driver} is left out: {error:#}")));
}
