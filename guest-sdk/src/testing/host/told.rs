//! What the host is not asked: what it tells at the start of a call, which is what the recording says
//! of it, and what every machine knows. Log lines go the other way and are never answered.

use wasmount_recording::Access as RecordedAccess;

use super::super::stage::with;
use crate::Access;

pub(crate) mod log {
    use super::with;

    use crate::log::Level;

    pub(crate) fn write(level: Level, message: &str) {
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        with(|player| player.log(level, message));
    }
}

pub(crate) mod config {
    use super::with;

    pub(crate) fn get(key: &str) -> Option<String> {
        with(|player| player.call().config.get(key).cloned())
    }

    pub(crate) fn node_name() -> String {
        with(|player| player.call().node_name.clone())
    }
}

pub(crate) mod volumes {
    use super::{Access, recorded_access, with};

    pub(crate) use crate::bindings::capabilities::wasmount::driver::volumes::PodFact;

    #[derive(Debug)]
    pub(crate) struct Volume;

    #[derive(Debug)]
    pub(crate) struct VolumeRecord;

    /// What the host tells of a volume, whether by this call or by its record.
    macro_rules! facts {
        ($($of:ident)+) => { $(
            impl $of {
                pub(crate) fn option(&self, key: &str) -> Option<String> {
                    with(|player| player.call().options.get(key).cloned())
                }

                pub(crate) fn options(&self) -> Vec<(String, String)> {
                    with(|player| player.call().options.clone().into_iter().collect())
                }

                pub(crate) fn fs_type(&self) -> Option<String> {
                    with(|player| player.call().fs_type.clone())
                }

                pub(crate) fn access(&self) -> Access {
                    with(|player| recorded_access(player.call().access))
                }
            }
        )+ };
    }

    facts! { Volume VolumeRecord }

    impl Volume {
        pub(crate) fn name(&self) -> String {
            with(|player| player.call().volume.clone())
        }

        pub(crate) fn fs_group(&self) -> Option<u32> {
            with(|player| player.call().fs_group)
        }

        pub(crate) fn pod(&self, fact: PodFact) -> Option<String> {
            with(|player| {
                let pod = &player.call().pod;
                match fact {
                    PodFact::Name => &pod.name,
                    PodFact::Namespace => &pod.namespace,
                    PodFact::Uid => &pod.uid,
                    PodFact::ServiceAccount => &pod.service_account,
                }
                .clone()
            })
        }
    }
}

pub(crate) mod clock {
    use std::sync::LazyLock;
    use std::time::{Duration, Instant, SystemTime};

    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

    pub(crate) fn now() -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        nanoseconds(now)
    }

    pub(crate) fn monotonic() -> u64 {
        nanoseconds(BEGAN.elapsed())
    }

    pub(crate) fn sleep(milliseconds: u32) {
        std::thread::sleep(Duration::from_millis(milliseconds.into()));
    }

    fn nanoseconds(time: Duration) -> u64 {
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }
}

pub(crate) mod random {
    use std::hash::{BuildHasher as _, RandomState};

    /// Random enough for a test: what `std` seeds its maps with.
    pub(crate) fn bytes(count: u32) -> Vec<u8> {
        let numbers = (0..count.div_ceil(8)).map(|_| RandomState::new().hash_one(0));
        numbers.flat_map(u64::to_ne_bytes).take(count as usize).collect()
    }
}

fn recorded_access(access: RecordedAccess) -> Access {
    match access {
        RecordedAccess::ReadOnly => Access::ReadOnly,
        RecordedAccess::ReadWrite => Access::ReadWrite,
    }
}
