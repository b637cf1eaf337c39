//! What packets a rule looks at: interfaces, address family, protocol, hosts, ports, owner, flags, ICMP types. Shared by every kind of
//! rule.
//!
//! Not here: what a rule does (`rule.rs`, `translation.rs`).

use std::net::IpAddr;

use super::ast::{Family, Host, Matching, Net, Ports, Side};
use super::cursor::{Cursor, Parsed};
use super::lexer::Token;
use super::words;

/// Letters, then digits; or a group of interfaces that has such a name, `egress` for one.
pub fn is_interface(name: &str) -> bool {
    let base = name.split(':').next().unwrap_or_default();
    let modifiers = name.split(':').skip(1);
    let (letters, digits) = base.split_at(base.find(|c: char| c.is_ascii_digit()).unwrap_or(base.len()));
    !letters.is_empty()
        && base.len() < 16
        && letters.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
        && base.chars().skip(letters.len()).all(|c| c.is_ascii_alphanumeric() || c == '_')
        && (!digits.is_empty() || ["egress", "self", "lo", "em", "vlan", "wan", "lan", "dmz"].contains(&letters))
        && modifiers.into_iter().all(|modifier| ["network", "broadcast", "peer", "0"].contains(&modifier))
}

/// `on …`, `inet`, `proto …`, `from … to …`: everything between the head of a rule and its options, in this order.
pub fn matching(cursor: &mut Cursor, before_family: impl FnOnce(&mut Cursor) -> Parsed<()>) -> Parsed<Matching> {
    let mut matching = Matching::default();
    if cursor.key("on") {
        interfaces(cursor, &mut matching)?;
    }
    before_family(cursor)?;
    matching.family = family(cursor);
    if cursor.key("proto") {
        matching.protocols = cursor.list(protocol)?;
    }
    hosts(cursor, &mut matching)?;
    Ok(matching)
}

pub fn family(cursor: &mut Cursor) -> Option<Family> {
    if cursor.key("inet") {
        return Some(Family::Inet);
    }
    cursor.key("inet6").then_some(Family::Inet6)
}

fn interfaces(cursor: &mut Cursor, matching: &mut Matching) -> Parsed<()> {
    if !cursor.freebsd() {
        if cursor.key("any") {
            return Ok(());
        }
        if cursor.key("rdomain") {
            matching.rdomain = Some(cursor.number(255)? as u16);
            return Ok(());
        }
    }
    matching.interfaces = cursor.list(interface)?;
    Ok(())
}

/// `[!] name`.
pub fn interface(cursor: &mut Cursor) -> Parsed<(bool, String)> {
    let not = cursor.sign("!");
    let name = cursor.name()?;
    if name.len() >= 16 {
        return cursor.fail("interface name too long");
    }
    Ok((not, name))
}

fn protocol(cursor: &mut Cursor) -> Parsed<u8> {
    let number = match cursor.peek().clone() {
        Token::Number(number) if !(0..=255).contains(&number) => return cursor.fail("protocol outside range"),
        Token::Number(number) => number as u8,
        Token::Word(name) | Token::Quoted(name) => match words::protocol(&name) {
            Some(number) => number,
            None => return cursor.fail(format!("unknown protocol {name}")),
        },
        _ => return cursor.syntax(),
    };
    if number == 0 {
        return cursor.fail("proto 0 cannot be used");
    }
    cursor.next();
    Ok(number)
}

fn hosts(cursor: &mut Cursor, matching: &mut Matching) -> Parsed<()> {
    if cursor.key("all") {
        return Ok(());
    }
    if cursor.key("from") {
        matching.from = side(cursor)?;
        if cursor.key("os") {
            cursor.list(Cursor::name)?;
        }
    }
    if cursor.key("to") {
        matching.to = side(cursor)?;
    }
    Ok(())
}

fn side(cursor: &mut Cursor) -> Parsed<Side> {
    let mut side = Side::default();
    if !cursor.is_key("port") {
        side.hosts = cursor.list(host)?;
        side.hosts.retain(|(_, host)| *host != Host::Any);
    }
    if cursor.key("port") {
        side.ports = cursor.list(ports)?;
    }
    Ok(side)
}

/// `[!] address[/bits]`, `<table>`, `(interface)`, `any`, …
pub fn host(cursor: &mut Cursor) -> Parsed<(bool, Host)> {
    if cursor.key("any") {
        return Ok((false, Host::Any));
    }
    if cursor.key("no-route") {
        return Ok((false, Host::NoRoute));
    }
    if cursor.key("urpf-failed") {
        return Ok((false, Host::UrpfFailed));
    }
    let not = cursor.sign("!");
    Ok((not, address(cursor)?))
}

/// A host that is not `any`.
pub fn address(cursor: &mut Cursor) -> Parsed<Host> {
    if cursor.sign("<") {
        let name = cursor.name()?;
        if name.len() > 31 {
            return cursor.fail(format!("table name '{name}' too long"));
        }
        cursor.expect_sign(">")?;
        return Ok(Host::Table(name));
    }
    if cursor.sign("(") {
        let name = cursor.name()?;
        if !is_interface(&name) {
            return cursor.fail(format!("`{name}` is no interface"));
        }
        cursor.expect_sign(")")?;
        if cursor.sign("/") {
            cursor.number(128)?;
        }
        return Ok(Host::Interface(name));
    }
    let name = match cursor.peek().clone() {
        // `10/8`: what is missing is 0.
        Token::Number(number @ 0..=255) => format!("{number}.0.0.0"),
        Token::Word(name) | Token::Quoted(name) => name,
        _ => return cursor.syntax(),
    };
    let (name, quoted_prefix) = match name.split_once('/') {
        Some((name, prefix)) => (name.to_owned(), Some(prefix.to_owned())),
        None => (name, None),
    };
    let Ok(address) = name.parse::<IpAddr>() else {
        if is_interface(&name) {
            cursor.next();
            if cursor.sign("/") {
                cursor.number(128)?;
            }
            return Ok(Host::Interface(name));
        }
        return cursor.fail(format!("no IP address found for {name}"));
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let shown = cursor.next().text();
    let prefix = match quoted_prefix {
        Some(prefix) => match prefix.parse::<i64>() {
            Ok(prefix) if (0..=most).contains(&prefix) => prefix,
            _ => return cursor.fail(format!("no IP address found for {shown}")),
        },
        None if cursor.sign("/") => cursor.number(most)?,
        None => most,
    };
    Ok(Host::Net(Net { address, prefix: prefix as u8 }))
}

/// A port by number or name.
pub fn port(cursor: &mut Cursor) -> Parsed<u16> {
    let text = match cursor.peek().clone() {
        Token::Number(number) => number.to_string(),
        Token::Word(name) | Token::Quoted(name) => name,
        _ => return cursor.syntax(),
    };
    let port = port_text(cursor, &text)?;
    cursor.next();
    Ok(port)
}

fn port_text(cursor: &Cursor, text: &str) -> Parsed<u16> {
    match text.parse::<i64>() {
        Ok(number) if (0..=65535).contains(&number) => Ok(number as u16),
        Ok(number) => cursor.fail(format!("illegal port value {number}")),
        Err(_) => words::service(text).map_or_else(|| cursor.fail(format!("unknown port {text}")), Ok),
    }
}

/// `a`, `a:b`, `a:*` as the port of a translation; the end of `a:*` is 0.
pub fn target_port(cursor: &mut Cursor) -> Parsed<(u16, u16)> {
    let text = match cursor.peek().clone() {
        Token::Number(number) => number.to_string(),
        Token::Word(name) | Token::Quoted(name) => name,
        _ => return cursor.syntax(),
    };
    let ports = match text.split_once(':') {
        Some((first, "*")) => (port_text(cursor, first)?, 0),
        Some((first, last)) => (port_text(cursor, first)?, port_text(cursor, last)?),
        None => {
            let port = port_text(cursor, &text)?;
            (port, port)
        }
    };
    cursor.next();
    Ok(ports)
}

fn ports(cursor: &mut Cursor) -> Parsed<Ports> {
    type Make = fn(u16) -> Ports;
    let unary: [(&str, Make); 6] = [
        ("=", Ports::Equal),
        ("!=", Ports::NotEqual),
        ("<=", Ports::LessOrEqual),
        ("<", Ports::Less),
        (">=", Ports::GreaterOrEqual),
        (">", Ports::Greater),
    ];
    for (sign, make) in unary {
        if cursor.sign(sign) {
            return Ok(make(port(cursor)?));
        }
    }
    if let Token::Word(text) = cursor.peek().clone()
        && let Some((first, last)) = text.split_once(':')
    {
        let (first, last) = (port_text(cursor, first)?, port_text(cursor, last)?);
        if first > last {
            return cursor.fail(format!("invalid port range: {first}:{last}"));
        }
        cursor.next();
        return Ok(Ports::Range(first, last));
    }
    let first = port(cursor)?;
    if cursor.sign("><") {
        return Ok(Ports::Inside(first, port(cursor)?));
    }
    if cursor.sign("<>") {
        return Ok(Ports::Outside(first, port(cursor)?));
    }
    Ok(Ports::Equal(first))
}

/// The operand of `user` and `group`: names, numbers, with the same operators as ports.
pub fn owner(cursor: &mut Cursor) -> Parsed<()> {
    fn one(cursor: &mut Cursor) -> Parsed<()> {
        match cursor.peek() {
            Token::Word(_) | Token::Quoted(_) | Token::Number(0..) => cursor.skip(),
            _ => cursor.syntax(),
        }
    }
    if ["=", "!=", "<=", "<", ">=", ">"].into_iter().any(|sign| cursor.sign(sign)) {
        return one(cursor);
    }
    one(cursor)?;
    if cursor.sign("><") || cursor.sign("<>") {
        return one(cursor);
    }
    Ok(())
}

/// `any`, or `SET/SET` with the first empty or not.
pub fn flags(cursor: &mut Cursor) -> Parsed<Option<(u8, u8)>> {
    fn set(cursor: &mut Cursor) -> Parsed<u8> {
        let text = cursor.name()?;
        let mut bits = 0;
        for letter in text.chars() {
            match "FSRPAUEW".find(letter) {
                Some(at) => bits |= 1 << at,
                None => return cursor.fail(format!("unknown flag {letter}")),
            }
        }
        Ok(bits)
    }
    if cursor.key("any") {
        return Ok(None);
    }
    let wanted = if cursor.is_sign("/") { 0 } else { set(cursor)? };
    cursor.expect_sign("/")?;
    let among = set(cursor)?;
    if wanted & !among != 0 {
        return cursor.fail("illegal flags: what is wanted is not among what is looked at");
    }
    Ok(Some((wanted, among)))
}

/// One `type [code c]`.
pub fn icmp_type(cursor: &mut Cursor) -> Parsed<()> {
    fn one(cursor: &mut Cursor, known: fn(&str) -> bool, what: &str) -> Parsed<()> {
        match cursor.peek().clone() {
            Token::Number(0..=255) => cursor.skip(),
            Token::Word(name) | Token::Quoted(name) if known(&name) => cursor.skip(),
            Token::Word(name) | Token::Quoted(name) => cursor.fail(format!("unknown {what} {name}")),
            Token::Number(number) => cursor.fail(format!("illegal {what} {number}")),
            _ => cursor.syntax(),
        }
    }
    one(cursor, words::icmp_type, "icmp-type")?;
    if cursor.key("code") {
        one(cursor, words::icmp_code, "icmp-code")?;
    }
    Ok(())
}
