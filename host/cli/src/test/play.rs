//! One call of a component in a guest process, the broker of which is a recording.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use wasmount_core::bundle::receipt::sha256_hex;
use wasmount_core::conclusion;
use wasmount_core::decide::{PHASES, function};
use wasmount_core::failure::Failure;
use wasmount_core::guest::process::{self, Child, How};
use wasmount_core::wire::{FromGuest, Outcome, Request, Response};
use wasmount_recording::{self as recording, Answer, Call, Mismatch, Player};

use super::words;
use crate::record::Cleaner;

/// How long a call may take: more than any that does not hang.
const DEADLINE: Duration = Duration::from_secs(100);

/// How many calls are played at most, since each has its process from the beginning.
const MAX_CALLS: usize = 500;

/// Guest processes, one for each call: as in the driver, nothing is left of an earlier one.
///
/// They are started before anything is compiled. An engine in this process would have put its signal
/// handlers in place; a process forked from it would take them for its own, and die of the first trap.
pub(crate) struct Guests(Vec<Child>);

impl Guests {
    /// Starts so many.
    pub(crate) fn start(count: usize) -> Result<Self> {
        if count > MAX_CALLS {
            bail!(
                "{count} calls are more than the {MAX_CALLS} that are played at a time; name fewer recordings"
            );
        }
        Ok(Self((0..count).map(|_| process::start()).collect::<Result<_, _>>()?))
    }

    /// The next one, with the component in it.
    pub(crate) fn next(&mut self, image: &Image) -> Result<Child> {
        let guest = self.0.pop().context("more calls than processes")?;
        guest.load(image.file.try_clone()?, &image.digest)?;
        Ok(guest)
    }
}

/// A compiled component, as a guest process takes it.
pub(crate) struct Image {
    file: File,
    digest: String,
}

impl Image {
    /// Keeps it in memory: where temporary files are, code may not be executable.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self> {
        let mut file = File::from(rustix::fs::memfd_create("component", MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        Ok(Self { file, digest: sha256_hex(bytes) })
    }
}

/// How a call has ended that was played.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Its export has returned, or crashed.
    Finished(Outcome),
    /// It was ended, which the host makes this of.
    Ended(Failure),
    /// It has done something that is not on record.
    Unknown,
}

/// Plays a call: where it did not go as recorded, and how it has ended. An error means that
/// nothing can be played here.
pub(crate) fn play(guest: Child, call: &Call) -> Result<(Option<Mismatch>, Ending)> {
    let (start, cleaner) = (words::start(call), Cleaner::of_placeholder());
    guest.channel().send(&start).context("starting the component")?;
    let mut player = Player::new(call.clone());
    let mut buffer = Vec::new();
    let end = Instant::now() + DEADLINE;
    loop {
        if !says_something(&guest, end)? {
            let seconds = DEADLINE.as_secs();
            let late = player.mishap(&format!("it had not ended after {seconds} s"));
            return Ok((Some(late), Ending::Unknown));
        }
        let request = match guest.channel().receive(&mut buffer).context("hearing the component")? {
            Some(FromGuest::Request(request)) => cleaner.request(&request),
            Some(FromGuest::Finished(outcome)) => {
                let outcome = cleaner.outcome(&outcome);
                let mismatch = player.finish(&words::outcome(outcome.clone())?).err();
                return Ok((mismatch, Ending::Finished(outcome)));
            }
            None => return gone(guest, &player, start.cpu_seconds),
        };
        let response = match request {
            Request::Log { level, message } => {
                player.log(words::level(level), &message);
                Response::Done
            }
            Request::Drop { .. } => continue,
            request => match answer(&mut player, &request)? {
                Ok(Answer::Ended) => return ended(&player),
                Ok(answer) => words::response(answer)?,
                Err(mismatch) => return Ok((Some(mismatch), Ending::Unknown)),
            },
        };
        guest.channel().send(&response).context("answering the component")?;
    }
}

/// The host has ended it, as is on record.
fn ended(player: &Player) -> Result<(Option<Mismatch>, Ending)> {
    let outcome = &player.call().outcome;
    match words::ending(outcome)? {
        Err(failure) => Ok((player.finish(outcome).err(), Ending::Ended(failure))),
        Ok(_) => bail!("the recording says `ends` of a host call, and does not say `ended`"),
    }
}

/// Whether the guest has said something, or is gone, before the end.
fn says_something(guest: &Child, end: Instant) -> Result<bool> {
    let left = end.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).context("the time left")?;
    let mut fds = [PollFd::new(guest.channel(), PollFlags::IN)];
    Ok(rustix::event::poll(&mut fds, Some(&left)).context("waiting for the component")? > 0)
}

/// The answer on record, if the host can give it: in another operation than a host call belongs to
/// it always refuses.
fn answer(player: &mut Player, request: &Request) -> Result<Result<Answer, Mismatch>> {
    let function = function(request);
    let operation = words::operation(player.call().operation);
    let phases = PHASES.iter().find(|(name, _)| *name == function).map(|(_, phases)| *phases);
    Ok(match player.ask(&words::asked(request)?) {
        Ok(answer)
            if !matches!(answer, Answer::Failed(_) | Answer::Ended)
                && phases.is_some_and(|phases| !phases.contains(&operation)) =>
        {
            let operation = operation.name();
            Err(player.mishap(&format!("the host refuses {function} in {operation}, always")))
        }
        answer => answer,
    })
}

/// Why the guest has gone without a word.
fn gone(guest: Child, player: &Player, cpu_seconds: u64) -> Result<(Option<Mismatch>, Ending)> {
    let how = guest.wait();
    let failure = conclusion::gone(Some(how), cpu_seconds);
    let mismatch = match (&player.call().outcome, how) {
        (recording::Outcome::Ended(_), _) => {
            player.finish(&recording::Outcome::Ended(words::recorded_failure(&failure))).err()
        }
        (_, How::CpuLimit) => {
            Some(player.mishap(&format!("it used up its CPU time of {cpu_seconds} s")))
        }
        (_, How::Killed(signal)) => Some(player.mishap(&format!("signal {signal} ended it"))),
        (_, How::Exited) => bail!("the component's process ended without a result"),
    };
    Ok((mismatch, Ending::Ended(failure)))
}
