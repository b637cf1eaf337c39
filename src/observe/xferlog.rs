//! The transfer log in the format of wu-ftpd, xferlog(5), which log analysers read.
//!
//! Lives here: [`Entry`] and its line, and [`Xferlog`], the file it is appended to. Not here: the structured event of the same
//! transfer in the program's own log (`proxy::record`).
//!
//! ```text
//! Sat Nov 21 12:34:56 2026 3 192.0.2.10 1048576 /pub/file b _ o a anonymous ftp 0 * c
//! ```

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A transfer of a file, as far as this format has a field for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When it ended: local time, as of ctime(3), e.g. `Sat Nov 21 12:34:56 2026`.
    pub time: String,
    /// How long it took, in milliseconds.
    pub duration: u64,
    /// The client.
    pub client: IpAddr,
    /// Bytes transferred; 0 if they were not counted, because the format has no word for that.
    pub bytes: u64,
    /// The name as the client sent it.
    pub path: &'a [u8],
    /// `TYPE I` rather than `TYPE A`.
    pub binary: bool,
    /// To the server.
    pub upload: bool,
    /// The name that the client logged in with.
    pub user: &'a [u8],
    /// The server said 2yz.
    pub complete: bool,
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let anonymous = [&b"ftp"[..], b"anonymous"].iter().any(|name| self.user.eq_ignore_ascii_case(name));
        write!(
            f,
            "{} {} {} {} {} {} _ {} {} {} ftp 0 * {}",
            self.time,
            self.duration.div_ceil(1000),
            self.client,
            self.bytes,
            Field(self.path),
            if self.binary { 'b' } else { 'a' },
            if self.upload { 'i' } else { 'o' },
            if anonymous { 'a' } else { 'r' },
            Field(self.user),
            if self.complete { 'c' } else { 'i' },
        )
    }
}

/// Text that stays one field of one line: blanks and control bytes become `_`, as wu-ftpd does; an empty one is `*`.
struct Field<'a>(&'a [u8]);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("*");
        }
        let text = String::from_utf8_lossy(self.0);
        text.chars()
            .map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c })
            .try_for_each(|c| write!(f, "{c}"))
    }
}

/// The file.
#[derive(Debug)]
pub struct Xferlog {
    path: PathBuf,
    file: Mutex<File>,
}

impl Xferlog {
    /// Opens it for appending; makes it if it is not there.
    ///
    /// # Errors
    /// As of `open`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Mutex::new(append(path)?) })
    }

    /// Opens the file of that name again: after somebody renamed the old one (logrotate).
    ///
    /// # Errors
    /// As of `open`; the old file stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        self.replace(append(&self.path)?);
        Ok(())
    }

    /// From now on uses this file, which somebody else has opened for appending.
    pub fn replace(&self, file: File) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    /// Appends a line, in one write, so that lines never mix.
    ///
    /// # Errors
    /// As of `write`.
    pub fn write(&self, entry: &Entry<'_>) -> io::Result<()> {
        let line = format!("{entry}\n");
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry<'static> {
        Entry {
            time: "Sat Nov 21 12:34:56 2026".to_owned(),
            duration: 2100,
            client: "192.0.2.10".parse().unwrap(),
            bytes: 1_048_576,
            path: b"/pub/file",
            binary: true,
            upload: false,
            user: b"anonymous",
            complete: true,
        }
    }

    #[test]
    fn a_line_has_the_eighteen_fields_of_xferlog() {
        let line = entry().to_string();
        assert_eq!(line, "Sat Nov 21 12:34:56 2026 3 192.0.2.10 1048576 /pub/file b _ o a anonymous ftp 0 * c");
        assert_eq!(line.split(' ').count(), 18);
    }

    #[test]
    fn no_name_can_break_out_of_its_field() {
        let line = Entry { path: b"a b\r\nc\xff\x1b", user: b"", upload: true, complete: false, ..entry() }.to_string();
        assert_eq!(line.split(' ').count(), 18);
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains(" a_b__c\u{fffd}_ b _ i r * ftp 0 * i"), "{line}");
    }

    #[test]
    fn a_file_that_was_renamed_is_made_anew_on_reopening() {
        let path = std::env::temp_dir().join(format!("ftpgate-xferlog-{}", std::process::id()));
        let rotated = path.with_extension("1");
        let log = Xferlog::open(&path).unwrap();
        log.write(&entry()).unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        log.write(&entry()).unwrap();
        log.reopen().unwrap();
        log.write(&entry()).unwrap();
        let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&rotated), lines(&path)), (2, 1));
        std::fs::remove_file(&rotated).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
