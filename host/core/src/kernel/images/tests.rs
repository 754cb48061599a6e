//! Images and their leases.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;

use super::*;
use crate::kernel::testing::{MIB, reason};

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> Rc<ImageDir> {
        ImageDir::open(self.0.path()).unwrap()
    }

    fn open(&self, name: &str) -> Result<Option<ImageFile>, Failure> {
        let open_it = ImageOpen { dir: self.dir(), name: ImageName::parse(name)? };
        open(Granted::for_test(open_it))
    }

    fn create(&self, name: &str, size: u64) -> (Rc<ImageFile>, bool) {
        let name = ImageName::parse(name).unwrap();
        let create_it = ImageCreate { dir: self.dir(), name, size };
        let (image, made) = create(Granted::for_test(create_it)).unwrap();
        (Rc::new(image), made)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn take(image: &Rc<ImageFile>, volume: &str, node: &str) -> Result<bool, Failure> {
    taken(image, volume, node).map(|taken| taken.is_some())
}

fn taken(image: &Rc<ImageFile>, volume: &str, node: &str) -> Result<Option<Taken>, Failure> {
    let (driver, volume, node) = ("v/d".to_owned(), volume.to_owned(), node.to_owned());
    lease(Granted::for_test(Lease { image: image.clone(), driver, volume, node }))
}

fn end(dir: Rc<ImageDir>, volume: &str, node: &str) -> Result<bool, Failure> {
    let (driver, volume, node) = ("v/d".to_owned(), volume.to_owned(), node.to_owned());
    release(Granted::for_test(Release { dir, driver, volume, node }))
}

#[test]
fn names_are_plain() {
    for name in ["a", "a.img", "vol-1_x.img", "ä"] {
        assert_eq!(ImageName::parse(name).unwrap().as_str(), name);
    }
    for name in ["", ".", "..", ".hidden", "a/b", "a\nb", "a\0b", &"x".repeat(256)] {
        assert_eq!(reason(ImageName::parse(name)), "bad-path", "{name:?}");
    }
}

#[test]
fn an_image_is_created_once_and_only_grows() {
    let scratch = Scratch::new();
    assert!(scratch.open("a.img").unwrap().is_none());
    let (image, made) = scratch.create("a.img", 8 * MIB);
    assert!(made);
    assert!(image.identity.len() <= 63, "{}", image.identity);
    let (again, made) = scratch.create("a.img", 99 * MIB);
    assert!(!made);
    assert_eq!((again.identity.as_str(), size(&again)), (image.identity.as_str(), Ok(8 * MIB)));
    let to = |size| grow(Granted::for_test(ImageGrow { image: image.clone(), size }));
    assert_eq!((to(16 * MIB), to(1)), (Ok(16 * MIB), Ok(16 * MIB)));
    assert_eq!(fs::metadata(scratch.0.path().join("a.img")).unwrap().len(), 16 * MIB);
    fs::rename(scratch.0.path().join("a.img"), scratch.0.path().join("b.img")).unwrap();
    assert_eq!(scratch.open("b.img").unwrap().unwrap().identity, image.identity);
    assert_ne!(scratch.create("a.img", 0).0.identity, image.identity);
}

/// A call of another node's controller has looked at the size, and goes on from what it saw.
#[test]
fn two_calls_do_not_change_a_size_at_the_same_time() {
    let scratch = Scratch::new();
    let (image, _) = scratch.create("a.img", 8 * MIB);
    let to = |size| grow(Granted::for_test(ImageGrow { image: image.clone(), size }));
    let other = turn(&scratch.open("a.img").unwrap().unwrap()).unwrap();
    assert_eq!(reason(to(16 * MIB)), "again");
    assert_eq!(size(&image), Ok(8 * MIB));
    drop(other);
    assert_eq!(to(16 * MIB), Ok(16 * MIB));
}

#[test]
fn only_regular_files_are_images() {
    let scratch = Scratch::new();
    let path = |name| scratch.0.path().join(name);
    fs::write(path("file"), "").unwrap();
    std::os::unix::fs::symlink("file", path("link")).unwrap();
    fs::create_dir(path("dir")).unwrap();
    rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for name in ["link", "dir", "fifo"] {
        assert_eq!(reason(scratch.open(name)), "not-an-image", "{name}");
    }
    rustix::fs::chmod(scratch.0.path(), Mode::from_raw_mode(0o777)).unwrap();
    assert_eq!(reason(ImageDir::open(scratch.0.path())), "image-directory");
}

#[test]
fn only_an_image_that_was_never_written_is_removed_again() {
    let scratch = Scratch::new();
    let (image, _) = scratch.create("a.img", 8 * MIB);
    let lease = taken(&image, "vol", "node-1").unwrap().unwrap();
    assert_eq!(remove_unused(&lease), Ok(true));
    assert_eq!(remove_unused(&lease), Ok(false));
    // Another file of that name is not the one that was created.
    scratch.create("a.img", 8 * MIB);
    assert_eq!(remove_unused(&lease), Ok(false));
    give_back(lease).unwrap();
    let (written, _) = scratch.create("b.img", 8 * MIB);
    fs::write(written.path(), "data").unwrap();
    let lease = taken(&written, "vol", "node-1").unwrap().unwrap();
    assert_eq!(remove_unused(&lease), Ok(false));
    give_back(lease).unwrap();
    assert_eq!(scratch.names(), ["a.img", "b.img"]);
}

#[test]
fn a_lease_is_for_one_node_and_one_volume() {
    let scratch = Scratch::new();
    let (image, _) = scratch.create("a.img", 8 * MIB);
    assert_eq!(holder(&image), Ok(None));
    assert_eq!(take(&image, "vol", "node-1"), Ok(true));
    assert_eq!(take(&image, "vol", "node-1"), Ok(false));
    let failure = take(&image, "vol", "node-2").unwrap_err();
    assert_eq!(failure.reason, "leased");
    assert!(failure.message.contains("node-1"), "{failure}");
    assert_eq!(reason(take(&image, "other", "node-1")), "leased");
    let held = holder(&image).unwrap().unwrap();
    assert_eq!((held.node.as_str(), held.image.as_str()), ("node-1", image.identity.as_str()));
    assert_eq!(scratch.names().len(), 2);

    assert_eq!(end(scratch.dir(), "other", "node-1"), Ok(false));
    // The volume is not on that node, or not any more: that is what was asked for.
    assert_eq!(end(scratch.dir(), "vol", "node-2"), Ok(false));
    assert_eq!(holder(&image), Ok(Some(held)));
    // The image may have been deleted meanwhile.
    fs::remove_file(image.path()).unwrap();
    assert_eq!(end(scratch.dir(), "vol", "node-1"), Ok(true));
    assert_eq!(end(scratch.dir(), "vol", "node-1"), Ok(false));
    assert!(scratch.names().is_empty());
}

#[test]
fn all_leases_of_a_volume_for_a_node_are_released() {
    let scratch = Scratch::new();
    let leases = [
        ("a.img", "vol", "node-1"),
        ("b.img", "vol", "node-2"),
        ("c.img", "other", "node-1"),
        ("d.img", "vol", "node-1"),
    ];
    let images = leases.map(|(name, volume, node)| {
        let (image, _) = scratch.create(name, MIB);
        take(&image, volume, node).unwrap();
        image
    });
    assert_eq!(end(scratch.dir(), "vol", "node-1"), Ok(true));
    let held = images.map(|image| holder(&image).unwrap().map(|lease| (lease.volume, lease.node)));
    let pair = |volume: &str, node: &str| Some((volume.to_owned(), node.to_owned()));
    assert_eq!(held, [None, pair("vol", "node-2"), pair("other", "node-1"), None]);
}

/// A call that fails takes back what it has done, and nothing that another has.
#[test]
fn a_lease_is_given_back_and_no_other() {
    let scratch = Scratch::new();
    let (first, _) = scratch.create("a.img", MIB);
    let (second, _) = scratch.create("b.img", MIB);
    take(&first, "vol", "node-1").unwrap();
    let given = taken(&second, "vol", "node-1").unwrap().unwrap();
    give_back(given).unwrap();
    assert_eq!(holder(&second), Ok(None));
    assert!(holder(&first).unwrap().is_some(), "the volume's other image");
    // Meanwhile the volume was detached, and given to another node.
    let given = taken(&second, "vol", "node-1").unwrap().unwrap();
    end(scratch.dir(), "vol", "node-1").unwrap();
    take(&second, "vol", "node-2").unwrap();
    give_back(given).unwrap();
    assert_eq!(holder(&second).unwrap().unwrap().node, "node-2");
}

/// Another node has found the image, and its loop device is of this very file.
#[test]
fn an_image_that_somebody_has_is_not_removed_again() {
    let scratch = Scratch::new();
    let (image, _) = scratch.create("a.img", MIB);
    let mine = taken(&image, "vol", "node-1").unwrap().unwrap();
    end(scratch.dir(), "vol", "node-1").unwrap();
    let theirs = taken(&image, "vol", "node-2").unwrap().unwrap();
    assert_eq!(remove_unused(&mine), Ok(false));
    assert_eq!(remove_unused(&theirs), Ok(true));
    // Nor can one have it that is not there any more.
    end(scratch.dir(), "vol", "node-2").unwrap();
    assert_eq!(reason(take(&image, "vol", "node-3")), "again");
    assert!(scratch.names().is_empty());
}

/// Two calls that end the same lease, and a third that takes the next.
#[test]
fn a_lease_that_another_call_is_ending_is_left_to_it() {
    let scratch = Scratch::new();
    let (image, _) = scratch.create("a.img", MIB);
    take(&image, "vol", "node-1").unwrap();
    let name = scratch.names().into_iter().find(|name| name.starts_with('.')).unwrap();
    let other = File::open(scratch.0.path().join(name)).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    assert_eq!(reason(end(scratch.dir(), "vol", "node-1")), "again");
    drop(other);
    assert_eq!(end(scratch.dir(), "vol", "node-1"), Ok(true));
}

/// Images are never removed: with the years there are many.
#[test]
fn a_lease_among_many_images_is_released() {
    let scratch = Scratch::new();
    let (image, _) = scratch.create("a.img", MIB);
    take(&image, "vol", "node-1").unwrap();
    let dir = scratch.dir();
    for number in 0..10_001 {
        std::fs::write(dir.path().join(format!("{number}.img")), "").unwrap();
    }
    assert_eq!(end(dir, "vol", "node-1"), Ok(true));
    assert_eq!(holder(&image), Ok(None));
}

#[test]
fn each_lease_can_be_told_from_the_one_before() {
    let scratch = Scratch::new();
    let (image, _) = scratch.create("a.img", MIB);
    let id = || holder(&image).unwrap().unwrap().id;
    take(&image, "vol", "node-1").unwrap();
    let first = id();
    take(&image, "vol", "node-1").unwrap();
    assert_eq!(id(), first, "it was held all the time");
    end(scratch.dir(), "vol", "node-1").unwrap();
    take(&image, "vol", "node-1").unwrap();
    assert_ne!(id(), first);
}

#[test]
fn a_lease_file_of_others_is_not_overwritten() {
    let scratch = Scratch::new();
    let (image, _) = scratch.create("a.img", 8 * MIB);
    take(&image, "vol", "node-1").unwrap();
    let file = scratch.0.path().join(&scratch.names()[0]);
    for contents in ["", "{}", "{\"v\":2}", &"x".repeat(9000)] {
        fs::write(&file, contents).unwrap();
        assert_eq!(reason(take(&image, "vol", "node-1")), "lease-unreadable");
        assert_eq!(fs::read_to_string(&file).unwrap(), contents);
    }
    assert_eq!(end(scratch.dir(), "vol", "node-1"), Ok(false));
}

#[test]
fn two_nodes_do_not_both_get_a_lease() {
    let scratch = Scratch::new();
    scratch.create("a.img", MIB);
    let path = scratch.0.path();
    let won = |node: String| {
        let dir = ImageDir::open(path).unwrap();
        let name = ImageName::parse("a.img").unwrap();
        let image = open(Granted::for_test(ImageOpen { dir, name })).unwrap().unwrap();
        take(&Rc::new(image), "vol", &node).is_ok()
    };
    let winners = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8).map(|n| scope.spawn(move || won(format!("node-{n}")))).collect();
        tries.into_iter().map(|t| t.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!(winners, 1);
}
