//! `pass`, `block` and `match` rules with all their options.
//!
//! Not here: the part that says which packets (`matching.rs`), what pfctl checks once a rule is read (`check.rs`).

use super::ast::{Action, Direction, Family, Host, Pool, Return, Rule, State};
use super::cursor::{Cursor, Parsed};
use super::lexer::Token;
use super::matching::{self, target_port};
use super::words;

pub fn direction(cursor: &mut Cursor) -> Option<Direction> {
    if cursor.key("in") {
        return Some(Direction::In);
    }
    cursor.key("out").then_some(Direction::Out)
}

/// `log`, `log (all, user, to pflog1)`.
pub fn log(cursor: &mut Cursor) -> Parsed<bool> {
    if !cursor.key("log") {
        return Ok(false);
    }
    if cursor.is_sign("(") {
        cursor.parenthesised(|cursor| {
            if cursor.key("all") || cursor.key("user") || cursor.key("group") || cursor.key("matches") {
                return Ok(());
            }
            cursor.expect_key("to")?;
            let name = cursor.name()?;
            match name.strip_prefix("pflog").map(str::parse::<u8>) {
                Some(Ok(_)) => Ok(()),
                _ => cursor.fail(format!("{name}: should be a pflog interface")),
            }
        })?;
    }
    Ok(true)
}

/// The whole rule, its first word taken already.
pub fn rule(cursor: &mut Cursor, line: usize, action: &str) -> Parsed<Rule> {
    let action = match action {
        "pass" => Action::Pass,
        "match" => Action::Match,
        _ => Action::Block(returning(cursor)?),
    };
    let mut rule = Rule::new(line, action);
    rule.direction = direction(cursor);
    rule.log = log(cursor)?;
    rule.quick = cursor.key("quick");
    if rule.quick && !rule.log {
        rule.log = log(cursor)?;
    }
    let mut route = None;
    rule.matching = matching::matching(cursor, |cursor| {
        // FreeBSD 14 routes before the address family, OpenBSD among the options.
        if cursor.freebsd() {
            route = routing(cursor)?;
        }
        Ok(())
    })?;
    rule.route = route;
    while *cursor.peek() != Token::NewLine && !cursor.is_sign("}") {
        option(cursor, &mut rule)?;
    }
    Ok(rule)
}

fn returning(cursor: &mut Cursor) -> Parsed<Return> {
    if cursor.key("drop") {
        return Ok(Return::Drop);
    }
    if cursor.key("return") {
        return Ok(Return::Any);
    }
    if cursor.key("return-rst") {
        if cursor.sign("(") {
            cursor.expect_key("ttl")?;
            cursor.number(255)?;
            cursor.expect_sign(")")?;
        }
        return Ok(Return::Rst);
    }
    if cursor.key("return-icmp") || cursor.key("return-icmp6") {
        if cursor.is_sign("(") {
            cursor.parenthesised(|cursor| match cursor.peek().clone() {
                Token::Number(0..=255) => cursor.skip(),
                Token::Word(name) if words::icmp_code(&name) => cursor.skip(),
                Token::Word(name) => cursor.fail(format!("unknown icmp code {name}")),
                _ => cursor.syntax(),
            })?;
        }
        return Ok(Return::Icmp);
    }
    Ok(Return::Policy)
}

/// `route-to`, `reply-to`, `dup-to`: the word, if one stands here.
fn routing(cursor: &mut Cursor) -> Parsed<Option<String>> {
    let Some(kind) = ["route-to", "reply-to", "dup-to"].into_iter().find(|kind| cursor.is_key(kind)) else {
        return Ok(None);
    };
    cursor.next();
    cursor.list(|cursor| {
        if cursor.freebsd() && cursor.sign("(") {
            // (interface address)
            cursor.name()?;
            if !cursor.is_sign(")") {
                matching::address(cursor)?;
            }
            return cursor.expect_sign(")");
        }
        matching::address(cursor).map(drop)
    })?;
    pool_options(cursor)?;
    Ok(Some(kind.to_owned()))
}

/// Whether `static-port` was among them.
fn pool_options(cursor: &mut Cursor) -> Parsed<bool> {
    let (mut kind, mut static_port) = (false, false);
    loop {
        let round = ["bitmask", "random", "round-robin", "least-states"].into_iter().any(|word| cursor.key(word));
        if round || cursor.key("source-hash") {
            if !round && let Token::Word(_) | Token::Quoted(_) = cursor.peek() {
                cursor.next();
            }
            if kind {
                return cursor.fail("pool type cannot be redefined");
            }
            kind = true;
        } else if cursor.key("static-port") {
            if static_port {
                return cursor.fail("static-port cannot be redefined");
            }
            static_port = true;
        } else if !cursor.key("sticky-address") {
            return Ok(static_port);
        }
    }
}

/// The target of a translation: addresses, port, pool options.
pub fn pool(cursor: &mut Cursor) -> Parsed<Pool> {
    let hosts: Vec<Host> = cursor.list(matching::address)?;
    let port = if cursor.key("port") { Some(target_port(cursor)?) } else { None };
    let static_port = pool_options(cursor)?;
    Ok(Pool { hosts, port, static_port })
}

fn once(cursor: &Cursor, already: bool, message: &str) -> Parsed<()> {
    if already { cursor.fail(message) } else { Ok(()) }
}

/// `tag name`, its word taken.
pub fn tag(cursor: &mut Cursor) -> Parsed<String> {
    let tag = cursor.names()?;
    if tag.len() > 63 {
        return cursor.fail("tag too long, max 63 chars");
    }
    Ok(tag)
}

fn option(cursor: &mut Cursor, rule: &mut Rule) -> Parsed<()> {
    let freebsd = cursor.freebsd();
    if cursor.is_sign("!") {
        cursor.next();
        if !freebsd && cursor.key("received-on") {
            return matching::interface(cursor).map(drop);
        }
        cursor.expect_key("tagged")?;
        rule.tagged = Some((true, tag(cursor)?));
        return Ok(());
    }
    let Token::Key(word) = cursor.peek().clone() else { return cursor.syntax() };
    match word.as_str() {
        "route-to" | "reply-to" | "dup-to" if !freebsd => {
            once(cursor, rule.route.is_some(), "cannot respecify route-to/reply-to/dup-to")?;
            rule.route = routing(cursor)?;
            return Ok(());
        }
        _ => drop(cursor.next()),
    }
    match word.as_str() {
        "user" | "group" => {
            cursor.list(matching::owner)?;
            rule.matching.owned = true;
        }
        "flags" => {
            once(cursor, rule.flags_written, "flags cannot be redefined")?;
            rule.flags_written = true;
            rule.flags = matching::flags(cursor)?;
        }
        "icmp-type" | "icmp6-type" => {
            once(cursor, rule.icmp.is_some(), "icmp-type cannot be redefined")?;
            cursor.list(matching::icmp_type)?;
            rule.icmp = Some(if word == "icmp-type" { Family::Inet } else { Family::Inet6 });
        }
        "tos" => drop(cursor.next()),
        "no" | "keep" | "modulate" | "synproxy" => {
            once(cursor, rule.state.is_some(), "modulate or keep cannot be redefined")?;
            state(cursor, rule, &word)?;
        }
        "fragment" => rule.fragment = true,
        "allow-opts" => rule.allow_opts = true,
        "label" => {
            once(cursor, !freebsd && !rule.labels.is_empty(), "label cannot be redefined")?;
            once(cursor, rule.labels.len() == 5, "label can only be used 5 times")?;
            let label = cursor.name()?;
            if label.len() > 63 {
                return cursor.fail("rule label too long (max 63 chars)");
            }
            rule.labels.push(label);
        }
        "queue" => queue(cursor, rule)?,
        "set" => sets(cursor, rule)?,
        "tag" => rule.tag = Some(tag(cursor)?),
        "tagged" => rule.tagged = Some((false, tag(cursor)?)),
        "probability" | "dnpipe" | "dnqueue" | "ridentifier" | "prio"
            if freebsd || word == "probability" || word == "prio" =>
        {
            if cursor.is_sign("(") {
                cursor.parenthesised(|cursor| cursor.number(65535).map(drop))?;
            } else {
                cursor.next();
            }
        }
        "rtable" => rule.rtable = Some(cursor.number(255)? as u16),
        "divert-to" => divert(cursor, rule)?,
        "divert-reply" if freebsd => return cursor.fail("divert-reply has no meaning in FreeBSD pf(4)"),
        "divert-reply" => {
            once(cursor, rule.divert_to.is_some() || rule.divert_reply, "more than one divert option")?;
            rule.divert_reply = true;
        }
        "scrub" => cursor.parenthesised(scrub_option)?,
        "rdr-to" => {
            once(cursor, rule.rdr_to.is_some(), "cannot respecify rdr-to")?;
            rule.rdr_to = Some(pool(cursor)?);
        }
        "nat-to" | "binat-to" => {
            once(cursor, rule.nat_to.is_some(), "cannot respecify nat-to/binat-to")?;
            rule.nat_to = Some(pool(cursor)?);
            rule.binat_to = word == "binat-to";
        }
        "received-on" if !freebsd => drop(matching::interface(cursor)?),
        "once" => rule.once = true,
        "max-pkt-rate" => {
            cursor.number(i64::from(u32::MAX))?;
            cursor.expect_sign("/")?;
            cursor.number(i64::from(u32::MAX))?;
        }
        _ => return cursor.fail(format!("syntax error at `{word}`")),
    }
    Ok(())
}

/// One option of `scrub (…)` and of FreeBSD's scrub rules.
pub fn scrub_option(cursor: &mut Cursor) -> Parsed<()> {
    if cursor.key("no-df") || cursor.key("random-id") {
        return Ok(());
    }
    if cursor.key("min-ttl") || cursor.key("max-mss") {
        return cursor.number(65535).map(drop);
    }
    if cursor.key("reassemble") && cursor.word("tcp") {
        return Ok(());
    }
    if cursor.freebsd() && cursor.key("set-tos") {
        cursor.next();
        return Ok(());
    }
    cursor.syntax()
}

fn queue(cursor: &mut Cursor, rule: &mut Rule) -> Parsed<()> {
    once(cursor, rule.queue.is_some(), "queue cannot be redefined")?;
    let mut names = Vec::new();
    if cursor.is_sign("(") {
        cursor.parenthesised(|cursor| {
            names.push(cursor.name()?);
            Ok(())
        })?;
    } else {
        names.push(cursor.name()?);
    }
    if names.len() > 2 {
        return cursor.syntax();
    }
    if names.iter().any(|name| name.len() > 63) {
        return cursor.fail("rule qname too long (max 63 chars)");
    }
    rule.queue = names.into_iter().next();
    Ok(())
}

/// `set prio 5`, `set queue q`, `set (prio (1, 2), queue q)`.
fn sets(cursor: &mut Cursor, rule: &mut Rule) -> Parsed<()> {
    let mut one = |cursor: &mut Cursor| {
        if cursor.key("prio") {
            if cursor.is_sign("(") {
                return cursor.parenthesised(|cursor| cursor.number(7).map(drop));
            }
            return cursor.number(7).map(drop);
        }
        if cursor.key("tos") {
            cursor.next();
            return Ok(());
        }
        // FreeBSD knows `queue q` only.
        if !cursor.freebsd() && cursor.key("queue") {
            return queue(cursor, rule);
        }
        if !cursor.freebsd() && cursor.key("delay") {
            return cursor.number(65535).map(drop);
        }
        cursor.syntax()
    };
    if cursor.is_sign("(") { cursor.parenthesised(one) } else { one(cursor) }
}

fn divert(cursor: &mut Cursor, rule: &mut Rule) -> Parsed<()> {
    once(cursor, rule.divert_to.is_some() || rule.divert_reply, "more than one divert option")?;
    let Host::Net(net) = matching::address(cursor)? else {
        return cursor.fail("could not parse divert address");
    };
    cursor.expect_key("port")?;
    let port = matching::port(cursor)?;
    if port == 0 {
        return cursor.fail("invalid divert port: 0");
    }
    rule.divert_to = Some((net.address, port));
    Ok(())
}

fn state(cursor: &mut Cursor, rule: &mut Rule, word: &str) -> Parsed<()> {
    cursor.expect_key("state")?;
    rule.state = Some(match word {
        "no" => State::None,
        "keep" => State::Keep,
        "modulate" => State::Modulate,
        _ => State::Synproxy,
    });
    // `no state` has no options.
    if word != "no" && cursor.is_sign("(") {
        rule.state_options = true;
        cursor.parenthesised(|cursor| state_option(cursor, rule))?;
    }
    Ok(())
}

/// What `set state-defaults` takes: options without parentheses.
pub fn state_options(cursor: &mut Cursor, rule: &mut Rule) -> Parsed<()> {
    while *cursor.peek() != Token::NewLine {
        state_option(cursor, rule)?;
        cursor.sign(",");
    }
    Ok(())
}

fn state_option(cursor: &mut Cursor, rule: &mut Rule) -> Parsed<()> {
    let any = i64::from(u32::MAX);
    if cursor.key("max") {
        once(cursor, rule.max.is_some(), "state option 'max' multiple definitions")?;
        rule.max = Some(cursor.number(any)? as u32);
        return Ok(());
    }
    if ["no-sync", "sloppy", "pflow", "if-bound", "floating"].into_iter().any(|word| cursor.key(word)) {
        return Ok(());
    }
    if cursor.key("source-track") {
        let _ = cursor.key("rule") || cursor.key("global");
        return Ok(());
    }
    if let Some(word) = ["max-src-nodes", "max-src-states", "max-src-conn"].into_iter().find(|word| cursor.key(word)) {
        return if cursor.number(any)? == 0 { cursor.fail(format!("'{word}' must be > 0")) } else { Ok(()) };
    }
    if cursor.key("max-src-conn-rate") {
        cursor.number(any)?;
        cursor.expect_sign("/")?;
        return cursor.number(any).map(drop);
    }
    if cursor.key("overload") {
        matching::address(cursor)?;
        if cursor.key("flush") {
            let _ = cursor.key("global");
        }
        return Ok(());
    }
    match cursor.peek().clone() {
        Token::Word(name) if words::timeout(cursor.dialect, &name) && name.contains('.') => {
            cursor.next();
            cursor.number(any).map(drop)
        }
        Token::Word(name) => cursor.fail(format!("illegal timeout name {name}")),
        _ => cursor.syntax(),
    }
}
