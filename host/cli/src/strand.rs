//! Volumes that nobody could take down any more, if a change of their driver moved what they are
//! on record by: such a change has to wait until there are none.

use anyhow::{Result, bail};
use wasmount_core::bundle::Receipt;

use crate::close::{self, Closed};
use crate::layout::DriverDir;
use crate::output::Output;
use crate::usage;

/// Refuses a change that would strand volumes which are in use. If none is and one could come into
/// use meanwhile, the driver is closed: keep the value until the change is made.
///
/// An upgrade that moves the records would leave nobody who knows how to unmount what is mounted,
/// one that moves the locks, two calls for a volume at a time, and one that changes who attaches
/// volumes, nobody who would ask for it.
pub fn make_way(
    directory: &DriverDir,
    old: &Receipt,
    new: &Receipt,
    output: &mut Output<'_>,
) -> Result<Option<Closed>> {
    let Some(why) = why(old, new) else { return Ok(None) };
    refuse_if_used(old, &why)?;
    let mut waiting = |process| output.waiting_for_call(process);
    let closed = Closed::close(directory, close::PATIENCE, &mut waiting)?;
    // A call that was under way may have set up a volume since.
    refuse_if_used(old, &why)?;
    Ok(Some(closed))
}

/// Why volumes that are in use stand in the way of a change, if they would.
fn why(old: &Receipt, new: &Receipt) -> Option<String> {
    let moved = [
        ("--data-dir", &old.data_dir, &new.data_dir),
        ("--run-dir", &old.run_dir, &new.run_dir),
        ("--kubelet-root", &old.kubelet_root, &new.kubelet_root),
    ];
    let moved = moved.into_iter().find(|(_, was, is)| was != is).map(|(option, was, _)| {
        format!(
            "what is to be undone is on record for other directories; install it with {option} {}",
            was.display()
        )
    });
    let reattached = (old.attaching() != new.attaching()).then(|| {
        let keep = match (old.node_only == new.node_only, old.node_only) {
            (true, _) => "a component with the same exports",
            (false, true) => "it with --node-only",
            (false, false) => "it without --node-only",
        };
        format!(
            "they were attached {}, and nothing else takes them down again; until they are gone, \
             install {keep}",
            old.attaching().by()
        )
    });
    moved.or(reattached)
}

fn refuse_if_used(old: &Receipt, why: &str) -> Result<()> {
    let data_dir = old.data_dir.join(old.driver.tilde());
    let used = usage::volumes(&data_dir, &usage::boot_id()?, &old.kubelet_root)?;
    if let Some(volume) = used.first() {
        bail!(
            "volumes of {} are in use ({}: {}), and {why}",
            old.driver,
            volume.volume,
            volume.how.join(", "),
        );
    }
    Ok(())
}
