//! Whatever is granted and used: nothing is suggested that the manifest does not ask for.

use wasmount_pack::Capability;

use super::{Parameters, ask, asks, suggest_within, used};

/// What was used is suggested only as far as the manifest asks for it.
#[test]
fn nothing_is_suggested_beyond_the_manifest() {
    use Capability::{FilesystemsCheck, Images, MountsBlock, MountsTmpfs, Secrets, State};
    for (grants, of, with, images, asked, suggested) in [
        ("[state]", State, &[] as Parameters<'_>, &[][..], "", None),
        (
            "[images]\ndirectory = \"/i\"\nnames = [\"*.img\"]",
            Images,
            &[("names", &["x.img"]), ("max-size", &["64Mi"])],
            &[("pv", "x.img")],
            "names = [\"{volume}.img\"]\nmax-size = \"8Mi\"",
            Some("directory = \"/i\"\nnames = [\"{volume}.img\"]\nmax-size = \"8Mi\""),
        ),
        (
            "[images]\ndirectory = \"/i\"\nnames = [\"*.img\"]",
            Images,
            &[],
            &[("pv", "a-pv.img")],
            "names = [\"b-*.raw\"]",
            None,
        ),
        (
            "[filesystems]\ntypes = [\"ext4\", \"xfs\"]\ncheck = true",
            FilesystemsCheck,
            &[("types", &["ext4", "xfs"])],
            &[],
            "types = [\"xfs\"]",
            Some("check = true\ntypes = [\"xfs\"]"),
        ),
        (
            "[mounts.block]\nfilesystems = [\"ext4\", \"xfs\"]\noptions = [\"noatime\", \"discard\"]",
            MountsBlock,
            &[("filesystems", &["ext4"]), ("options", &["noatime", "discard"])],
            &[],
            "filesystems = [\"ext4\"]\noptions = [\"discard\"]",
            Some("filesystems = [\"ext4\"]\noptions = [\"discard\"]"),
        ),
        (
            "[mounts.block]\nfilesystems = [\"ext4\"]",
            MountsBlock,
            &[("filesystems", &["ext4"])],
            &[],
            "filesystems = [\"btrfs\"]",
            None,
        ),
        (
            "[mounts.tmpfs]\nmax-size = \"8Mi\"\nmax-files = 64",
            MountsTmpfs,
            &[("max-size", &["7Mi"]), ("max-files", &["60"])],
            &[],
            "max-size = \"4Mi\"\nmax-files = 16",
            Some("max-size = \"4Mi\"\nmax-files = 16"),
        ),
        (
            "[reply]\nfailure-exit-code = 0\n[[secrets]]\nkey = \"*\"\nuses = [\"file\"]",
            Secrets,
            &[("keys", &["a (file)", "tls.key (file)"])],
            &[],
            "keys = [{ key = \"tls.*\", uses = [\"file\"] }]",
            Some("key = \"tls.key\"\nuses = [\"file\"]"),
        ),
        (
            "[reply]\nfailure-exit-code = 0\n[[secrets]]\nkey = \"*\"\nuses = [\"file\"]",
            Secrets,
            &[],
            &[],
            "keys = [{ key = \"tls.*\", uses = [\"file\"] }]",
            Some("key = \"tls.*\"\nuses = [\"file\"]"),
        ),
    ] {
        let text = format!("version = 1\n{grants}\n");
        let ask = match asked {
            "" => asks(&[Capability::MountsBind]),
            _ => ask(of, asked),
        };
        let file = suggest_within(&text, &used(&[(of, with)], images), &[of], &ask, &[]).0;
        match suggested {
            Some(suggested) => {
                assert!(file.contains(&format!("]\n{suggested}\n")), "{ask}: {file}")
            }
            None => {
                let header = grants.lines().next().expect("a section");
                assert!(!file.contains(header), "{ask}: {file}");
            }
        }
    }
}
