//! curl: one process for each step.

use super::{Job, Mode, Step, password};
use crate::lab::host::Host;

pub(super) fn run(job: &Job<'_>, host: &Host) -> Result<String, String> {
    let mut said = String::new();
    for step in job.steps {
        said.push_str(&run_step(job, host, *step)?);
    }
    Ok(said)
}

fn run_step(job: &Job<'_>, host: &Host, step: Step<'_>) -> Result<String, String> {
    let (base, login) = (format!("ftp://{}/", job.url_host()), format!("{}:{}", job.user, password()));
    let limit = job.seconds.saturating_sub(1).max(1).to_string();
    let mut args: Vec<String> =
        ["curl", "-v", "-s", "-S", "--user", &login, "--max-time", &limit].map(String::from).into();
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
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = host.task(&args).seconds(job.seconds).folder(job.folder.path()).run();
    match (output.ok(), step) {
        (false, _) => Err(format!("curl ended with {}:\n{}", output.code, output.text())),
        (true, Step::List) if !output.stdout.contains(crate::lab::server::LARGE) => {
            Err(format!("curl's listing lacks {}:\n{}", crate::lab::server::LARGE, output.text()))
        }
        (true, _) => Ok(output.text()),
    }
}
