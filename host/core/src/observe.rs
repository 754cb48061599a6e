//! A call that is served in the CLI, by the very code that serves it in the driver, and observed:
//! what `wasmount call --record` and `wasmount explain` are made of. Without the feature `observe`, which only the CLI turns on,
//! there is nothing here: the driver goes by its own place and tells nobody.
//!
//! The call has a process of its own, so that no other part of it has ever held the arguments. What is
//! to be served comes in a file in memory, and what was observed is left in it. Nothing is
//! decided or cleaned here: what is observed may be secret.

#[cfg(feature = "observe")]
pub(crate) use armed::{Asked, end, finished, gone, line, operation, started, version};
#[cfg(feature = "observe")]
pub use armed::{Event, Plan, observed, serve};

#[cfg(all(feature = "engine", not(feature = "observe")))]
pub(crate) use nothing::{Asked, end, finished, gone, operation, started};
#[cfg(not(feature = "observe"))]
pub(crate) use nothing::{line, version};

#[cfg(feature = "observe")]
mod armed {
    use std::cell::{Cell, RefCell};
    use std::ffi::{OsStr, OsString};
    use std::fs::File;
    use std::io::{self, Read as _, Seek as _, Write as _};
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::PathBuf;

    use serde::{Deserialize, Serialize};
    use serde_json::Value;
    use zeroize::Zeroizing;

    use crate::call::Operation;
    use crate::call::arguments::Arguments;
    use crate::failure::Failure;
    use crate::wire::{Outcome, Request, Response, Start};
    use crate::{rehearsal, supervisor};

    /// How much is observed of a call, in bytes: what goes on after that is lost, its end included.
    const MOST: usize = 64 << 20;

    /// What the end takes of that.
    const END: usize = 16;

    /// What stands in a plan of a call that is only rehearsed.
    const REHEARSED: &str = "rehearsed";

    /// Something that happened in a call.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Event {
        /// An operation begins: one for each call of kubelet's, or several where the host attaches
        /// volumes itself.
        Operation(Operation),
        /// The component is asked.
        Started(Box<Start>),
        /// The component has asked the host, and this is the answer; a failure has ended it.
        HostCall(Request, Result<Response, Failure>),
        /// The component's export has ended.
        Finished(Outcome),
        /// The component's process has ended without a result, for this reason.
        Gone(Failure),
        /// A line for the audit log, with the call's id.
        Line {
            /// The id.
            call: String,
            /// Its kind.
            kind: String,
            /// What it says.
            fields: Value,
        },
        /// The reply is known, and nothing was lost before: without this, something was.
        End,
    }

    /// What is to be served.
    #[derive(Debug)]
    pub struct Plan {
        /// The directory of the driver's version, absolute and without symbolic links.
        pub version: PathBuf,
        /// Whether it is only rehearsed: nothing lasts of it and nothing is written.
        pub rehearsed: bool,
        /// The operation and its arguments.
        pub arguments: Vec<OsString>,
    }

    struct Observer {
        version: PathBuf,
        events: RefCell<File>,
        /// How much was told, in bytes; none once something was lost. What comes after that would
        /// be taken for what followed.
        told: Cell<Option<usize>>,
    }

    thread_local! {
        // The processes of a call are forked from the one that is armed, and have one thread each.
        static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
    }

    impl Plan {
        /// Writes it down for [`serve`]. An argument holds no zero byte.
        pub fn write(&self, file: &mut File) -> io::Result<()> {
            let version = self.version.as_os_str();
            let rehearsed = OsStr::new(if self.rehearsed { REHEARSED } else { "" });
            let arguments = self.arguments.iter().map(|text| &**text);
            for text in [version, rehearsed].into_iter().chain(arguments) {
                file.write_all(text.as_bytes())?;
                file.write_all(&[0])?;
            }
            Ok(())
        }
    }

    /// Serves the call that is planned in the file, as [`supervisor::run`] does, and leaves in the
    /// file what was observed. This process must have one thread, and be used for nothing else.
    pub fn serve(mut file: File) -> io::Result<i32> {
        let length = file.metadata()?.len() as usize;
        // Arguments can be secret, and guests are forked from this process.
        let mut text = Zeroizing::new(Vec::with_capacity(length + 1));
        file.rewind()?;
        file.read_to_end(&mut text)?;
        let mut texts = text.strip_suffix(&[0]).unwrap_or(&text).split(|byte| *byte == 0);
        let version = texts.next().unwrap_or_default().to_vec();
        let rehearsed = texts.next() == Some(REHEARSED.as_bytes());
        let arguments = Arguments::copy(&texts.collect::<Vec<_>>())?;
        drop(text);
        file.set_len(0)?;
        file.rewind()?;
        OBSERVER.set(Some(Observer {
            version: PathBuf::from(OsString::from_vec(version)),
            events: RefCell::new(file),
            told: Cell::new(Some(0)),
        }));
        if rehearsed {
            rehearsal::begin();
        }
        Ok(supervisor::run(arguments))
    }

    /// What was observed, as far as there was time and room to tell it; whether that is all of the
    /// call.
    pub fn observed(file: &mut File) -> io::Result<(Vec<Event>, bool)> {
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        let lines = text.split(|byte| *byte == b'\n');
        let events = lines.map_while(|line| serde_json::from_slice(line).ok());
        let mut events: Vec<Event> = events.collect();
        let all = events.pop_if(|event| *event == Event::End).is_some();
        Ok((events, all))
    }

    /// The driver's version, where it is not the one that this process was executed from.
    pub(crate) fn version() -> Option<PathBuf> {
        OBSERVER.with_borrow(|observer| observer.as_ref().map(|it| it.version.clone()))
    }

    fn tell(event: impl FnOnce() -> Event) {
        tell_within(MOST - END, event);
    }

    /// Tells it if no more than that was told with it.
    fn tell_within(most: usize, event: impl FnOnce() -> Event) {
        OBSERVER.with_borrow(|observer| {
            let Some(observer) = observer else { return };
            let Some(before) = observer.told.take() else { return };
            let Ok(mut text) = serde_json::to_vec(&event()) else { return };
            text.push(b'\n');
            let told = before + text.len();
            if told <= most && observer.events.borrow_mut().write_all(&text).is_ok() {
                observer.told.set(Some(told));
            }
        });
    }

    /// The reply is known. Nothing is told after that.
    pub(crate) fn end() {
        tell_within(MOST, || Event::End);
    }

    pub(crate) fn operation(operation: Operation) {
        tell(|| Event::Operation(operation));
    }

    pub(crate) fn started(start: &Start) {
        tell(|| Event::Started(Box::new(start.clone())));
    }

    pub(crate) fn finished(outcome: &Outcome) {
        tell(|| Event::Finished(outcome.clone()));
    }

    pub(crate) fn gone(failure: &Failure) {
        tell(|| Event::Gone(failure.clone()));
    }

    pub(crate) fn line(call: &str, kind: &str, fields: &Value) {
        tell(|| Event::Line {
            call: call.to_owned(),
            kind: kind.to_owned(),
            fields: fields.clone(),
        });
    }

    /// A host call that is not answered yet.
    pub(crate) struct Asked(Request);

    impl Asked {
        pub(crate) fn of(request: &Request) -> Self {
            Self(request.clone())
        }

        pub(crate) fn answered(self, answer: &Result<Response, Failure>) {
            tell(|| Event::HostCall(self.0, answer.clone()));
        }
    }
}

#[cfg(not(feature = "observe"))]
#[cfg_attr(not(feature = "engine"), expect(dead_code, reason = "without it no call is served"))]
mod nothing {
    use std::path::PathBuf;

    use serde_json::Value;

    use crate::call::Operation;
    use crate::failure::Failure;
    use crate::wire::{Outcome, Request, Response, Start};

    #[inline(always)]
    pub(crate) fn version() -> Option<PathBuf> {
        None
    }

    #[inline(always)]
    pub(crate) fn operation(_: Operation) {}

    #[inline(always)]
    pub(crate) fn started(_: &Start) {}

    #[inline(always)]
    pub(crate) fn finished(_: &Outcome) {}

    #[inline(always)]
    pub(crate) fn gone(_: &Failure) {}

    #[inline(always)]
    pub(crate) fn line(_: &str, _: &str, _: &Value) {}

    #[inline(always)]
    pub(crate) fn end() {}

    /// A host call that nobody observes.
    pub(crate) struct Asked;

    impl Asked {
        #[inline(always)]
        pub(crate) fn of(_: &Request) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn answered(self, _: &Result<Response, Failure>) {}
    }
}
