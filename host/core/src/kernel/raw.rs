//! The system calls that rustix does not wrap: ioctls of loop devices, block devices and
//! filesystems, and mount_setattr(2). Each is one safe function of one meaning; nothing is interpreted here.

use std::os::fd::{AsFd, AsRawFd as _};

use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, Updater, ioctl, opcode};

/// `LO_FLAGS_READ_ONLY` of linux/loop.h.
pub(super) const LO_READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`: the kernel detaches the device when its last opener is gone.
pub(super) const LO_AUTOCLEAR: u32 = 4;
/// `LO_FLAGS_DIRECT_IO`: the page cache holds the data once, not twice.
pub(super) const LO_DIRECT_IO: u32 = 16;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopInfo {
    /// Device number of the filesystem that the backing file is on, in stat's encoding.
    pub(super) device: u64,
    /// Inode number of the backing file.
    pub(super) inode: u64,
    rdevice: u64,
    pub(super) offset: u64,
    pub(super) size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    pub(super) flags: u32,
    /// Free text of whoever made the device; NUL-terminated.
    pub(super) file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl LoopInfo {
    /// All zero but the flags and the name, which is cut at 63 bytes.
    pub(super) fn new(flags: u32, name: &str) -> Self {
        let mut file_name = [0; 64];
        let length = name.len().min(63);
        file_name[..length].copy_from_slice(&name.as_bytes()[..length]);
        Self { flags, file_name, ..Self::ZERO }
    }

    /// How many bytes tell what wasmount asks of it.
    pub(super) const BYTES: usize = 8 + 8 + 4 + 64;

    /// Device, inode, flags and name.
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.device.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.inode.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[20..].copy_from_slice(&self.file_name);
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) has told; all else is zero.
    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let number = |at: usize| u64::from_ne_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Self {
            device: number(0),
            inode: number(8),
            flags: u32::from_ne_bytes(std::array::from_fn(|byte| bytes[16 + byte])),
            file_name: std::array::from_fn(|byte| bytes[20 + byte]),
            ..Self::ZERO
        }
    }

    const ZERO: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

struct GetFree;

#[expect(
    unsafe_code,
    reason = "rustix has no pattern for an ioctl that answers by its return value"
)]
// SAFETY: LOOP_CTL_GET_FREE (loop(4)) takes no argument and answers with the return value.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;
    fn opcode(&self) -> Opcode {
        0x4C82
    }
    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::null_mut()
    }
    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut std::ffi::c_void) -> Result<u32> {
        u32::try_from(out).map_err(|_| Errno::RANGE)
    }
}

/// `struct xfs_growfs_data` of fs/xfs/libxfs/xfs_fs.h.
#[repr(C)]
pub(super) struct XfsGrow {
    blocks: u64,
    inode_percent: u32,
    padding: u32,
}

/// `struct btrfs_ioctl_vol_args` of linux/btrfs.h.
#[repr(C)]
struct BtrfsVolume {
    fd: i64,
    name: [u8; 4088],
}

struct BtrfsResize(BtrfsVolume);

#[expect(
    unsafe_code,
    reason = "rustix has no pattern for an ioctl that answers by its return value"
)]
// SAFETY: BTRFS_IOC_RESIZE (linux/btrfs.h) reads a `struct btrfs_ioctl_vol_args`, which lives as
// long as this value, writes nothing and answers with the return value.
unsafe impl Ioctl for BtrfsResize {
    type Output = u32;
    const IS_MUTATING: bool = false;
    fn opcode(&self) -> Opcode {
        opcode::write::<BtrfsVolume>(0x94, 3)
    }
    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        (&raw mut self.0).cast()
    }
    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut std::ffi::c_void) -> Result<u32> {
        u32::try_from(out).map_err(|_| Errno::RANGE)
    }
}

/// `struct btrfs_ioctl_fs_info_args` of linux/btrfs.h, as far as it is used.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct BtrfsInfo {
    max_id: u64,
    devices: u64,
    fsid: [u8; 16],
    rest: [u64; 124],
}

macro_rules! ioctls {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty)?) $(-> $out:ty)? = $pattern:expr;)*) => {$(
        $(#[$doc])*
        #[expect(unsafe_code, reason = "rustix leaves ioctl opcodes to its callers")]
        pub(super) fn $name(fd: impl AsFd $(, $arg: $type)?) -> Result<ioctls!(@out $($out)?)> {
            // SAFETY: the opcode and the argument's type are those of the header that the
            // function's documentation names; the kernel reads or writes exactly that type.
            unsafe { ioctl(fd, $pattern) }
        }
    )*};
    (@out) => { () };
    (@out $out:ty) => { $out };
}

ioctls! {
    /// linux/loop.h `LOOP_CTL_GET_FREE`, on /dev/loop-control.
    fn loop_get_free() -> u32 = GetFree;
    /// linux/loop.h `LOOP_CLR_FD`.
    fn loop_clear() = NoArg::<0x4C01>::new();
    /// linux/loop.h `LOOP_SET_STATUS64`.
    fn loop_set_status(info: LoopInfo) = Setter::<0x4C04, LoopInfo>::new(info);
    /// linux/loop.h `LOOP_GET_STATUS64`. ENXIO if nothing is attached.
    fn loop_status() -> LoopInfo = Getter::<0x4C05, LoopInfo>::new();
    /// linux/loop.h `LOOP_SET_CAPACITY`.
    fn loop_set_capacity() = NoArg::<0x4C07>::new();
    /// linux/fs.h `BLKGETSIZE64`: the size in bytes.
    fn block_size_bytes() -> u64 = Getter::<{ opcode::read::<usize>(0x12, 114) }, u64>::new();
    /// linux/fs.h `BLKROGET`: not 0 if read-only.
    fn block_read_only() -> i32 = Getter::<{ opcode::none(0x12, 94) }, i32>::new();
    /// linux/fs.h `BLKFLSBUF`: writes back and forgets what the page cache holds of the device.
    fn block_flush() = NoArg::<{ opcode::none(0x12, 97) }>::new();
    /// linux/fs.h `BLKGETDISKSEQ`, since Linux 5.15.
    fn block_disk_sequence() -> u64 = Getter::<{ opcode::read::<u64>(0x12, 128) }, u64>::new();
    /// fs/ext4/ext4.h `EXT4_IOC_RESIZE_FS`, on a directory of the mount; the new size in blocks.
    fn ext4_resize(blocks: u64) = Setter::<{ opcode::write::<u64>(b'f', 16) }, u64>::new(blocks);
    /// fs/xfs/libxfs/xfs_fs.h `XFS_IOC_FSGROWFSDATA`, on a directory of the mount.
    fn xfs_grow_data(grow: XfsGrow) =
        Setter::<{ opcode::write::<XfsGrow>(b'X', 110) }, XfsGrow>::new(grow);
    /// linux/btrfs.h `BTRFS_IOC_FS_INFO`, on a directory of the mount. Newer kernels also read
    /// of it which more they are asked for: nothing, if it is zero.
    fn btrfs_info(info: &mut BtrfsInfo) =
        Updater::<{ opcode::read::<BtrfsInfo>(0x94, 31) }, BtrfsInfo>::new(info);
}

/// Grows the xfs that a directory is in to so many blocks. The percentage is what it has already.
pub(super) fn xfs_grow(directory: impl AsFd, blocks: u64, inode_percent: u8) -> Result<()> {
    let inode_percent = inode_percent.into();
    xfs_grow_data(directory, XfsGrow { blocks, inode_percent, padding: 0 })
}

/// Grows the btrfs that a directory is in to all of one of its devices. What the kernel answers
/// beyond errors is in linux/btrfs.h `enum btrfs_err_code`; 0 is success.
#[expect(unsafe_code, reason = "rustix leaves ioctl opcodes to its callers")]
pub(super) fn btrfs_grow(directory: impl AsFd, device_id: u64) -> Result<u32> {
    let mut name = [0; 4088];
    let text = format!("{device_id}:max");
    name[..text.len()].copy_from_slice(text.as_bytes());
    // SAFETY: the opcode and the argument are those that the header names.
    unsafe { ioctl(directory, BtrfsResize(BtrfsVolume { fd: 0, name })) }
}

/// The fsid of the btrfs that a directory is in.
pub(super) fn btrfs_fsid(directory: impl AsFd) -> Result<[u8; 16]> {
    let mut info = BtrfsInfo { max_id: 0, devices: 0, fsid: [0; 16], rest: [0; 124] };
    btrfs_info(directory, &mut info)?;
    Ok(info.fsid)
}

/// linux/loop.h `LOOP_CONFIGURE`, since Linux 5.8.
#[expect(unsafe_code, reason = "rustix leaves ioctl opcodes to its callers")]
pub(super) fn loop_configure(device: impl AsFd, backing: impl AsFd, info: LoopInfo) -> Result<()> {
    let fd = backing.as_fd().as_raw_fd() as u32;
    let config = LoopConfig { fd, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: the opcode takes a `struct loop_config`, which the kernel only reads.
    unsafe { ioctl(device, Setter::<0x4C0A, LoopConfig>::new(config)) }
}

/// mount_setattr(2) with AT_EMPTY_PATH: turns attributes of one mount on.
#[expect(unsafe_code, reason = "rustix 1.1 does not wrap mount_setattr")]
pub(super) fn mount_set(mount: impl AsFd, attributes: u64) -> Result<()> {
    let attributes =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a NUL-terminated empty string, and the last two arguments are a valid
    // `struct mount_attr` and its size, as mount_setattr(2) demands. Both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
