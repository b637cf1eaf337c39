//! A control connection spoken by hand: for tests that need an exact byte, order or moment.
//!
//! Lives here: [`Control`], used as a client and, by `fake_server.rs`, as a server; replies, announced addresses, data
//! connections. Not here: real clients (`client`).

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::Family;
use super::host::Host;
use super::server::PASSWORD;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A reply: the code and all of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

/// One end of a control connection.
#[derive(Debug)]
pub struct Control {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Control {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Connects; reads nothing.
    pub fn connect(host: &Host, to: SocketAddr) -> Self {
        let stream = host.connect(to, PATIENCE).unwrap_or_else(|error| panic!("connecting to {to}: {error}"));
        Self::new(stream)
    }

    /// Connects from one of the host's addresses; reads nothing.
    pub fn connect_from(host: &Host, from: IpAddr, to: SocketAddr) -> Self {
        let stream = host.connect_from(from, to, PATIENCE).unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
        Self::new(stream)
    }

    /// Connects, reads the greeting and logs in.
    pub fn login(host: &Host, to: SocketAddr, user: &str) -> Self {
        let mut control = Self::connect(host, to);
        assert_eq!(control.reply().code, 220, "greeting");
        control.log_in(user);
        control
    }

    pub fn log_in(&mut self, user: &str) {
        assert_eq!(self.ask(&format!("USER {user}")).code, 331);
        assert_eq!(self.ask(&format!("PASS {PASSWORD}")).code, 230);
        assert_eq!(self.ask("TYPE I").code, 200);
    }

    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub fn peer_address(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap()
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends exactly these bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap_or_else(|error| panic!("sending {}: {error}", bytes.escape_ascii()));
    }

    /// Sends bytes whose peer may have closed already.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends bytes of which the last is urgent.
    pub fn send_urgent(&mut self, bytes: &[u8]) {
        let sent = socket2::SockRef::from(&self.stream).send_out_of_band(bytes).unwrap();
        assert_eq!(sent, bytes.len());
    }

    /// Sends one line.
    pub fn line(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes());
    }

    /// Sends a command and gives its first reply.
    pub fn ask(&mut self, command: &str) -> Reply {
        self.line(command);
        self.reply()
    }

    /// Sends no more.
    pub fn shutdown(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next line without its end; `None` when the peer has closed.
    pub fn read_line(&mut self) -> Option<String> {
        self.read_bytes().map(|line| String::from_utf8_lossy(&line).into_owned())
    }

    /// The same, byte for byte.
    pub fn read_bytes(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                    line.pop();
                }
                return Some(line);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no line within {PATIENCE:?}: {error}; unread: {}", self.unread.escape_ascii()),
            }
        }
    }

    /// The next reply, of any number of lines; `None` when the peer has closed.
    pub fn try_reply(&mut self) -> Option<Reply> {
        let first = self.read_line()?;
        let code = first.get(..3).and_then(|digits| digits.parse().ok());
        let code: u16 = code.unwrap_or_else(|| panic!("not a reply: {first:?}"));
        let mut text = first.clone();
        if first.as_bytes().get(3) == Some(&b'-') {
            let last = format!("{code:03} ");
            loop {
                let line = self.read_line()?;
                text = format!("{text}\n{line}");
                if line.starts_with(&last) {
                    break;
                }
            }
        }
        Some(Reply { code, text })
    }

    /// The next reply. Ends the test when there is none.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("a reply, but the connection was closed")
    }

    /// A reply that must have this code.
    pub fn expect(&mut self, code: u16) -> Reply {
        let reply = self.reply();
        assert_eq!(reply.code, code, "{}", reply.text);
        reply
    }

    /// Sends a command whose first reply must have this code.
    pub fn must(&mut self, command: &str, code: u16) -> Reply {
        let reply = self.ask(command);
        assert_eq!(reply.code, code, "{command}: {}", reply.text);
        reply
    }

    /// Nothing more comes but the end.
    pub fn expect_end(&mut self) {
        if let Some(line) = self.read_line() {
            panic!("the end of the connection was expected, not {line:?}");
        }
    }

    /// Announces with PASV (IPv4) or EPSV (IPv6), and gives the address to dial.
    pub fn passive(&mut self, family: Family) -> SocketAddr {
        match family {
            Family::V4 => announced_227(&self.must("PASV", 227).text),
            Family::V6 => {
                let port = announced_229(&self.must("EPSV", 229).text);
                SocketAddr::new(self.peer_address().ip(), port)
            }
        }
    }

    /// Announces with PORT (IPv4) or EPRT (IPv6) where this host listens.
    pub fn active(&mut self, host: &Host, family: Family) -> TcpListener {
        let listener = host.listen(SocketAddr::new(self.local_address().ip(), 0));
        self.announce(&listener, family);
        listener
    }

    /// The same with a listener that is there.
    pub fn announce(&mut self, listener: &TcpListener, family: Family) {
        let address = listener.local_addr().unwrap();
        let command = match family {
            Family::V4 => port_command(address),
            Family::V6 => format!("EPRT |2|{}|{}|", address.ip(), address.port()),
        };
        self.must(&command, 200);
    }

    /// Two active transfers to this side, one right after the other, to the same port: what some clients always do. The source ports
    /// that they came from.
    pub fn two_to_one_port(&mut self, host: &Host, family: Family, command: &str) -> [u16; 2] {
        let listener = host.listen(SocketAddr::new(self.local_address().ip(), 0));
        [(); 2].map(|()| {
            self.announce(&listener, family);
            self.line(command);
            let (mut data, peer) = accept_data(&listener);
            self.expect(150);
            data.read_to_end(&mut Vec::new()).unwrap();
            drop(data);
            self.expect(226);
            peer.port()
        })
    }

    /// A passive transfer to this side: everything that `command` brings.
    pub fn download(&mut self, host: &Host, family: Family, command: &str) -> Vec<u8> {
        let entrance = self.passive(family);
        let mut data = data_connection(host, entrance);
        self.line(command);
        self.expect(150);
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        drop(data);
        self.expect(226);
        bytes
    }

    /// A passive transfer from this side.
    pub fn upload(&mut self, host: &Host, family: Family, command: &str, bytes: &[u8]) {
        let entrance = self.passive(family);
        let mut data = data_connection(host, entrance);
        self.line(command);
        self.expect(150);
        data.write_all(bytes).unwrap();
        drop(data);
        self.expect(226);
    }
}

/// A data connection that must come about.
pub fn data_connection(host: &Host, entrance: SocketAddr) -> TcpStream {
    let stream =
        host.connect(entrance, PATIENCE).unwrap_or_else(|error| panic!("data connection to {entrance}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The data connection that a server makes to an announced port.
pub fn accept_data(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.set_nonblocking(true).unwrap();
    let (stream, peer) = super::wait_for("the server's data connection", PATIENCE, || listener.accept().ok());
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (stream, peer)
}

/// `PORT h1,h2,h3,h4,p1,p2`.
pub fn port_command(address: SocketAddr) -> String {
    let [high, low] = address.port().to_be_bytes();
    format!("PORT {},{high},{low}", address.ip().to_string().replace('.', ","))
}

/// The address in a 227.
pub fn announced_227(text: &str) -> SocketAddr {
    let numbers: Vec<u8> = text
        .get(4..)
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    let [a, b, c, d, high, low] = numbers[..] else { panic!("no address in {text:?}") };
    SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
}

/// The port in a 229.
pub fn announced_229(text: &str) -> u16 {
    let port = text.split("(|||").nth(1).and_then(|rest| rest.split('|').next()).and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("no port in {text:?}"))
}
