//! `wasmount replay`: calls that `wasmount call --record` has recorded, played with a component again. It
//! runs in a process without privileges, as in `wasmount test`; what becomes of its end for kubelet is
//! found out by the driver's own code. What the host did is not done again: it is on record.

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::{COMPONENT, receipt};
use wasmount_core::call::{DriverName, Operation, VolumeName};
use wasmount_core::conclusion::{self, concluded};
use wasmount_core::failure::Failure;
use wasmount_core::guest::compiler::{self, Cpu};
use wasmount_core::reply::Reply;
use wasmount_core::wire::Outcome;
use wasmount_recording::{self as recording, Call, Recorded, Recording};

use crate::arguments;
use crate::component::Component;
use crate::installed;
use crate::layout::PluginDir;
use crate::output::{Output, printable};
use crate::record::Cleaner;
use crate::test::play::{self, Ending, Guests, Image};
use crate::test::words;

/// Plays every call of a recording, and says which would be answered otherwise.
pub fn run(arguments: &arguments::Replay, output: &mut Output<'_>) -> Result<()> {
    let recording = Recording::read(&arguments.file)?;
    let driver = driver_of(&recording)
        .with_context(|| format!("{} cannot be replayed", arguments.file.display()))?;
    let path = match &arguments.component {
        Some(path) => path.clone(),
        None => {
            let directory = PluginDir::find(arguments.plugin_dir.as_deref())
                .map(|plugins| plugins.driver(&driver))
                .and_then(|directory| Ok(directory.version(&installed::current(&directory)?)));
            let directory = directory.with_context(|| {
                format!("{driver} is not installed here; name its component with --component")
            })?;
            directory.join(COMPONENT)
        }
    };
    let component = Component::read(&path)?;
    let mut guests = Guests::start(recording.calls.len())?;
    let manifest = &component.inspection.manifest;
    output.progress(&format!("compiling {} {} for this machine", manifest.name, manifest.version));
    let image = compiler::compile(&component.bytes, Cpu::Native)
        .with_context(|| format!("{}", path.display()))?;
    let image = Image::new(&image).context("keeping the compiled component")?;
    let digest = receipt::digest(&component.bytes);
    let others = recording.recorded.iter().filter(|call| call.component != digest).count();
    if others > 0 {
        output.text(&format!(
            "{others} of {} calls were recorded of another component than {}",
            recording.recorded.len(),
            path.display()
        ))?;
    }
    let mut different = 0;
    for recorded in &recording.recorded {
        let parts: Vec<_> = recording
            .calls
            .iter()
            .filter(|call| call.part_of.as_ref() == Some(&recorded.id))
            .map(|call| Played::play(&driver, &mut guests, &image, call))
            .collect::<Result<_>>()?;
        let told = tell(&driver, recorded, &parts);
        different += usize::from(told.is_err());
        let (word, lines) = match &told {
            Ok(how) => ("same     ", how),
            Err(difference) => ("DIFFERENT", difference),
        };
        let volume = recorded.volume.as_deref().unwrap_or_default();
        let title = format!("{} {} {volume}", recorded.time, recorded.operation);
        output.text(&format!("{word}  {}", printable(title.trim_end())))?;
        for line in lines {
            output.text(&format!("           {}", printable(line)))?;
        }
    }
    let count = recording.recorded.len();
    match different {
        0 => output.text(&format!("{count} calls have the same reply")),
        _ => bail!("{different} of {count} calls went otherwise"),
    }
}

/// The one driver whose calls are on record.
fn driver_of(recording: &Recording) -> Result<DriverName> {
    let mut names: Vec<&str> = recording.recorded.iter().map(|call| &*call.driver).collect();
    names.sort_unstable();
    names.dedup();
    match names[..] {
        [name] => Ok(name.parse()?),
        [] => bail!("no call in it was recorded of a driver; `wasmount test` plays such calls"),
        _ => bail!(
            "it has calls of several drivers ({}); record each in a file of its own",
            names.join(", ")
        ),
    }
}

/// An operation that was played.
struct Played {
    /// What its end was on record, and what that means for kubelet.
    recorded: Result<Reply, Failure>,
    /// The same as it was played; none if it did something that is not on record, to which nobody
    /// knows the answer.
    played: Option<Result<Reply, Failure>>,
    mismatch: Option<recording::Mismatch>,
}

impl Played {
    fn play(driver: &DriverName, guests: &mut Guests, image: &Image, call: &Call) -> Result<Self> {
        let (mismatch, ending) = play::play(guests.next(image)?, call)?;
        let played = match ending {
            Ending::Finished(outcome) => Some(conclude(driver, call, outcome)?),
            Ending::Ended(failure) => Some(Err(failure)),
            Ending::Unknown => None,
        };
        let recorded = match words::ending(&call.outcome)? {
            Ok(outcome) => conclude(driver, call, outcome)?,
            Err(failure) => Err(failure),
        };
        Ok(Self { recorded, played, mismatch })
    }
}

/// What an end means for kubelet.
fn conclude(driver: &DriverName, call: &Call, outcome: Outcome) -> Result<Result<Reply, Failure>> {
    let volume: VolumeName = call.volume.parse()?;
    let operation = words::operation(call.operation);
    let asked = conclusion::Asked { operation, driver, volume: &volume };
    let attaches = call.host_calls.iter().any(|host_call| {
        host_call.function.name == "mount-target.attach"
            && host_call.answer == recording::Answer::Done
    });
    Ok(concluded(asked, outcome, attaches, Cleaner::of_placeholder().redactor()))
}

/// The reply, as kubelet would read it.
fn reply(
    driver: &DriverName,
    operation: Option<Operation>,
    end: &Result<Reply, Failure>,
) -> String {
    let failed = |failure| Reply::failure(Some(driver), operation, failure);
    let reply = end.as_ref().map_or_else(failed, Clone::clone);
    String::from_utf8_lossy(&reply.to_json_line()).trim_end().to_owned()
}

/// How the reply comes to be the same, or what is different.
fn tell(
    driver: &DriverName,
    recorded: &Recorded,
    parts: &[Played],
) -> Result<Vec<String>, Vec<String>> {
    let operation = Operation::parse(recorded.operation.as_bytes());
    let reply = |end| reply(driver, operation, end);
    if let Some(part) = parts.iter().find(|part| part.mismatch.is_some()) {
        let mut lines = vec![format!("recorded  {}", recorded.reply)];
        match &part.played {
            // The host went on as it did.
            Some(end) if *end == part.recorded => {
                lines.push(
                    "replayed  the same, after something else was asked of the host".to_owned(),
                );
            }
            Some(end) => lines.push(format!("replayed  {}", reply(end))),
            None => {
                lines.push("replayed  not to be told: the host was asked something else".to_owned())
            }
        }
        let mismatch = part.mismatch.iter().map(ToString::to_string).collect::<String>();
        lines.extend(mismatch.lines().map(str::to_owned));
        return Err(lines);
    }
    let mut lines = vec![recorded.reply.clone()];
    let last = parts.last().and_then(|part| part.played.as_ref());
    // What the host did after the component had ended is on record, and not done again.
    if last.map(reply).as_ref() != Some(&recorded.reply) {
        lines.extend(recorded.host.iter().map(|act| format!("on record: {act}")));
    }
    Ok(lines)
}
