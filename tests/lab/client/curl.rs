//! curl: all steps in one process, separated by `--next`, which lets it use one session for all.

use super::{Job, Mode, Step, password};
use crate::lab::host::Host;
use crate::lab::server::LARGE;

pub(super) fn run(job: &Job<'_>, host: &Host) -> Result<String, String> {
    let mut args: Vec<String> = ["curl", "-v", "-s", "-S", "--fail-early"].map(String::from).into();
    for (number, step) in job.steps.iter().enumerate() {
        if number > 0 {
            args.push("--next".to_owned());
        }
        args.extend(step_args(job, *step));
    }
    if job.steps.is_empty() {
        return Err("curl does nothing without a URL".to_owned());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = host.task(&args).seconds(job.seconds).folder(job.folder.path()).run();
    let lists = job.steps.iter().any(|step| matches!(step, Step::List));
    match output.ok() {
        false => Err(format!("curl ended with {}:\n{}", output.code, output.text())),
        true if lists && !output.stdout.contains(LARGE) => {
            Err(format!("curl's listing lacks {LARGE}:\n{}", output.text()))
        }
        true => Ok(output.text()),
    }
}

/// `--next` forgets everything that was said before, so each step says it all.
fn step_args(job: &Job<'_>, step: Step<'_>) -> Vec<String> {
    let (base, login) = (format!("ftp://{}/", job.url_host()), format!("{}:{}", job.user, password()));
    let limit = job.seconds.saturating_sub(1).max(1).to_string();
    let mut args = vec!["--user".to_owned(), login, "--max-time".to_owned(), limit];
    let mode: &[&str] = match job.combination.mode {
        Mode::Port => &["--ftp-port", "-", "--disable-eprt"],
        Mode::Eprt => &["--ftp-port", "-"],
        Mode::Pasv => &["--disable-epsv"],
        Mode::Epsv => &[],
    };
    args.extend(mode.iter().map(|arg| (*arg).to_owned()));
    let path = |name: &str| job.local(name).to_string_lossy().into_owned();
    match step {
        Step::List => args.push(base),
        Step::Fetch { remote, local } => args.extend(["-o".to_owned(), path(local), format!("{base}{remote}")]),
        Step::Store { local, remote } => args.extend(["-T".to_owned(), path(local), format!("{base}{remote}")]),
        Step::ResumeFetch { remote, local } => {
            args.extend(["-C", "-", "-o"].map(String::from));
            args.extend([path(local), format!("{base}{remote}")]);
        }
        Step::ResumeStore { local, remote, offset } => {
            args.extend(["-C".to_owned(), offset.to_string(), "-T".to_owned(), path(local), format!("{base}{remote}")]);
        }
    }
    args
}
