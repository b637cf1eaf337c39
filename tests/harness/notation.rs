//! The notation of transcripts: bytes as readable text, effects as lines.
//!
//! Lives here: both directions of the escapes, and [`lines`], which writes an effect as the transcript would. Not here: the
//! file format around it (`transcript`).

use std::net::IpAddr;

use ftpgate::pinhole::{EntrancePort, Joint, Protection, RangeRequest, Request};
use ftpgate::session::data::Transfer;
use ftpgate::session::effect::{Effect, Note, Side};

/// The bytes that a transcript line stands for: CRLF is added unless the text ends with a lone backslash.
pub fn to_bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            None => return Ok(bytes),
            Some(b'r') => bytes.push(b'\r'),
            Some(b'n') => bytes.push(b'\n'),
            Some(b'0') => bytes.push(0),
            Some(b'\\') => bytes.push(b'\\'),
            Some(b'x') => {
                let digits = [rest.next().unwrap_or(b'?'), rest.next().unwrap_or(b'?')];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                let byte =
                    u8::from_str_radix(&digits, 16).map_err(|_| format!("\\x{digits} is no byte: write \\xNN"))?;
                bytes.push(byte);
            }
            Some(other) => return Err(format!("\\{} means nothing: use \\r \\n \\0 \\xNN \\\\", char::from(other))),
        }
    }
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}

/// One line of a transcript for every line in these bytes.
pub fn to_text(bytes: &[u8]) -> Vec<String> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(line_to_text).collect()
}

fn line_to_text(line: &[u8]) -> String {
    let (body, end) = match line.strip_suffix(b"\r\n") {
        Some(body) => (body, ""),
        None => (line, "\\"),
    };
    let mut text = String::new();
    for (at, &byte) in body.iter().enumerate() {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            0 => text.push_str("\\0"),
            b'\\' => text.push_str("\\\\"),
            // A blank at the end of a line would be invisible.
            b' ' if at + 1 == body.len() => text.push_str("\\x20"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text + end
}

/// An effect as a transcript lists it; nothing for the notes that transcripts leave out.
pub fn lines(effect: &Effect<'_>) -> Vec<String> {
    match effect {
        Effect::Send { side, bytes, urgent } => {
            let arrow = match (side, urgent) {
                (Side::Client, false) => "<",
                (Side::Client, true) => "<!",
                (Side::Server, false) => ">>",
                (Side::Server, true) => ">>!",
            };
            to_text(bytes).into_iter().map(|text| format!("{arrow} {text}")).collect()
        }
        Effect::Shutdown(side) => vec![format!("shutdown {}", side_word(*side))],
        Effect::Secure(side) => vec![format!("secure {}", side_word(*side))],
        Effect::Unsecure(side) => vec![format!("unsecure {}", side_word(*side))],
        Effect::OpenRange(range) => vec![range_text(range)],
        Effect::CloseRange => vec!["! range closed".to_owned()],
        Effect::Open(id, request) => vec![format!("! open #{} {}", id.0, request_text(request))],
        Effect::Join(id, joint) => {
            let Joint { announcement, client, server, protection, .. } = **joint;
            let protection = protection_text(protection);
            vec![format!("! join #{} {}: {client}; {server}{protection}", id.0, announcement.as_str())]
        }
        Effect::Close(id) => vec![format!("! close #{}", id.0)],
        Effect::Measure(id) => vec![format!("! measure #{}", id.0)],
        Effect::Reset(id, _) => vec![format!("! reset #{}", id.0)],
        Effect::Unwatch(_) => Vec::new(),
        Effect::Transferred(transfer) => vec![transfer_text(transfer)],
        Effect::Note(Note::PinholeUsed(announcement, waited)) => {
            vec![format!("= used {} after {waited}ms", announcement.as_str())]
        }
        Effect::Note(Note::Refused(why, None)) => vec![format!("= refused {}", why.as_str())],
        Effect::Note(Note::Refused(why, Some(address))) => vec![format!("= refused {} {address}", why.as_str())],
        Effect::Note(Note::Opaque) => vec!["= opaque".to_owned()],
        Effect::Note(Note::Readable) => vec!["= readable".to_owned()],
        Effect::Note(Note::PinholeExpired(announcement)) => vec![format!("= expired {}", announcement.as_str())],
        Effect::Note(Note::NoEpsv) => vec!["= no epsv".to_owned()],
        Effect::Note(Note::Command(_) | Note::LoggedIn | Note::Rewritten(_)) => Vec::new(),
        Effect::End(reason) => vec![format!("= end {}", reason.as_str())],
    }
}

/// `client` or `server`.
pub fn side_word(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

/// `= transfer RETR file download complete 226 1000 bytes in 15ms, pasv from 192.0.2.7:40002, binary, user joe`
fn transfer_text(transfer: &Transfer) -> String {
    let escaped = |bytes: &[u8]| to_text(&[bytes, b"\r\n"].concat()).join("");
    let mut text = format!("= transfer {}", transfer.command);
    if !transfer.path.is_empty() {
        text += &format!(" {}", escaped(&transfer.path));
    }
    text += &format!(" {} {}", transfer.direction.as_str(), transfer.outcome.as_str());
    text += &transfer.reply.map_or(" no reply".to_owned(), |reply| format!(" {reply}"));
    text += &transfer.bytes().map_or(" no count".to_owned(), |bytes| format!(" {bytes} bytes"));
    text += &format!(" in {}ms, {}", transfer.duration, transfer.announcement.as_str());
    text += &transfer.dialler.map_or(String::new(), |dialler| format!(" from {dialler}"));
    text += if transfer.binary { ", binary" } else { ", ascii" };
    text + &format!(", user {}", escaped(&transfer.user))
}

fn request_text(request: &Request) -> String {
    let entrance = host(request.entrance);
    let port = match request.entrance_port {
        EntrancePort::Fixed(port) => port.to_string(),
        EntrancePort::Any => "any".to_owned(),
    };
    format!(
        "{}: {} dials {entrance}:{port}, reaches {}, seen as {}{}",
        request.announcement.as_str(),
        request.initiator,
        request.target,
        request.source,
        protection_text(request.protection)
    )
}

fn range_text(range: &RangeRequest) -> String {
    let RangeRequest { initiator, entrance, target, source, ports: (first, last) } = *range;
    format!("! range {initiator} dials {}:{first}-{last}, reaches {target}, seen as {source}", host(entrance))
}

fn protection_text(protection: Protection) -> &'static str {
    match (protection.client, protection.server) {
        (false, false) => "",
        (true, false) => ", TLS with the client",
        (false, true) => ", TLS with the server",
        (true, true) => ", TLS with both",
    }
}

fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
