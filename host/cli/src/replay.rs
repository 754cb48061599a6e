//! `wasmount replay`: calls that `wasmount call --record` has recorded, played with a component again. It
//! runs in a process without privileges, as in `wasmount test`; what becomes of its end for kubelet is
//! found out by the driver's own code, and compared with the reply on record. What the host did is not done again:
//! where it had a say in the reply, that is told and nothing else.

pub(crate) mod reply;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::{COMPONENT, receipt};
use wasmount_core::call::DriverName;
use wasmount_core::guest::compiler::{self, Cpu};
use wasmount_recording::{Call, Mismatch, Recorded, Recording};

use crate::arguments;
use crate::component::Component;
use crate::installed;
use crate::layout::PluginDir;
use crate::output::{Output, printable};
use crate::test::play::{self, Ending, Guests, Image};

use reply::End;

/// Plays every call of a recording, and says which would be answered otherwise.
pub fn run(arguments: &arguments::Replay, output: &mut Output<'_>) -> Result<()> {
    let recording = Recording::read(&arguments.file)?;
    let driver = driver_of(&recording)
        .and_then(|driver| parts_belong(&recording).map(|()| driver))
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
    let count = recording.recorded.len();
    let others = recording.recorded.iter().filter(|call| call.component != digest).count();
    let mut text = String::new();
    if others > 0 {
        let path = path.display();
        text +=
            &format!("{others} of {count} calls were recorded of another component than {path}\n");
    }
    let mut all = Vec::new();
    for recorded in &recording.recorded {
        let parts: Vec<_> = recording
            .calls
            .iter()
            .filter(|call| call.part_of.as_ref() == Some(&recorded.id))
            .map(|call| Played::play(&driver, &mut guests, &image, call))
            .collect::<Result<_>>()?;
        let (told, lines) = tell(&driver, &component, recorded, &parts);
        let volume = recorded.volume.as_deref().unwrap_or_default();
        let title = format!("{} {} {volume}", recorded.time, recorded.operation);
        text += &format!("{:<10}  {}\n", told.word(), printable(title.trim_end()));
        for line in lines {
            text += &format!("            {}\n", printable(&line));
        }
        all.push(told);
    }
    let count_of = |told| all.iter().filter(|it| **it == told).count();
    let (same, in_part, not_played) =
        (count_of(Told::Same), count_of(Told::InPart), count_of(Told::NotPlayed));
    text += &format!(
        "of {count} calls {same} have the same reply, {in_part} were played in part, {not_played} not at all"
    );
    let written = output.text(&text);
    match count_of(Told::Different) {
        0 => written,
        different => bail!("{different} of {count} calls went otherwise"),
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

/// Fails if a call would not be played, or played for two.
fn parts_belong(recording: &Recording) -> Result<()> {
    let mut ids = BTreeSet::new();
    for recorded in &recording.recorded {
        if !ids.insert(recorded.id.as_str()) {
            bail!("it has `[[recorded]]` with the id {} twice; take one out", recorded.id);
        }
    }
    for call in &recording.calls {
        match &call.part_of {
            Some(id) if ids.contains(id.as_str()) => {}
            Some(id) => bail!(
                "the call {:?} is part of {id}, and there is no `[[recorded]]` with that id",
                call.name
            ),
            None => bail!(
                "the call {:?} was recorded of no driver; `wasmount test` plays such calls",
                call.name
            ),
        }
    }
    Ok(())
}

/// What there is to tell of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// The reply was found out here, and is the one on record.
    Same,
    /// The component did as is on record, and the reply is not its alone.
    InPart,
    /// Neither is there anything to play, nor does the reply follow from what the driver is.
    NotPlayed,
    Different,
}

impl Told {
    fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::InPart => "in part",
            Self::NotPlayed => "not played",
            Self::Different => "DIFFERENT",
        }
    }
}

/// An operation that was played.
struct Played {
    /// What its end was on record.
    recorded: End,
    /// The same as it was played; none if it did something that is not on record, to which nobody
    /// knows the answer.
    played: Option<End>,
    mismatch: Option<Mismatch>,
}

impl Played {
    fn play(driver: &DriverName, guests: &mut Guests, image: &Image, call: &Call) -> Result<Self> {
        let (mismatch, ending) = play::play(guests.next(image)?, call)?;
        let played = match ending {
            Ending::Finished(outcome) => Some(reply::conclude(driver, call, outcome)?),
            Ending::Ended(failure) => Some(Err(failure)),
            Ending::Unknown => None,
        };
        Ok(Self { recorded: reply::on_record(driver, call)?, played, mismatch })
    }
}

/// How a call went, and the lines to say about it.
fn tell(
    driver: &DriverName,
    component: &Component,
    recorded: &Recorded,
    parts: &[Played],
) -> (Told, Vec<String>) {
    let on_record = format!("recorded  {}", recorded.reply);
    if let Some(part) = parts.iter().find(|part| part.mismatch.is_some()) {
        let replayed = match &part.played {
            // The host went on as it did.
            Some(end) if *end == part.recorded => {
                "the same, after something else was asked of the host".to_owned()
            }
            end => reply::of_ends(driver, recorded, end)
                .unwrap_or_else(|| "not to be told: the host was asked something else".to_owned()),
        };
        let mut lines = vec![on_record, format!("replayed  {replayed}")];
        let mismatch = part.mismatch.iter().map(ToString::to_string).collect::<String>();
        lines.extend(mismatch.lines().map(str::to_owned));
        return (Told::Different, lines);
    }
    let ends = parts.iter().filter_map(|part| part.played.as_ref());
    let replayed = match parts {
        [] => reply::of_component(driver, recorded, &component.inspection),
        _ => reply::of_ends(driver, recorded, ends),
    };
    match (recorded.reply_follows, replayed) {
        (true, Some(replayed)) if replayed == recorded.reply => (Told::Same, vec![replayed]),
        (true, replayed) => {
            let replayed = replayed.unwrap_or_else(|| {
                "not to be told: the component would be asked, and no [[call]] says what".to_owned()
            });
            (Told::Different, vec![on_record, format!("replayed  {replayed}")])
        }
        (false, replayed) => {
            let mut lines = vec![on_record];
            lines.extend(recorded.host.iter().map(|act| format!("on record: {act}")));
            match (parts, replayed) {
                ([_, ..], Some(replayed)) => {
                    lines.insert(1, format!("component {replayed}"));
                    (Told::InPart, lines)
                }
                _ => (Told::NotPlayed, lines),
            }
        }
    }
}
