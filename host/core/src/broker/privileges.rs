//! Which of root's capabilities a call keeps: those that what is granted, or the host does by itself, can
//! need. The others are given up for good once it is known which call it is, before the component is
//! spoken with or the volume's record is read.
//!
//! Without any, the broker is still root: what root owns is its own, such as device nodes, records and
//! kubelet's directories. Nothing is decided here; a capability that is kept permits nobody anything.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

use crate::call::Operation;
use crate::decide;
use crate::grants::{FilesystemsGrant, Grants};

use super::route::Route;

const NONE: CapabilitySet = CapabilitySet::empty();

/// To end the guest process, which is another user's.
const GUEST: CapabilitySet = CapabilitySet::KILL;

/// Mounts; loop devices that are kept; to have the kernel read a device anew; mkfs.xfs.
const MOUNTS: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// Mounts whose root directory is opened, which may be anybody's.
const VOLUMES: CapabilitySet = MOUNTS.union(CapabilitySet::DAC_READ_SEARCH);

/// ext4 demands it of who grows it.
const GROWTH: CapabilitySet = VOLUMES.union(CapabilitySet::SYS_RESOURCE);

/// Images and their directory need not be root's.
const IMAGES: CapabilitySet = CapabilitySet::DAC_OVERRIDE;

/// Files of any group, in a directory that is made as it will be: perhaps for nobody to write to.
const TMPFS: CapabilitySet = MOUNTS.union(CapabilitySet::CHOWN).union(CapabilitySet::DAC_OVERRIDE);

/// Whether an act is granted.
type Granted = fn(&Grants) -> bool;

/// What is needed for the functions of the WIT that take a grant: which, whether it is granted, and by
/// which capabilities it is done.
const ACTS: &[(&str, Granted, CapabilitySet)] = &[
    ("state.get", |grants| grants.state, NONE),
    ("state.put", |grants| grants.state, NONE),
    ("state.delete", |grants| grants.state, NONE),
    ("secrets.open", |grants| !grants.secrets.is_empty(), NONE),
    ("secret.reveal", |grants| !grants.secrets.is_empty(), NONE),
    ("images.open", images, IMAGES),
    ("images.create", images, IMAGES),
    ("images.attached", images, IMAGES),
    ("images.detach", images, IMAGES.union(MOUNTS)),
    ("images.release", images, IMAGES),
    ("image.size", images, IMAGES),
    ("image.grow", images, IMAGES),
    ("image.lease", images, IMAGES),
    ("image.holder", images, IMAGES),
    ("image.attach", images, IMAGES.union(MOUNTS)),
    ("devices.find", |grants| !grants.devices.is_empty(), MOUNTS),
    ("devices.wait", |grants| !grants.devices.is_empty(), MOUNTS),
    ("filesystems.format", |grants| filesystems(grants, |it| it.format), MOUNTS),
    ("filesystems.check", |grants| filesystems(grants, |it| it.check), MOUNTS),
    ("filesystems.grow", |grants| filesystems(grants, |it| it.grow), GROWTH),
    ("mounts-block.mount", |grants| grants.block.is_some(), VOLUMES),
    // Before it is mounted for the volume, what is too small is grown, if that is granted.
    ("mounts-block.mount", |grants| filesystems(grants, |it| it.grow), GROWTH),
    ("mounts-bind.staged", |grants| grants.bind, MOUNTS),
    ("mounts-tmpfs.create", |grants| grants.tmpfs.is_some(), TMPFS),
    ("mounts-tmpfs.write-file", |grants| grants.tmpfs.is_some(), TMPFS),
    ("mounts-tmpfs.write-secret", |grants| grants.tmpfs.is_some(), TMPFS),
    ("mounts-tmpfs.seal", |grants| grants.tmpfs.is_some(), TMPFS),
];

fn images(grants: &Grants) -> bool {
    grants.images.is_some()
}

fn filesystems(grants: &Grants, may: fn(&FilesystemsGrant) -> bool) -> bool {
    grants.filesystems.as_ref().is_some_and(may)
}

/// What the host does by itself, without any grant, in an operation that it or the component serves.
fn host(operation: Operation, route: Route) -> CapabilitySet {
    match (operation, route) {
        // What the record lists goes, whatever is granted by now.
        (Operation::Unmount | Operation::UnmountDevice | Operation::Detach, _) => MOUNTS | IMAGES,
        (Operation::ExpandFs, Route::Host) => GROWTH,
        // A loop device that the record lists is made as large as its image.
        (Operation::MountDevice | Operation::ExpandFs, _) | (_, Route::Host) => MOUNTS,
        // A mount that fails after some steps is taken back.
        (_, Route::Steps) => MOUNTS | IMAGES,
        _ => NONE,
    }
}

/// What a call keeps.
pub(super) fn of_call(operation: Operation, route: Route, grants: &Grants) -> CapabilitySet {
    let in_this_call = |function: &str| {
        let phases = decide::operations(function);
        route == Route::Steps || phases.is_none_or(|phases| phases.contains(&operation))
    };
    let granted = ACTS.iter().filter(|(act, granted, _)| in_this_call(act) && granted(grants));
    granted.fold(GUEST | host(operation, route), |kept, (.., needed)| kept | *needed)
}

/// Gives up all capabilities but these, as far as the process has them, for good, and for whatever it
/// executes.
pub(crate) fn keep(kept: CapabilitySet) -> Result<(), Errno> {
    let has = capabilities(None)?;
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    if has.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(kept) {
            match remove_capability_from_bounding_set(capability) {
                // One that this kernel does not know.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
        // Otherwise whatever root executes has all capabilities that are left in that set.
        let no_root = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
        set_capabilities_secure_bits(capabilities_secure_bits()? | no_root)?;
    }
    let (effective, permitted) = (has.effective & kept, has.permitted & kept);
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable: NONE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::SECTIONS;

    const IMAGES_GRANT: &str = "[images]\ndirectory = \"/images\"\nnames = [\"{volume}\"]";

    /// By the names of capabilities(7).
    const TABLE: &[(Operation, Route, &str, &str)] = {
        use Operation::*;
        use Route::{Component, Host, Steps};
        &[
            (Mount, Component, "", "KILL"),
            (Mount, Component, "[state]", "KILL"),
            (IsAttached, Component, "", "KILL"),
            (Attach, Component, "", "KILL"),
            (Mount, Component, "[mounts.bind]", "KILL SYS_ADMIN"),
            (Attach, Component, "[mounts.bind]", "KILL"),
            (Mount, Host, "", "KILL SYS_ADMIN"),
            (Mount, Component, "[mounts.tmpfs]", "CHOWN DAC_OVERRIDE KILL SYS_ADMIN"),
            (
                MountDevice,
                Component,
                "[mounts.block]\nfilesystems = [\"ext4\"]",
                "DAC_READ_SEARCH KILL SYS_ADMIN",
            ),
            (
                MountDevice,
                Component,
                "[filesystems]\ntypes = [\"xfs\"]\nformat = true",
                "KILL SYS_ADMIN",
            ),
            (
                MountDevice,
                Component,
                "[filesystems]\ntypes = [\"ext4\"]\ncheck = true",
                "KILL SYS_ADMIN",
            ),
            (
                MountDevice,
                Component,
                "[mounts.block]\nfilesystems = [\"ext4\"]\n[filesystems]\ntypes = [\"ext4\"]\ngrow = true",
                "DAC_READ_SEARCH KILL SYS_ADMIN SYS_RESOURCE",
            ),
            (Attach, Component, IMAGES_GRANT, "DAC_OVERRIDE KILL"),
            (IsAttached, Component, IMAGES_GRANT, "DAC_OVERRIDE KILL"),
            (MountDevice, Component, IMAGES_GRANT, "DAC_OVERRIDE KILL SYS_ADMIN"),
            (Mount, Steps, IMAGES_GRANT, "DAC_OVERRIDE KILL SYS_ADMIN"),
            // What was set up can be taken down, whatever is granted by now.
            (Unmount, Component, "", "DAC_OVERRIDE KILL SYS_ADMIN"),
            (Unmount, Host, "", "DAC_OVERRIDE KILL SYS_ADMIN"),
            (UnmountDevice, Component, "", "DAC_OVERRIDE KILL SYS_ADMIN"),
            (Detach, Component, "", "DAC_OVERRIDE KILL SYS_ADMIN"),
            (Mount, Steps, "", "DAC_OVERRIDE KILL SYS_ADMIN"),
            (ExpandFs, Host, "", "DAC_READ_SEARCH KILL SYS_ADMIN SYS_RESOURCE"),
        ]
    };

    #[test]
    fn no_act_that_takes_a_grant_is_forgotten() {
        let functions = SECTIONS.iter().flat_map(|section| section.functions);
        let listed = |function: &&&str| ACTS.iter().any(|(act, ..)| act == *function);
        assert_eq!(functions.filter(|function| !listed(function)).collect::<Vec<_>>(), [&""; 0]);
    }

    #[test]
    fn a_call_keeps_what_its_acts_need() {
        for &(operation, route, section, expected) in TABLE {
            let grants = Grants::parse(&format!("version = 1\n{section}\n")).expect("grants");
            let kept = of_call(operation, route, &grants);
            let names: Vec<&str> = kept.iter_names().map(|(name, _)| name).collect();
            assert_eq!(names.join(" "), expected, "{operation:?} {route:?} {section}");
        }
    }
}
