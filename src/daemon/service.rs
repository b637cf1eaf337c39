//! Telling the service manager how far we are.
//!
//! Lives here: sd_notify(3), which only Linux has; the rc systems of the BSDs ask nothing. Not here: the log's own `ready`.

/// All listeners accept, and the backend is verified.
pub(super) fn ready() {
    // Without systemd there is nobody to notify, and that is fine.
    #[cfg(target_os = "linux")]
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// No new sessions; those that are there may take their time.
pub(super) fn stopping() {
    #[cfg(target_os = "linux")]
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
}
