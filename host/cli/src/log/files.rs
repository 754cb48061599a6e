//! The files of one driver's audit log, read line by line in the order in which they were
//! written, the rotated ones included, and on from there for as long as one likes.
//!
//! The driver renames the file when it has grown, and goes on in a new one. So files are told
//! apart by their inodes, which nobody else gets as long as the file is open here.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::LONGEST_LINE;
use super::line::Line;

/// The log of one driver.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    /// Oldest first.
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    inode: (u64, u64),
    reader: BufReader<File>,
    number: u64,
    /// A line without its end, which may yet come.
    unfinished: Vec<u8>,
    /// Whether the line has become too long to be one, and is not kept.
    too_long: bool,
}

/// What was read and is no line of the log's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) path: PathBuf,
    /// The number of the first such line.
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl Files {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, open: Vec::new() }
    }

    /// Reads all that has been written since the last time. Returns what had to be skipped.
    pub(crate) fn read(&mut self, take: &mut dyn FnMut(Line)) -> Result<Vec<Skipped>> {
        self.open_newer()?;
        let mut skipped = Vec::new();
        for open in &mut self.open {
            let read = open.read(take);
            skipped.extend(read.with_context(|| format!("reading {}", open.path.display()))?);
        }
        // A call that waited for its turn while the file was renamed still writes to that one.
        let old = self.open.len().saturating_sub(2);
        self.open.drain(..old);
        Ok(skipped)
    }

    /// Goes to the end: what was written before is not read.
    pub(super) fn skip(&mut self) -> Result<()> {
        self.open_newer()?;
        for open in &mut self.open {
            let end = open.reader.seek(SeekFrom::End(0));
            end.with_context(|| format!("reading {}", open.path.display()))?;
        }
        Ok(())
    }

    /// What the last line lacks its end of, now that nothing more is waited for.
    pub(super) fn unfinished(&self) -> Vec<Skipped> {
        let torn = self.open.iter().filter(|open| open.too_long || !open.unfinished.is_empty());
        torn.map(|open| open.skipped(open.number + 1, 1)).collect()
    }

    /// Newest first, so that a file that is renamed meanwhile is seen twice rather than never.
    fn open_newer(&mut self) -> Result<()> {
        let mut newer: Vec<Open> = Vec::new();
        for path in names(&self.path) {
            let opened = match Open::new(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    bail!("only root can read the audit log {}; try sudo", path.display())
                }
                opened => opened.with_context(|| format!("opening {}", path.display()))?,
            };
            if self.open.iter().any(|known| known.inode == opened.inode) {
                break;
            }
            if newer.iter().all(|seen| seen.inode != opened.inode) {
                newer.push(opened);
            }
        }
        self.open.extend(newer.into_iter().rev());
        Ok(())
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            inode: (metadata.dev(), metadata.ino()),
            reader: BufReader::new(file),
            number: 0,
            unfinished: Vec::new(),
            too_long: false,
        })
    }

    fn read(&mut self, take: &mut dyn FnMut(Line)) -> io::Result<Option<Skipped>> {
        let mut skipped: Option<Skipped> = None;
        loop {
            let more = (LONGEST_LINE - self.unfinished.len()) as u64;
            let read = (&mut self.reader).take(more).read_until(b'\n', &mut self.unfinished)?;
            if self.unfinished.last() != Some(&b'\n') {
                if self.unfinished.len() == LONGEST_LINE {
                    self.too_long = true;
                    self.unfinished.clear();
                }
                match read {
                    0 => return Ok(skipped),
                    _ => continue,
                }
            }
            self.number += 1;
            let is_line = !std::mem::take(&mut self.too_long);
            match is_line.then(|| Line::parse(&self.unfinished)).flatten() {
                Some(line) => take(line),
                None => match &mut skipped {
                    Some(skipped) => skipped.count += 1,
                    None => skipped = Some(self.skipped(self.number, 1)),
                },
            }
            self.unfinished.clear();
        }
    }

    fn skipped(&self, first: u64, count: u64) -> Skipped {
        Skipped { path: self.path.clone(), first, count }
    }
}

/// The names that the log's files can have, newest first.
fn names(path: &Path) -> impl Iterator<Item = PathBuf> {
    let rotated = (1..=wasmount_core::audit::KEPT).map(|n| format!("{}.{n}", path.display()));
    std::iter::once(path.to_owned()).chain(rotated.map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn line(call: &str) -> String {
        format!("{{\"v\":1,\"call\":\"{call}\",\"time\":1.5,\"kind\":\"call\"}}\n")
    }

    fn read(files: &mut Files) -> (String, Vec<Skipped>) {
        let mut calls = Vec::new();
        let skipped = files.read(&mut |line| calls.push(line.call)).expect("the log is readable");
        (calls.join(" "), skipped)
    }

    #[test]
    fn nothing_is_lost_or_repeated_when_files_are_renamed() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let mut files = Files::new(at("d.jsonl"));
        assert_eq!(read(&mut files), (String::new(), vec![]), "there is no log yet");
        fs::write(at("d.jsonl.3"), line("a") + &line("b")).expect("written");
        fs::write(at("d.jsonl"), line("c")).expect("written");
        assert_eq!(read(&mut files).0, "a b c");

        // Rotated, and the new file is not there yet; who had waited writes to the old one.
        fs::rename(at("d.jsonl"), at("d.jsonl.1")).expect("renamed");
        let late = fs::OpenOptions::new().append(true).open(at("d.jsonl.1"));
        assert_eq!(read(&mut files).0, "");
        let mut late = late.expect("opened");
        late.write_all(line("d").as_bytes()).expect("written");
        fs::write(at("d.jsonl"), line("e")).expect("written");
        assert_eq!(read(&mut files).0, "d e");
        late.write_all(line("f").as_bytes()).expect("written");
        // Twice between two looks.
        fs::rename(at("d.jsonl.1"), at("d.jsonl.3")).expect("renamed");
        fs::rename(at("d.jsonl"), at("d.jsonl.2")).expect("renamed");
        fs::write(at("d.jsonl.1"), line("g")).expect("written");
        fs::write(at("d.jsonl"), line("h")).expect("written");
        assert_eq!(read(&mut files).0, "f g h");
        assert_eq!(read(&mut files).0, "");
    }

    #[test]
    fn what_is_no_line_is_skipped_and_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("d.jsonl");
        let mut files = Files::new(path.clone());
        let whole = line("c");
        let (begin, end) = whole.split_at(20);
        let text = [&line("a"), "{\"v\":1,\"ca\n", "mine\n", &line("b"), begin].concat();
        fs::write(&path, text).expect("written");
        let skipped = Skipped { path: path.clone(), first: 2, count: 2 };
        assert_eq!(read(&mut files), ("a b".to_owned(), vec![skipped]));
        assert_eq!(files.unfinished(), [Skipped { path: path.clone(), first: 5, count: 1 }]);
        let mut file = fs::OpenOptions::new().append(true).open(&path).expect("opened");
        file.write_all(end.as_bytes()).expect("written");
        assert_eq!(read(&mut files), ("c".to_owned(), vec![]));
        assert_eq!(files.unfinished(), []);
        // Nothing is that long, and it is not kept until it ends.
        file.write_all(&vec![b'x'; 3 * LONGEST_LINE / 2]).expect("written");
        assert_eq!(read(&mut files), (String::new(), vec![]));
        assert!(files.open[0].unfinished.len() < LONGEST_LINE);
        assert_eq!(files.unfinished(), [Skipped { path: path.clone(), first: 6, count: 1 }]);
        file.write_all(format!("\n{}", line("d")).as_bytes()).expect("written");
        let skipped = Skipped { path, first: 6, count: 1 };
        assert_eq!(read(&mut files), ("d".to_owned(), vec![skipped]));
    }
}
