//! One call of a native driver: the host that plays it, and how it ends. The host belongs to the
//! thread, so that tests of a crate can run at the same time.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use wasmount_recording::{Answer, Asked, Call, Mismatch, Outcome, Player};

use super::driver::Export;
use crate::Error;
use crate::bindings::capabilities::wasmount::driver::types;

thread_local! {
    static PLAYER: RefCell<Option<Player>> = const { RefCell::new(None) };
}

/// What unwinds a driver that the host ends.
struct Ended;

/// Takes the player away when the call is over, however it ends.
struct Played;

impl Drop for Played {
    fn drop(&mut self) {
        PLAYER.take();
    }
}

/// Plays a call.
pub(super) fn play(exports: &[Export], call: &Call) -> Result<(), Mismatch> {
    PLAYER.set(Some(Player::new(call.clone())));
    let _played = Played;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        exports.iter().find_map(|export| export(call)).map(|ended| match ended {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(failure(&error)),
        })
    }));
    with(|player| match ended {
        Ok(Some(outcome)) => player.finish(&outcome),
        Ok(None) => {
            let interface = call.operation.interface();
            Err(player.mishap(&format!("the driver does not export `{interface}`")))
        }
        Err(panic) => match panic.downcast::<Mismatch>() {
            Ok(mismatch) => Err(*mismatch),
            // The host has ended it.
            Err(panic) if panic.is::<Ended>() => player.finish(&player.call().outcome),
            // Which crash of the component a panic is, is not known here.
            Err(panic) => match &player.call().outcome {
                crashed @ Outcome::Trapped(_) => player.finish(crashed),
                _ => player.finish(&Outcome::Trapped(panicked(&*panic))),
            },
        },
    })
}

/// Looks at the call that is being played.
///
/// # Panics
///
/// If none is.
pub(super) fn with<T>(look: impl FnOnce(&mut Player) -> T) -> T {
    PLAYER.with_borrow_mut(|player| match player {
        Some(player) => look(player),
        None => panic!(
            "there is no host here: natively a driver is called by `testing::play`, on the thread \
             that it is called on"
        ),
    })
}

/// Makes a host call. If it is not the one on record the driver goes no further.
pub(super) fn ask(asked: &Asked<'_>) -> Result<Answer, types::Error> {
    match with(|player| player.ask(asked)) {
        Ok(Answer::Failed(failure)) => {
            let wasmount_recording::Failure { code, reason, message } = failure;
            Err(types::Error { code: code_of(&code), reason, message })
        }
        Ok(Answer::Ended) => resume_unwind(Box::new(Ended)),
        Ok(answer) => Ok(answer),
        // Not `panic!`: it is no fault that a panic hook should print.
        Err(mismatch) => resume_unwind(Box::new(mismatch)),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("a value that is not a text"))
}

fn failure(error: &Error) -> wasmount_recording::Failure {
    let (_, code) = CODES.iter().find(|(code, _)| *code == error.code).expect("every code is here");
    wasmount_recording::Failure {
        code: (*code).to_owned(),
        reason: error.reason.clone(),
        message: error.message.clone(),
    }
}

fn code_of(name: &str) -> types::Code {
    let found = CODES.iter().find(|(_, known)| *known == name);
    found.expect("a recording has no other codes").0
}

/// The codes, as `wit/types.wit` spells them.
const CODES: [(types::Code, &str); 16] = {
    use types::Code;
    [
        (Code::Cancelled, "cancelled"),
        (Code::Unknown, "unknown"),
        (Code::InvalidArgument, "invalid-argument"),
        (Code::DeadlineExceeded, "deadline-exceeded"),
        (Code::NotFound, "not-found"),
        (Code::AlreadyExists, "already-exists"),
        (Code::PermissionDenied, "permission-denied"),
        (Code::ResourceExhausted, "resource-exhausted"),
        (Code::FailedPrecondition, "failed-precondition"),
        (Code::Aborted, "aborted"),
        (Code::OutOfRange, "out-of-range"),
        (Code::Unimplemented, "unimplemented"),
        (Code::Internal, "internal"),
        (Code::Unavailable, "unavailable"),
        (Code::DataLoss, "data-loss"),
        (Code::Unauthenticated, "unauthenticated"),
    ]
};
