//! What the end of a component's export means for kubelet: a reply, or a failure. It looks at
//! nothing but what it is given, so that a call on record ends as the call itself did.

use crate::call::{Attachment, DriverName, Operation, VolumeName};
use crate::decide::No;
use crate::failure::{Code, Failure};
use crate::guest::process::How;
use crate::redact::Redactor;
use crate::reply::Reply;
use crate::wire::Outcome;

/// What a component may say of its failure, in bytes: `wit/types.wit`.
const MAX_MESSAGE: usize = 2048;
const MAX_REASON: usize = 64;

/// What a component was asked.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is what it is called")]
pub struct Asked<'a> {
    pub operation: Operation,
    pub driver: &'a DriverName,
    pub volume: &'a VolumeName,
}

/// The reply to give once all is committed. `attaches` is whether a mount is to be put on the
/// target then.
pub fn concluded(
    asked: Asked<'_>,
    outcome: Outcome,
    attaches: bool,
    redactor: &Redactor,
) -> Result<Reply, Failure> {
    match (asked.operation, outcome) {
        (Operation::Attach | Operation::WaitForAttach, Outcome::Attachment(token)) => {
            let device = Attachment::wrap(&token, asked.driver, asked.volume)?;
            Ok(Reply::attached_as(device))
        }
        (Operation::IsAttached, Outcome::Flag(attached)) => Ok(Reply::is_attached(attached)),
        (Operation::ExpandVolume, Outcome::Number(size)) => Ok(Reply::grown_to(size)),
        (Operation::Mount | Operation::MountDevice, Outcome::Done) if !attaches => {
            let message =
                "the component says that it has mounted the volume, and has not; tell its vendor";
            Err(Failure::new(Code::Internal, "nothing-attached", message))
        }
        (
            Operation::Mount
            | Operation::MountDevice
            | Operation::Unmount
            | Operation::UnmountDevice
            | Operation::Detach
            | Operation::ExpandFs,
            Outcome::Done,
        ) => Ok(Reply::DONE),
        (_, Outcome::Refused(failure)) => Err(stated(failure, redactor)),
        (_, Outcome::Unusable(failure)) => {
            Err(stated(failure, redactor).during("the component cannot be run"))
        }
        (_, Outcome::Trapped { cause, .. }) => {
            let crashed = Failure::new(Code::Internal, "component-trapped", cause);
            Err(stated(crashed, redactor).during("the component crashed"))
        }
        (_, Outcome::Done | Outcome::Attachment(_) | Outcome::Flag(_) | Outcome::Number(_)) => {
            Err(No::Fault("its result is not of the operation's type".to_owned()).into())
        }
    }
}

/// What the guest process says of a failure, as it may be shown: cleaned of secrets and within bounds,
/// whatever native code that has taken its place has done about that.
fn stated(failure: Failure, redactor: &Redactor) -> Failure {
    let clean = redactor.clean(&failure.message);
    let message = clean[..clean.floor_char_boundary(MAX_MESSAGE)].to_owned();
    let token = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | ':' | '-');
    let fit = (1..=MAX_REASON).contains(&failure.reason.len())
        && failure.reason.chars().all(token)
        && redactor.clean(&failure.reason) == failure.reason;
    let reason = if fit { failure.reason } else { "component".to_owned() };
    Failure { reason, message, ..failure }
}

/// Why a guest process that has ended without a result has done so; none if that is not known.
/// `cpu_seconds` is the bound of its processor time.
pub fn gone(how: Option<How>, cpu_seconds: u64) -> Failure {
    match how {
        Some(How::CpuLimit) => {
            let message = format!(
                "the component used up its {cpu_seconds} s of processor time; `[limits] cpu-seconds` in \
                 grants.toml sets them"
            );
            Failure::new(Code::ResourceExhausted, "cpu-limit", message)
        }
        Some(How::Exited) | None => {
            let message =
                "the component's process ended without a result; the kernel log may say why";
            Failure::new(Code::Internal, "guest-died", message)
        }
        Some(How::Killed(signal)) => {
            let message = format!(
                "the component's process was killed by signal {signal}; the kernel log may say why"
            );
            Failure::new(Code::Internal, "guest-died", message)
        }
    }
}
