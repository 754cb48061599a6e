//! `init`: what the driver can do, told from the receipt.
//!
//! kubelet runs it while it holds a lock of all volumes, and kube-controller-manager where there
//! is nothing but the plugin directory. So nothing is started, locked, written or compiled here.

use crate::bundle::Bundle;
use crate::call::Operation;
use crate::failure::{Code, Failure};
use crate::grants::Grants;
use crate::offer::Offer;
use crate::reply::Reply;

/// Answers `init`: the document and the exit code.
pub fn answer(arguments: &[&[u8]]) -> (Vec<u8>, i32) {
    let (reply, failure_exit) = match Bundle::open_for_init() {
        Err(failure) => {
            let driver = crate::bundle::own_driver_name();
            (Reply::failure(driver.as_ref(), Some(Operation::Init), &failure), 1)
        }
        Ok(bundle) => {
            let grants = Grants::parse(&bundle.grants_text);
            let exit = grants.as_ref().map_or(1, |grants| grants.failure_exit_code().into());
            let answer = if arguments.is_empty() {
                grants
                    .map_err(|error| error.as_failure())
                    .map(|_| Offer::of(&bundle.receipt).init())
            } else {
                Err(Failure::new(Code::InvalidArgument, "arguments", "takes no arguments"))
            };
            let reply = answer.unwrap_or_else(|failure| {
                Reply::failure(Some(&bundle.driver), Some(Operation::Init), &failure)
            });
            (reply, exit)
        }
    };
    (reply.to_json_line(), reply.exit_code(failure_exit))
}
