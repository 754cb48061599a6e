//! What is known to be wrong with versions of wasmtime, of what wasmount builds of it: the rows of
//! docs/cve-table.md that something here has to hold, with the versions that do not have it. None
//! from before 2026, since no driver was built with what has them. Nothing is fetched; whoever takes a
//! newer wasmtime looks again.

/// When RustSec's database was looked at.
pub(super) const LOOKED_UP: &str = "October 2026";

/// A mistake of wasmtime's.
pub(super) struct Advisory {
    /// Its number, RustSec's or a CVE.
    pub(super) id: &'static str,
    /// What it is, in a few words.
    pub(super) what: &'static str,
    /// Whether it leads out of the component's memory.
    pub(super) grave: bool,
    /// The versions that do not have it, as RustSec writes them.
    pub(super) not_in: &'static [&'static str],
}

/// Fixed on one day in four series.
const APRIL_2026: &[&str] =
    &[">= 24.0.7, < 25.0.0", ">= 36.0.7, < 37.0.0", ">= 42.0.2, < 43.0.0", ">= 43.0.1"];

/// The newest first.
pub(super) const ADVISORIES: &[Advisory] = &[
    Advisory {
        id: "RUSTSEC-2026-0327",
        what: "the count of an async function's results overflows the native stack",
        grave: true,
        not_in: &["< 39.0.0", ">= 48.0.4, < 49.0.0", ">= 49.0.2"],
    },
    Advisory {
        id: "RUSTSEC-2026-0316",
        what: "values lifted by their type at run time take more memory than the bound",
        grave: false,
        not_in: &[">= 36.0.16, < 37.0.0", ">= 48.0.3, < 49.0.0", ">= 49.0.1"],
    },
    Advisory {
        id: "RUSTSEC-2026-0114",
        what: "a table that is larger than the addresses that there are panics the host",
        grave: false,
        not_in: &["< 30.0.0", ">= 36.0.8, < 37.0.0", ">= 43.0.2, < 44.0.0", ">= 44.0.1"],
    },
    Advisory {
        id: "CVE-2026-34971",
        what: "on aarch64 a component reads and writes out of its memory",
        grave: true,
        not_in: &[">= 36.0.7, < 37.0.0", ">= 42.0.2, < 43.0.0", ">= 43.0.1"],
    },
    Advisory {
        id: "CVE-2026-35195",
        what: "texts that change encoding between components are written out of bounds",
        grave: true,
        not_in: APRIL_2026,
    },
    Advisory {
        id: "CVE-2026-34944",
        what: "one instruction reads past a memory's end, or crashes",
        grave: false,
        not_in: APRIL_2026,
    },
    Advisory {
        id: "CVE-2026-34943",
        what: "flags of a component panic the host",
        grave: false,
        not_in: APRIL_2026,
    },
    Advisory {
        id: "CVE-2026-34942",
        what: "misaligned texts of a component panic the host",
        grave: false,
        not_in: APRIL_2026,
    },
    Advisory {
        id: "CVE-2026-34941",
        what: "texts that change encoding between components are read out of bounds",
        grave: true,
        not_in: APRIL_2026,
    },
    Advisory {
        id: "CVE-2026-24116",
        what: "one instruction reads past a memory's end, or crashes",
        grave: false,
        not_in: &["< 29.0.0", ">= 36.0.5, < 37.0.0", ">= 40.0.3, < 41.0.0", ">= 41.0.1"],
    },
];
