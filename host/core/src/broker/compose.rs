//! What the host does itself where a driver with `device` does not export the operation. Each
//! step is decided like a component's request, and noted like one.

use std::rc::Rc;

use serde_json::json;

use crate::call::{Call, Operation};
use crate::crash;
use crate::decide::host;
use crate::failure::{Code, Failure};
use crate::kernel::{filesystems, mounts};
use crate::reply::Reply;

use super::Work;

impl Work<'_> {
    /// Does the operation without a component.
    pub(super) fn compose(&mut self) -> Result<Reply, Failure> {
        match self.call {
            Call::Mount { .. } => {
                self.audit.line("host-act", json!({ "act": "mount-bind" }));
                let pending = mounts::bind(host::composed_mount(&self.session)?)?;
                crash::point("mount-made");
                self.effects.attach = Some(host::attach(&self.session, Rc::new(pending))?);
                Ok(Reply::DONE)
            }
            Call::ExpandFs { .. } => {
                self.audit.line("host-act", json!({ "act": "grow" }));
                if let Some(grow) = host::grow(&self.session)? {
                    filesystems::grow(grow, self.lock()?)?;
                    crash::point("filesystem-grown");
                }
                Ok(Reply::DONE)
            }
            // `take_down` and `give_back` do all there is to do.
            Call::Unmount { .. } | Call::Detach { .. } => Ok(Reply::DONE),
            _ => {
                let operation: Operation = self.call.operation();
                let message = format!(
                    "the host does not do {} itself; this is a bug in wasmount",
                    operation.name()
                );
                Err(Failure::new(Code::Internal, "bug", message))
            }
        }
    }
}
