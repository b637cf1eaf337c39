//! Local time, which neither std nor any crate of ours knows.
//!
//! Lives here: the text of a moment for the transfer log, and what makes it work in a changed root. The same on every Unix.

use nix::libc::{localtime_r, strftime, time_t, tm};

/// The local time of a moment, as of ctime(3) without its line end: `Sat Nov 21 12:34:56 2026`. Empty for a moment that has no
/// calendar.
#[allow(unsafe_code)]
pub fn local_time(at: std::time::SystemTime) -> String {
    let seconds = at.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let Ok(seconds) = time_t::try_from(seconds) else { return String::new() };
    // SAFETY: `tm` is plain numbers and a pointer that libc sets; zeros are a valid value of it.
    let mut parts: tm = unsafe { std::mem::zeroed() };
    let mut text = [0_u8; 32];
    // SAFETY: all pointers are to values that live through the calls, and strftime is told how much room there is.
    let length = unsafe {
        if localtime_r(&raw const seconds, &raw mut parts).is_null() {
            return String::new();
        }
        strftime(text.as_mut_ptr().cast(), text.len(), c"%a %b %e %H:%M:%S %Y".as_ptr(), &raw const parts)
    };
    String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned()
}

/// Has libc read the time zone (tzset(3), and a conversion, for a libc that reads it only then). It remembers what it has read,
/// so that [`local_time`] needs no file afterwards, as in a changed root, where there is none.
#[allow(unsafe_code)]
pub(super) fn read_time_zone() {
    // SAFETY: POSIX; the declaration is that of time.h. It reads the environment, which nothing in this process writes.
    unsafe extern "C" {
        fn tzset();
    }
    // SAFETY: as above.
    unsafe { tzset() };
    local_time(std::time::SystemTime::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_written_as_ctime_writes_it() {
        let text = local_time(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_262_768));
        assert_eq!(text.len(), 24, "{text}");
        assert!(text.starts_with("Sat Nov 21 ") && text.ends_with(" 2026"), "{text}");
    }
}
