//! Every section and key of grants.toml in words: what `docs/grants.md` shows and what the
//! tests hold against the parser. Nothing is parsed by it.

/// A section of the file.
#[derive(Debug)]
pub struct Section {
    /// How it is written, with its brackets; empty for the top of the file.
    pub header: &'static str,
    /// The import functions of the WIT that need it, as `interface.function`.
    pub functions: &'static [&'static str],
    /// What it lets a component do.
    pub doc: &'static str,
    /// Its keys, in the order of the file.
    pub keys: &'static [Key],
}

/// A key of a section.
#[derive(Debug)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What holds where the key is absent; `required` if it cannot be.
    pub default: &'static str,
    /// What it can be.
    pub bounds: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// The sections, in the order of the file.
pub static SECTIONS: &[Section] = &[
    Section {
        header: "",
        functions: &[],
        doc: "Before any section.",
        keys: &[
            key("version", "required", "`1`", "The version of the format."),
            key(
                "isolation",
                "`\"available\"`",
                "`\"available\"`, `\"full\"`",
                "What of the wall around the component's process has to be there: what the node's kernel \
                 has, or all of it. With `full`, no component runs where `wasmount doctor` says that the \
                 kernel lacks a part.",
            ),
        ],
    },
    Section {
        header: "[reply]",
        functions: &[],
        doc: "How the driver answers kubelet.",
        keys: &[key(
            "failure-exit-code",
            "`1`; required where there are `[[secrets]]`",
            "`0`, `1`",
            "The exit code of a call that fails. kubelet logs all arguments of a call that exits \
             non-zero, secrets included.",
        )],
    },
    Section {
        header: "[config]",
        functions: &[],
        doc: "Settings that the component reads with `config.get`. They are readable by everyone \
              on the node: never put a secret here.",
        keys: &[key(
            "…",
            "absent",
            "text; 64 keys, 16 KiB in all",
            "What the component makes of it.",
        )],
    },
    Section {
        header: "[limits]",
        functions: &[],
        doc: "What the component may use up in one call. Over it, the component is ended.",
        keys: &[
            key("memory-mib", "`64`", "`1` to `1024`", "Linear memory, in MiB."),
            key("cpu-seconds", "`10`", "`1` to `100`", "CPU time, in seconds."),
        ],
    },
    Section {
        header: "[state]",
        functions: &["state.get", "state.put", "state.delete"],
        doc: "A small durable store for each volume. Granted by being there.",
        keys: &[],
    },
    Section {
        header: "[[secrets]]",
        functions: &["secrets.open", "secret.reveal", "mounts-tmpfs.write-secret"],
        doc: "The keys of the secret that a volume refers to; one entry a key or pattern. What any \
              entry that fits a key gives is given.",
        keys: &[
            key(
                "key",
                "required",
                "1 to 253 of `A-Z a-z 0-9 . _ -` and at most one `*`",
                "The key in the secret. `*` is any run of characters; such a pattern is for `file` \
                 only.",
            ),
            key(
                "uses",
                "required",
                "of `\"reveal\"`, `\"file\"`",
                "`reveal`: the component reads the value. `file`: the host writes it into a file of a \
                 tmpfs, unseen by the component.",
            ),
        ],
    },
    Section {
        header: "[images]",
        functions: &[
            "images.open",
            "images.create",
            "images.attached",
            "images.detach",
            "images.release",
            "image.size",
            "image.grow",
            "image.lease",
            "image.holder",
            "image.attach",
        ],
        doc: "Image files of one directory, each used by one volume, as loop devices.",
        keys: &[
            key(
                "directory",
                "required",
                "an absolute path without `.` and `..`",
                "Where they are.",
            ),
            key(
                "names",
                "required",
                "1 to 64 file names with `{volume}` and at most one `*`",
                "Which of them a volume may use. `{volume}` is its name, `*` any run of characters.",
            ),
            key("create", "`false`", "`true`, `false`", "Whether an absent one may be created."),
            key("grow", "`false`", "`true`, `false`", "Whether one may be made longer."),
            key("max-size", "`\"1Ti\"`", "`\"1\"` to `\"1024Ti\"`", "How long one may be made."),
        ],
    },
    Section {
        header: "[[devices]]",
        functions: &["devices.find", "devices.wait"],
        doc: "A rule by which block devices are found; one entry a rule. A device that does not \
              prove its identity is refused.",
        keys: &[
            key(
                "rule",
                "required",
                "1 to 64 of `a-z 0-9 -`",
                "The name that the component asks by.",
            ),
            key("path", "required", "a path below `/dev` with one `{id}`", "Where the device is."),
            key(
                "id",
                "required",
                "`A-Z a-z 0-9 . _ : -` with `{volume}` and at most one `*`",
                "Which ids a volume may use.",
            ),
            key(
                "verify",
                "required",
                "`{ attribute = …, value = … }`",
                "`attribute` is a file below the device's directory in `/sys`; it has to read \
                 `value`, which has one `{id}` in it.",
            ),
        ],
    },
    Section {
        header: "[filesystems]",
        functions: &["filesystems.format", "filesystems.check", "filesystems.grow"],
        doc: "Work on filesystems.",
        keys: &[
            key("types", "required", "of `\"ext4\"`, `\"xfs\"`, `\"btrfs\"`", "Which filesystems."),
            key("format", "`false`", "`true`, `false`", "Whether a blank device may be formatted."),
            key(
                "check",
                "`false`",
                "`true`, `false`",
                "Whether one may be checked and repaired. xfs and btrfs the kernel repairs as it mounts them.",
            ),
            key(
                "grow",
                "`false`",
                "`true`, `false`",
                "Whether one may be grown to its device: by the component, and by the host before it \
                 mounts one writable.",
            ),
        ],
    },
    Section {
        header: "[mounts.block]",
        functions: &["mounts-block.mount"],
        doc: "Mounts of block devices, always `nosuid` and `nodev`.",
        keys: &[
            key(
                "filesystems",
                "required",
                "of `\"ext4\"`, `\"xfs\"`, `\"btrfs\"`",
                "Which filesystems.",
            ),
            key(
                "options",
                "`[]`",
                "of `\"noatime\"`, `\"relatime\"`, `\"strictatime\"`, `\"nodiratime\"`, `\"noexec\"`, `\"lazytime\"`, `\"discard\"`, `\"nodiscard\"`, `\"compress-zstd\"`",
                "What the component may ask for; none is needed to mount. `lazytime` is not of btrfs, \
                 `compress-zstd` only of btrfs.",
            ),
        ],
    },
    Section {
        header: "[mounts.bind]",
        functions: &["mounts-bind.staged"],
        doc: "Binds of the volume's own device mount. Granted by being there.",
        keys: &[],
    },
    Section {
        header: "[mounts.tmpfs]",
        functions: &[
            "mounts-tmpfs.create",
            "mounts-tmpfs.write-file",
            "mounts-tmpfs.write-secret",
            "mounts-tmpfs.seal",
        ],
        doc: "Filesystems in memory, always `nosuid`, `nodev` and `noexec`.",
        keys: &[
            key("max-size", "`\"1Mi\"`", "`\"1\"` to `\"1Gi\"`", "The size of one."),
            key("max-files", "`32`", "`1` to `1024`", "How many files a call may write."),
        ],
    },
];

const fn key(
    name: &'static str,
    default: &'static str,
    bounds: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, default, bounds, doc }
}

#[cfg(test)]
mod tests;
