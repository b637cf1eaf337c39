//! The clients that take a script and do all steps in one session: lftp, tnftp, ftplib.

use super::{Job, Mode, Step, password};
use crate::lab::Family;
use crate::lab::host::Host;
use crate::lab::process::Output;
use crate::lab::server::LARGE;

/// lftp: `ftp:passive-mode` and `ftp:prefer-epsv` choose the mode; over IPv6 it has EPRT and EPSV only.
pub(super) fn lftp(job: &Job<'_>, host: &Host) -> Result<String, String> {
    let passive = matches!(job.combination.mode, Mode::Pasv | Mode::Epsv);
    let mut script = format!(
        "debug 9\nset cmd:fail-exit yes\nset ftp:ssl-allow no\nset ftp:use-feat yes\nset ftp:sync-mode yes\n\
         set net:max-retries 1\nset net:timeout {limit}\nset ftp:fix-pasv-address no\nset xfer:log no\n\
         set ftp:passive-mode {passive}\nset ftp:prefer-epsv {epsv}\nset xfer:clobber yes\n\
         open -u {user},{password} ftp://{server}/\n",
        limit = job.seconds / 2,
        epsv = job.combination.mode == Mode::Epsv,
        user = job.user,
        password = password(),
        server = job.url_host(),
    );
    for step in job.steps {
        script.push_str(&match *step {
            Step::List => "ls\n".to_owned(),
            Step::Fetch { remote, local } => format!("get {remote} -o {}\n", job.local(local).display()),
            Step::Store { local, remote } => format!("put {} -o {remote}\n", job.local(local).display()),
            Step::ResumeFetch { remote, local } => format!("get -c {remote} -o {}\n", job.local(local).display()),
            Step::ResumeStore { local, remote, .. } => format!("put -c {} -o {remote}\n", job.local(local).display()),
        });
    }
    // What the session held is closed in an orderly way; the exit code of the last step has been looked at by fail-exit.
    script.push_str("close\n");
    let output = host.task(&["lftp", "--norc", "-f", "/dev/stdin"]).seconds(job.seconds).folder(job.folder.path());
    judge(job, "lftp", output.input(script).run(), &[])
}

/// tnftp: `-A` makes it active, `epsv4` and `epsv6` toggle the extended commands. Its exit code says nothing.
pub(super) fn tnftp(job: &Job<'_>, host: &Host) -> Result<String, String> {
    let (active, extended) = match job.combination.mode {
        Mode::Port => (true, false),
        Mode::Eprt => (true, true),
        Mode::Pasv => (false, false),
        Mode::Epsv => (false, true),
    };
    let mut script = format!("user {} {}\nbinary\n", job.user, password());
    if job.combination.family == Family::V4 && !extended {
        script.insert_str(0, "epsv4\n");
    }
    for step in job.steps {
        script.push_str(&match *step {
            Step::List => "ls\n".to_owned(),
            Step::Fetch { remote, local } => format!("get {remote} {}\n", job.local(local).display()),
            Step::Store { local, remote } => format!("put {} {remote}\n", job.local(local).display()),
            Step::ResumeFetch { remote, local } => format!("reget {remote} {}\n", job.local(local).display()),
            Step::ResumeStore { local, remote, offset } => {
                format!("restart {offset}\nput {} {remote}\n", job.local(local).display())
            }
        });
    }
    script.push_str("quit\n");
    let server = job.server.to_string();
    let mode = if active { "-A" } else { "-p" };
    let limit = (job.seconds / 2).to_string();
    let args = ["tnftp", mode, "-d", "-v", "-n", "-q", &limit, &server, "21"];
    let output = host.task(&args).seconds(job.seconds).folder(job.folder.path()).input(script).run();
    let refused = output.stdout.lines().find(|line| is_negative_reply(line)).map(str::to_owned);
    let trouble: Vec<&str> =
        ["Not connected", "Login failed", "mismatch"].into_iter().chain(refused.as_deref()).collect();
    judge(job, "tnftp", output, &trouble)
}

/// Python's ftplib, through `ftplib_client.py`.
pub(super) fn ftplib(job: &Job<'_>, host: &Host) -> Result<String, String> {
    const PROGRAM: &str = include_str!("ftplib_client.py");
    let server = job.server.to_string();
    let limit = (job.seconds / 2).to_string();
    let mut args: Vec<String> =
        ["python3", "-c", PROGRAM, &server, job.user, password(), job.combination.mode.verb(), &limit]
            .map(String::from)
            .into();
    for step in job.steps {
        let local = |name: &str| job.local(name).to_string_lossy().into_owned();
        args.extend(match *step {
            Step::List => ["list".to_owned(), String::new(), String::new(), "0".to_owned()],
            Step::Fetch { remote, local: name } => ["fetch".to_owned(), remote.to_owned(), local(name), "0".to_owned()],
            Step::Store { local: name, remote } => ["store".to_owned(), remote.to_owned(), local(name), "0".to_owned()],
            Step::ResumeFetch { remote, local: name } => {
                ["resume-fetch".to_owned(), remote.to_owned(), local(name), "0".to_owned()]
            }
            Step::ResumeStore { local: name, remote, offset } => {
                ["resume-store".to_owned(), remote.to_owned(), local(name), offset.to_string()]
            }
        });
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut output = host.task(&args).seconds(job.seconds).folder(job.folder.path()).run();
    output.command = "ftplib".to_owned();
    judge(job, "ftplib", output, &[])
}

/// `4yz ` or `5yz `.
fn is_negative_reply(line: &str) -> bool {
    let bytes = line.as_bytes();
    matches!(bytes, [b'4' | b'5', second, third, b' ', ..] if second.is_ascii_digit() && third.is_ascii_digit())
}

/// Whether it went well: exit code 0, a listing that lists, none of the signs of trouble.
fn judge(job: &Job<'_>, name: &str, output: Output, trouble: &[&str]) -> Result<String, String> {
    let said = output.text();
    if !output.ok() {
        return Err(format!("{name} ended with {}:\n{said}", output.code));
    }
    if let Some(sign) = trouble.iter().find(|sign| said.contains(**sign)) {
        return Err(format!("{name} says {sign:?}:\n{said}"));
    }
    let lists = job.steps.iter().any(|step| matches!(step, Step::List));
    if lists && !output.stdout.lines().any(|line| line.trim_end().ends_with(LARGE) && line.starts_with('-')) {
        return Err(format!("{name}'s listing lacks {LARGE}:\n{said}"));
    }
    Ok(said)
}
