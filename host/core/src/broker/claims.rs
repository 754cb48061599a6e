//! Who has what, for the decision: claims from the journal, leases from beside the images.

use std::rc::Rc;

use crate::failure::Failure;
use crate::journal::{Claim, Journal};
use crate::kernel::images::{self, ImageFile, LeaseRecord};
use crate::session::Claims;

use super::ledger::Ledger;

/// What is known of other volumes. Away from the node there are no claims, only leases.
pub(super) struct Known {
    /// The journal, and the key of this call's volume.
    journal: Option<(Rc<Journal>, String)>,
}

impl Known {
    pub(super) fn new(ledger: Option<&Ledger>) -> Self {
        Self { journal: ledger.map(|ledger| (Rc::clone(&ledger.journal), ledger.key.clone())) }
    }
}

impl Claims for Known {
    fn holder(&self, identity: &str) -> Result<Option<Claim>, Failure> {
        let Some((journal, key)) = &self.journal else { return Ok(None) };
        journal.holder(identity, key)
    }

    fn lease(&self, image: &ImageFile) -> Result<Option<LeaseRecord>, Failure> {
        images::holder(image)
    }
}
