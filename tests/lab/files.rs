//! Temporary folders and the contents of test files.
//!
//! Lives here: [`Folder`], which removes itself, the bytes that are transferred, and checksums. Nothing of FTP or networks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder below the system's temporary one that vanishes with the value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fg-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("creating {}: {error}", path.display()));
        // Servers enter it as an unprivileged user.
        set_mode(&path, 0o755);
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file into it and gives its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
        path
    }

    /// Creates a folder in it that everybody may write to.
    pub fn open_folder(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        fs::create_dir(&path).unwrap();
        set_mode(&path, 0o777);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// One mebibyte.
pub const MIB: usize = 1 << 20;

/// Bytes that look random, always the same for one seed: with CR, LF, NUL and 255 in all neighbourhoods, so that a transfer
/// in text mode, or one that somebody parsed, does not survive the comparison.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The SHA-256 of a file, as `sha256sum` says.
pub fn sha256(path: &Path) -> Result<String, String> {
    let output = Command::new("sha256sum").arg(path).output().map_err(|error| format!("sha256sum: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.split_whitespace().next() {
        Some(sum) if output.status.success() => Ok(sum.to_owned()),
        _ => Err(format!("sha256sum {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Compares two files by checksum and says how they differ.
pub fn same(one: &Path, other: &Path) -> Result<(), String> {
    let (first, second) = (sha256(one)?, sha256(other)?);
    if first == second {
        return Ok(());
    }
    let size = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
    Err(format!("{} ({} bytes) is not {} ({} bytes)", one.display(), size(one), other.display(), size(other)))
}
