//! Giving up what the process no longer needs: root, the file system, system calls.
//!
//! Lives here: [`drop_to`], the same on every Unix; [`pledge`] and [`unveil`], which do nothing where there is no such thing.
//! Not here: when, to whom, and which promises (`daemon`).
//!
//! There is no Capsicum (FreeBSD): in capability mode connect(2) is not permitted, to any address, and connecting to servers
//! that clients name is what a gateway does. cap_net(3) would have to do it in a second process, with a list of addresses
//! that nobody knows in advance. Changed root and user are what is left there.

use std::io;
use std::path::Path;

use nix::unistd::{Uid, User, chdir, chroot, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid, setuid};

/// Becomes `user` for good, and with `root` sees nothing but what lies below it.
///
/// Afterwards the real, effective and saved user and group are those of `user`, no other group is left, and the process cannot
/// become root again, which is tried. What is open stays open. The time zone is read before, since its file is out of reach
/// afterwards. On Linux every capability is gone (capabilities(7), "Effect of user ID changes on capabilities"); on BSD so is the
/// right to bind to foreign addresses (transparent source). It holds for all threads: on the BSDs they share one
/// user, on Linux libc sees to it.
///
/// # Errors
/// There is no such user, it is root, or the process is not root; says which step failed. Then the process may be half way:
/// it must end.
pub fn drop_to(user: &str, root: Option<&Path>) -> io::Result<()> {
    // The user database is out of reach afterwards, too.
    let name = user;
    let user = User::from_name(name)
        .map_err(|error| failed(error, &format!("cannot look up the user {name:?} (user)")))?
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no user {name:?} (user): create it, or write the name of another"),
            )
        })?;
    if user.uid.is_root() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} (user) is root under another name: write a user that may do nothing else"),
        ));
    }
    super::clock::read_time_zone();
    if let Some(root) = root {
        chroot(root).map_err(|error| failed(error, &format!("cannot change the root to {}", root.display())))?;
        // Without it the old working directory is a way out.
        chdir("/").map_err(|error| failed(error, "cannot change to the new root"))?;
    }
    // Groups first: a user that is not root cannot change them.
    setgroups(&[user.gid]).map_err(|error| failed(error, "cannot give up the other groups"))?;
    setresgid(user.gid, user.gid, user.gid).map_err(|error| failed(error, &format!("cannot become {name}'s group")))?;
    setresuid(user.uid, user.uid, user.uid).map_err(|error| failed(error, &format!("cannot become {name}")))?;
    prove(&user)
}

/// Looks whether it is so: a system call that said yes is not enough here.
fn prove(user: &User) -> io::Result<()> {
    let (uids, gids) = (getresuid()?, getresgid()?);
    // FreeBSD 15 counts the effective group no longer among the others; so there may be none.
    let others = getgroups()?.iter().any(|group| *group != user.gid);
    let whole = [uids.real, uids.effective, uids.saved].iter().all(|uid| *uid == user.uid)
        && [gids.real, gids.effective, gids.saved].iter().all(|gid| *gid == user.gid)
        && !others;
    if !whole || setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other(format!(
            "privileges were not dropped completely to {}; ftpgate does not run like this",
            user.name
        )));
    }
    Ok(())
}

fn failed(error: nix::errno::Errno, what: &str) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Promises to use nothing but these groups of system calls from now on, separated by blanks; the kernel kills a process that
/// breaks its word (pledge(2), OpenBSD). A promise cannot be taken back. Elsewhere this does nothing.
///
/// # Errors
/// There is no such promise, or it is more than was promised before.
pub fn pledge(promises: &str) -> io::Result<()> {
    imp::pledge(promises)
}

/// From the first call on, only these paths are there; `permissions` are of `r`, `w`, `x` and `c` (unveil(2), OpenBSD). Call it
/// once for each path, and then [`unveil_no_more`]. Elsewhere this does nothing.
///
/// # Errors
/// The path's folder is not there, or it is too late.
pub fn unveil(path: &Path, permissions: &str) -> io::Result<()> {
    imp::unveil(path, permissions)
}

/// Ends the list of [`unveil`]: it can no longer be changed. Elsewhere this does nothing.
///
/// # Errors
/// As of unveil(2).
pub fn unveil_no_more() -> io::Result<()> {
    imp::unveil_no_more()
}

#[cfg(target_os = "openbsd")]
use super::imp;

#[cfg(not(target_os = "openbsd"))]
#[allow(clippy::unnecessary_wraps)] // on OpenBSD they can fail
mod imp {
    use std::io;
    use std::path::Path;

    pub(super) fn pledge(_promises: &str) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn unveil(_path: &Path, _permissions: &str) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn unveil_no_more() -> io::Result<()> {
        Ok(())
    }
}
