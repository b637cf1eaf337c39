//! Tests of `tls`: faulty files, files that change, and channels that speak with each other in pieces.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedKey, KeyPair};

use super::channel::Heard;
use super::*;

/// A folder that vanishes with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fg-tls-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn certificate(name: &str) -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

/// A listener's TLS, and a client that trusts it.
fn pair(folder: &Folder) -> (Terminator, Upstream) {
    let made = certificate("ftp.example.net");
    let cert = folder.write("cert.pem", &made.cert.pem());
    let key = folder.write("key.pem", &made.signing_key.serialize_pem());
    let identity = Identity::load(&cert, &key).unwrap();
    assert_eq!(identity.warning(), None);
    (Terminator::new(identity, None), Upstream::new(Some(&cert), Some("ftp.example.net")).unwrap())
}

fn address() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

/// Both ends of a connection, before the handshake.
fn channels(folder: &Folder) -> (Channel, Channel) {
    let (terminator, upstream) = pair(folder);
    let (config, name) = upstream.session(address());
    (Channel::client(config, name).unwrap(), terminator.session(address()).with_client().unwrap())
}

/// Moves what one has said to the other, in pieces.
fn carry(wire: &mut Vec<u8>, to: &mut Channel, answer: &mut Vec<u8>, piece: usize) {
    for bytes in std::mem::take(wire).chunks(piece) {
        to.take(bytes);
        to.shake_hands(answer).unwrap();
    }
}

fn shake(client: &mut Channel, server: &mut Channel, piece: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    client.flush(&mut to_server);
    for _ in 0..8 {
        carry(&mut to_server, server, &mut to_client, piece);
        carry(&mut to_client, client, &mut to_server, piece);
    }
    assert!(!client.is_shaking_hands() && !server.is_shaking_hands());
    (to_server, to_client)
}

#[test]
fn a_handshake_and_lines_pass_in_pieces_of_any_length() {
    for piece in [1, 2, 5, 100, 100_000] {
        let (mut client, mut server) = channels(&Folder::new());
        let (mut to_server, mut to_client) = shake(&mut client, &mut server, piece);
        client.write(b"USER joe\r\n", &mut to_server);
        client.write(&[b'x'; 40_000], &mut to_server);
        let (mut buffer, mut heard) = ([0; 1000], Vec::new());
        for bytes in to_server.chunks(piece.max(50)) {
            server.take(bytes);
            while let Heard::Bytes(count) = server.read(&mut buffer, &mut to_client).unwrap() {
                heard.extend_from_slice(&buffer[..count]);
            }
        }
        assert!(heard.starts_with(b"USER joe\r\nxxx") && heard.len() == 40_010, "{}", heard.len());
        assert!(!server.has_more());
    }
}

#[test]
fn what_has_no_room_is_kept_and_said_to_be() {
    let (mut client, mut server) = channels(&Folder::new());
    let (mut to_server, mut to_client) = shake(&mut client, &mut server, 1000);
    client.write(b"NOOP\r\nNOOP\r\n", &mut to_server);
    server.take(&to_server);
    let mut buffer = [0; 6];
    for _ in 0..2 {
        assert_eq!(server.read(&mut buffer, &mut to_client).unwrap(), Heard::Bytes(6));
        assert!(server.has_more());
    }
    assert_eq!(server.read(&mut buffer, &mut to_client).unwrap(), Heard::Nothing);
    assert!(!server.has_more());
}

#[test]
fn behind_close_notify_comes_clear_text_and_not_a_byte_of_it_is_lost() {
    for (closes, piece) in [(true, 1), (true, 7), (true, 10_000), (false, 1), (false, 10_000)] {
        let (mut client, mut server) = channels(&Folder::new());
        let (mut to_server, mut to_client) = shake(&mut client, &mut server, 1000);
        client.write(b"CCC\r\n", &mut to_server);
        let mut buffer = [0; 100];
        server.take(&std::mem::take(&mut to_server));
        assert_eq!(server.read(&mut buffer, &mut to_client).unwrap(), Heard::Bytes(5));
        assert_eq!(server.rest(&mut buffer), None);
        server.close(&mut to_client);
        if closes {
            client.close(&mut to_server);
        }
        to_server.extend_from_slice(b"PORT 192,0,2,1,4,5\r\n");
        let mut heard = Vec::new();
        for bytes in to_server.chunks(piece) {
            server.take(bytes);
            loop {
                if let Some(count) = server.rest(&mut buffer) {
                    heard.extend_from_slice(&buffer[..count]);
                    break;
                }
                if server.read(&mut buffer, &mut to_client).unwrap() == Heard::Nothing {
                    break;
                }
            }
        }
        assert_eq!(heard, b"PORT 192,0,2,1,4,5\r\n", "{closes} {piece}");
    }
}

#[test]
fn what_is_no_tls_is_an_error_and_no_more_of_it_is_kept() {
    for garbage in
        [&b"USER joe\r\n"[..], b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x00\x05hello", b"\x17\x03\x03\x00\x01x"]
    {
        let (_, mut server) = channels(&Folder::new());
        server.take(garbage);
        assert!(server.shake_hands(&mut Vec::new()).is_err(), "{}", garbage.escape_ascii());
    }
    // Changed on its way.
    let (mut client, mut server) = channels(&Folder::new());
    let (mut to_server, mut to_client) = shake(&mut client, &mut server, 1000);
    client.write(b"USER joe\r\n", &mut to_server);
    *to_server.last_mut().unwrap() ^= 1;
    server.take(&to_server);
    assert!(server.read(&mut [0; 100], &mut to_client).is_err());
    assert!(!to_client.is_empty(), "the peer is told");
}

#[test]
fn the_connections_of_a_session_resume_each_others_tls() {
    let folder = Folder::new();
    let (terminator, upstream) = pair(&folder);
    let ours = terminator.session(address());
    let (config, name) = upstream.session(address());
    for expected in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed, rustls::HandshakeKind::Resumed] {
        let mut client = Channel::client(config.clone(), name.clone()).unwrap();
        let mut server = ours.with_client().unwrap();
        shake(&mut client, &mut server, 1000);
        // Tickets come with the first words.
        let (mut wire, mut none) = (Vec::new(), Vec::new());
        server.write(b"220\r\n", &mut wire);
        client.take(&wire);
        assert_eq!(client.read(&mut [0; 10], &mut none).unwrap(), Heard::Bytes(5));
        assert_eq!(client.kind(), Some(expected));
    }
    let (other, name) = upstream.session(address());
    let mut client = Channel::client(other, name).unwrap();
    shake(&mut client, &mut ours.with_client().unwrap(), 1000);
    assert_eq!(client.kind(), Some(rustls::HandshakeKind::Full), "another session is another client");
}

#[test]
fn a_server_must_prove_that_it_is_the_right_one_unless_nobody_asks() {
    let folder = Folder::new();
    let (terminator, _) = pair(&folder);
    let right = folder.0.join("cert.pem");
    let wrong = folder.write("other.pem", &certificate("ftp.example.net").cert.pem());
    for (authorities, name, is_right) in [
        (Some(&right), Some("ftp.example.net"), true),
        (Some(&right), Some("ftp.example.org"), false),
        (Some(&right), None, false),
        (Some(&wrong), Some("ftp.example.net"), false),
        (None, None, true),
    ] {
        let upstream = Upstream::new(authorities.map(PathBuf::as_path), name).unwrap();
        let (config, name) = upstream.session(address());
        let (mut client, mut server) =
            (Channel::client(config, name).unwrap(), terminator.session(address()).with_client().unwrap());
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        client.flush(&mut to_server);
        server.take(&to_server);
        server.shake_hands(&mut to_client).unwrap();
        client.take(&to_client);
        assert_eq!(client.shake_hands(&mut to_server).is_ok(), is_right, "{authorities:?}");
    }
    assert!(Upstream::new(None, Some("not a name")).unwrap_err().to_string().contains("server_name"));
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let folder = Folder::new();
    let (one, other) = (certificate("a.example"), certificate("b.example"));
    let cert = folder.write("cert.pem", &one.cert.pem());
    let key = folder.write("key.pem", &one.signing_key.serialize_pem());
    let foreign = folder.write("foreign.pem", &other.signing_key.serialize_pem());
    let none = folder.0.join("none.pem");
    let empty = folder.write("empty.pem", "");
    let cut = folder.write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let odd = folder.write("odd.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    let hollow = folder.write("hollow.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = folder.write("locked.pem", locked);
    for (certificate, private, words) in [
        (&none, &key, ["cannot read the certificate", "none.pem"]),
        (&cert, &none, ["cannot read the key", "none.pem"]),
        (&empty, &key, ["has no certificate", "BEGIN CERTIFICATE"]),
        (&key, &key, ["has no certificate", "key.pem"]),
        (&cert, &empty, ["has no private key", "empty.pem"]),
        (&cert, &cert, ["has no private key", "cert.pem"]),
        (&cut, &key, ["cut.pem", "no end"]),
        (&odd, &key, ["odd.pem", "no base64"]),
        (&hollow, &key, ["hollow.pem", "cannot be used"]),
        (&cert, &locked, ["is encrypted", "openssl pkey"]),
        (&cert, &foreign, ["does not belong to the certificate", "foreign.pem"]),
    ] {
        let error = Identity::load(certificate, private).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn a_certificate_that_is_not_valid_today_is_a_warning() {
    let folder = Folder::new();
    for (from, to, word) in [(2019, 2020, "expired"), (2190, 2191, "not valid yet")] {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(["a.example".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        let cert = folder.write("cert.pem", &parameters.self_signed(&key).unwrap().pem());
        let identity = Identity::load(&cert, &folder.write("key.pem", &key.serialize_pem())).unwrap();
        assert!(identity.warning().is_some_and(|warning| warning.contains(word)));
    }
}

#[test]
fn files_that_change_are_used_and_faulty_ones_are_not() {
    let folder = Folder::new();
    let (terminator, _) = pair(&folder);
    let identity = terminator.identity();
    let first = identity.current();
    let again = |first: &Arc<ServerConfig>| Arc::ptr_eq(first, &identity.current());
    assert!(again(&first));
    folder.write("cert.pem", "nothing");
    identity.reload();
    assert!(again(&first), "a faulty file changes nothing");
    let new = certificate("ftp.example.net");
    folder.write("key.pem", &new.signing_key.serialize_pem());
    let cert = folder.write("cert.pem", &new.cert.pem());
    identity.reload();
    let second = identity.current();
    assert!(!Arc::ptr_eq(&first, &second));
    // By itself, once a second at most.
    let file = std::fs::File::options().write(true).open(cert).unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(60)).unwrap();
    assert!(again(&second), "it has just been looked at");
    identity.look_again();
    assert!(!again(&second));
}

#[test]
fn a_session_has_its_tls_until_it_ends() {
    let (terminator, _) = pair(&Folder::new());
    let sessions = Sessions::default();
    sessions.begin(7, &terminator, address());
    assert!(sessions.of(8).is_none());
    let tls = sessions.of(7).unwrap();
    assert!(tls.with_client().is_ok() && tls.with_server().unwrap_err().to_string().contains("tls.server"));
    sessions.end(7);
    assert!(sessions.of(7).is_none());
}
