//! A table that several processes add to: one holds the file's lock and writes whole lines.

use super::lines::Layout;
use crate::error::{Error, ErrorKind, OrPathError};
use crate::output::PendingFile;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// More bytes in a line mean that the file is no table of statistics.
const MOST_LINE_BYTES: u64 = 16 << 20;

/// What a look through a table found.
#[derive(Debug, Default)]
struct Found {
    /// There are lines of other cases.
    others: bool,
    /// The lines of the case that is written, joined as [`Layout::lines`] joins them.
    own: String,
    /// Bytes up to the end of the last whole line of a case, its line break not included.
    end: u64,
    /// Bytes of the file.
    length: u64,
}

impl Found {
    /// Whether nothing but the table's end follows the last line.
    fn is_whole(&self, layout: Layout) -> bool {
        self.length == self.end + 1 + layout.tail().len() as u64
    }
}

/// The file with its lock held. Other processes wait until it is dropped.
struct Locked<'a> {
    path: &'a Path,
    layout: Layout,
    file: File,
}

/// Whether `path` can become or is a table of this layout.
///
/// # Errors
/// There is a file that is no such table.
pub(super) fn check(path: &Path, layout: Layout) -> Result<(), Error> {
    match File::open(path) {
        Ok(file) => read_head(&mut BufReader::new(file), path, layout).map(drop),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::cannot_read(ErrorKind::Output, path, e)),
    }
}

/// Writes the lines of a case, in place of those that the table has of it.
///
/// # Errors
/// The file is no such table, or cannot be locked, read or written.
pub(super) fn put(path: &Path, layout: Layout, case: &str, lines: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).or_cannot_write(path)?;
    }
    let mut table = Locked::open(path, layout)?;
    let mark = layout.mark(case);
    let found = table.look(&mark)?;
    if found.own.is_empty() {
        table.append(&found, lines)
    } else if found.own == lines && found.is_whole(layout) {
        Ok(())
    } else {
        table.replace(&mark, lines)
    }
}

impl<'a> Locked<'a> {
    /// Opens or makes the file, and waits for its lock.
    fn open(path: &'a Path, layout: Layout) -> Result<Self, Error> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .or_cannot_write(path)?;
            file.lock().map_err(|e| {
                Error::with_source(ErrorKind::Output, format!("{} cannot be locked", path.display()), e)
            })?;
            // Whoever held the lock before may have put another file in its place.
            if is_at(&file, path).or_cannot_write(path)? {
                return Ok(Locked { path, layout, file });
            }
        }
    }

    /// Goes through the lines once.
    fn look(&self, mark: &str) -> Result<Found, Error> {
        let length = self.file.metadata().or_cannot_read(ErrorKind::Output, self.path)?.len();
        let mut found = Found { length, ..Found::default() };
        let mut at = 0;
        self.each_line(|line, whole| {
            let entry = self.entry(line);
            if let (Some(entry), true) = (entry, whole) {
                found.end = at + entry.len() as u64;
                if entry.starts_with(mark) {
                    if !found.own.is_empty() {
                        found.own.push('\n');
                    }
                    found.own += entry;
                } else {
                    found.others = true;
                }
            } else if at == 0 && whole {
                found.end = line.len() as u64;
            }
            at += line.len() as u64 + 1;
            Ok(())
        })?;
        Ok(found)
    }

    /// The line of a case without what separates it from the next; nothing for the first and the last line of the file.
    fn entry<'l>(&self, line: &'l str) -> Option<&'l str> {
        let none = line == self.layout.head() || line == self.layout.tail().trim_end();
        let entry = match self.layout {
            Layout::Csv => line,
            Layout::Json => line.strip_suffix(',').unwrap_or(line),
        };
        (!none).then_some(entry)
    }

    /// Hands over each line without its end, and whether it has one: what a killed process left of a line has none.
    fn each_line(&self, mut each: impl FnMut(&str, bool) -> Result<(), Error>) -> Result<(), Error> {
        let fault = |e| Error::cannot_read(ErrorKind::Output, self.path, e);
        (&self.file).seek(SeekFrom::Start(0)).map_err(fault)?;
        let mut reader = BufReader::new(&self.file);
        let Some(head) = read_head(&mut reader, self.path, self.layout)? else { return Ok(()) };
        each(head, true)?;
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut reader).take(MOST_LINE_BYTES).read_until(b'\n', &mut line).map_err(fault)?;
            let whole = line.last() == Some(&b'\n');
            if line.is_empty() {
                return Ok(());
            }
            match std::str::from_utf8(&line[..line.len() - usize::from(whole)]) {
                _ if line.len() as u64 == MOST_LINE_BYTES => return Err(foreign(self.path)),
                Ok(text) => each(text, whole)?,
                // What a killed process left may end within a character.
                Err(_) if !whole => each("", false)?,
                Err(_) => return Err(foreign(self.path)),
            }
        }
    }

    /// Adds lines behind the last whole one; what is left of a cut-off line goes.
    fn append(&mut self, found: &Found, lines: &str) -> Result<(), Error> {
        let layout = self.layout;
        let text = match (found.end, found.others) {
            (0, _) => format!("{}\n{lines}\n{}", layout.head(), layout.tail()),
            (_, false) => format!("\n{lines}\n{}", layout.tail()),
            (_, true) => format!("{}{lines}\n{}", layout.between(), layout.tail()),
        };
        let end = found.end + text.len() as u64;
        let mut write = || -> io::Result<()> {
            self.file.seek(SeekFrom::Start(found.end))?;
            self.file.write_all(text.as_bytes())?;
            if found.length > end {
                self.file.set_len(end)?;
            }
            self.file.sync_data()
        };
        write().or_cannot_write(self.path)
    }

    /// Puts another file in the place of this one, with other lines for the case.
    fn replace(&mut self, mark: &str, lines: &str) -> Result<(), Error> {
        let mut target = PendingFile::create(self.path)?;
        let mut begin = self.layout.head().to_owned() + "\n";
        let mut written = false;
        self.each_line(|line, whole| {
            let Some(entry) = self.entry(line).filter(|_| whole) else { return Ok(()) };
            let own = entry.starts_with(mark);
            if own && written {
                return Ok(());
            }
            written |= own;
            let text =
                std::mem::replace(&mut begin, self.layout.between().to_owned()) + if own { lines } else { entry };
            target.write_all(text.as_bytes()).or_cannot_write(self.path)
        })?;
        target.write_all(format!("\n{}", self.layout.tail()).as_bytes()).or_cannot_write(self.path)?;
        target.publish()?;
        superseded(&self.file).or_cannot_write(self.path)
    }
}

/// Reads the first line and checks it; nothing where the file is empty, or holds only a part of that line.
fn read_head(reader: &mut impl BufRead, path: &Path, layout: Layout) -> Result<Option<&'static str>, Error> {
    let head = layout.head();
    let mut line = Vec::new();
    let read = reader.take(head.len() as u64 + 1).read_until(b'\n', &mut line);
    read.or_cannot_read(ErrorKind::Output, path)?;
    if line.strip_suffix(b"\n") == Some(head.as_bytes()) {
        return Ok(Some(head));
    }
    if head.as_bytes().starts_with(&line) { Ok(None) } else { Err(foreign(path)) }
}

fn foreign(path: &Path) -> Error {
    let sentence = format!("{} exists and is no table of statistics; give another name", path.display());
    Error::new(ErrorKind::Output, sentence).about(path)
}

/// Whether the file is still the one that has this name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (ours, named) = (file.metadata()?, std::fs::metadata(path));
    Ok(named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())))
}

/// Whether the file is still the one that has this name: one that was replaced is empty, and the one in its place is not.
#[cfg(not(unix))]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    Ok(file.metadata()?.len() > 0 || std::fs::metadata(path)?.len() == 0)
}

/// Lets processes that wait for the lock of a replaced file know.
#[cfg(unix)]
fn superseded(_: &File) -> io::Result<()> {
    Ok(())
}

/// Lets processes that wait for the lock of a replaced file know.
#[cfg(not(unix))]
fn superseded(file: &File) -> io::Result<()> {
    file.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn lines(layout: Layout, case: &str, value: u32) -> String {
        let mark = layout.mark(case);
        match layout {
            Layout::Csv => format!("{mark}1,{value}\n{mark}2,{value}"),
            Layout::Json => format!("{mark}\"value\":{value}}}"),
        }
    }

    #[test]
    fn a_case_that_is_done_again_has_its_lines_once() {
        for layout in [Layout::Csv, Layout::Json] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("sub/table");
            for (case, value) in [("a", 1), ("ab", 2), ("c", 3), ("a", 1), ("ab", 5), ("d", 4)] {
                put(&path, layout, case, &lines(layout, case, value)).unwrap();
                if layout == Layout::Json {
                    serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()).unwrap();
                }
            }
            let cases = [("a", 1), ("ab", 5), ("c", 3), ("d", 4)].map(|(case, value)| lines(layout, case, value));
            let expected = format!("{}\n{}\n{}", layout.head(), cases.join(layout.between()), layout.tail());
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_a_killed_process_left_of_a_line_goes() {
        for layout in [Layout::Csv, Layout::Json] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("table");
            put(&path, layout, "a", &lines(layout, "a", 1)).unwrap();
            put(&path, layout, "bé", &lines(layout, "bé", 2)).unwrap();
            let whole = fs::read(&path).unwrap();
            let first = format!("{}\n{}", layout.head(), lines(layout, "a", 1)).len();
            for cut in (0..whole.len()).rev() {
                fs::write(&path, &whole[..cut]).unwrap();
                put(&path, layout, "bé", &lines(layout, "bé", 2)).unwrap();
                put(&path, layout, "a", &lines(layout, "a", 1)).unwrap();
                let mut got: Vec<String> =
                    fs::read_to_string(&path).unwrap().lines().map(|l| l.trim_end_matches(',').into()).collect();
                let mut expected: Vec<String> =
                    String::from_utf8(whole.clone()).unwrap().lines().map(|l| l.trim_end_matches(',').into()).collect();
                got.sort();
                expected.sort();
                assert_eq!(got, expected, "cut to {cut} bytes, the first case ends at {first}");
            }
        }
    }

    #[test]
    fn other_files_are_refused_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.csv");
        for text in ["case,label\n1,2\n", "x", "case,label,name,voxels,ml\n"] {
            fs::write(&path, text).unwrap();
            assert!(check(&path, Layout::Csv).is_err(), "{text}");
            let error = put(&path, Layout::Csv, "a", "a,1").unwrap_err();
            assert!(error.to_string().contains("notes.csv exists and is no table"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(check(&folder.path().join("absent.csv"), Layout::Csv).is_ok());
    }

    #[test]
    fn many_writers_lose_nothing() {
        for layout in [Layout::Csv, Layout::Json] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("table");
            std::thread::scope(|scope| {
                for writer in 0..4 {
                    let path = &path;
                    scope.spawn(move || {
                        for case in 0..10 {
                            let case = format!("{writer}-{case}");
                            put(path, layout, &case, &lines(layout, &case, writer)).unwrap();
                        }
                    });
                }
            });
            let table = Locked::open(&path, layout).unwrap();
            for (writer, case) in (0..4).flat_map(|w| (0..10).map(move |c| (w, format!("{w}-{c}")))) {
                assert_eq!(table.look(&layout.mark(&case)).unwrap().own, lines(layout, &case, writer), "{case}");
            }
            let per_case = if layout == Layout::Csv { 2 } else { 1 };
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), 1 + 40 * per_case + layout.tail().lines().count());
        }
    }
}
