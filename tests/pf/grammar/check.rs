//! What pfctl checks once it has read a rule: families that agree, ports with a protocol that has them, states only where states are kept.
//! And two things that it would let pass and that never do what was meant: `divert-to` on FreeBSD, tables that nobody defines.
//!
//! From the functions of both parse.y that judge a rule. Not here: syntax.

use super::Place;
use super::ast::{Action, Dialect, Direction, Error, Family, Host, Matching, Pool, Return, Rule, Ruleset, State};
use super::ast::{Ports, Translation, TranslationKind};
use super::cursor::Parsed;
use super::translation::as_rule;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

fn fail<T>(line: usize, message: impl Into<String>) -> Parsed<T> {
    Err(Error { line, message: message.into() })
}

/// Stops at the first condition that holds.
fn none_of(line: usize, wrong: &[(bool, &str)]) -> Parsed<()> {
    wrong.iter().find(|(holds, _)| *holds).map_or(Ok(()), |(_, message)| fail(line, *message))
}

/// Every table that is named is defined, here or in the main ruleset.
pub fn tables(matching: &Matching, line: usize, ruleset: &Ruleset, place: &Place<'_>) -> Parsed<()> {
    for (_, host) in matching.from.hosts.iter().chain(&matching.to.hosts) {
        if let Host::Table(name) = host
            && !ruleset.tables.iter().any(|table| table.name == *name)
            && !place.tables().contains(name)
        {
            return fail(line, format!("table <{name}> is not defined"));
        }
    }
    Ok(())
}

/// The families that are left when the rule says none itself. Fails where no combination of source and destination agrees.
fn family(rule: &Rule) -> Parsed<Option<Family>> {
    let matching = &rule.matching;
    let families = |hosts: &[(bool, Host)]| -> Vec<Option<Family>> {
        if hosts.is_empty() { vec![None] } else { hosts.iter().map(|(_, host)| host.family()).collect() }
    };
    let mut found = Vec::new();
    for from in families(&matching.from.hosts) {
        for to in families(&matching.to.hosts) {
            let stated: Vec<Family> = [matching.family, from, to].into_iter().flatten().collect();
            if stated.windows(2).all(|pair| pair[0] == pair[1]) {
                found.push(stated.first().copied());
            }
        }
    }
    match found.first() {
        None => fail(rule.line, "rule expands to no valid combination"),
        Some(first) => Ok(if found.iter().all(|other| other == first) { *first } else { None }),
    }
}

fn protocols(rule: &Rule) -> Parsed<()> {
    let matching = &rule.matching;
    let ports = !matching.from.ports.is_empty() || !matching.to.ports.is_empty();
    let lacks = |wanted: &[u8]| {
        matching.protocols.is_empty() || matching.protocols.iter().any(|protocol| !wanted.contains(protocol))
    };
    let icmp = match rule.icmp {
        Some(Family::Inet) => lacks(&[ICMP]),
        Some(Family::Inet6) => lacks(&[ICMP6]),
        None => false,
    };
    let of_other_family = match matching.family {
        Some(Family::Inet) => matching.protocols.contains(&ICMP6),
        Some(Family::Inet6) => matching.protocols.contains(&ICMP),
        None => false,
    };
    none_of(
        rule.line,
        &[
            (ports && lacks(&[TCP, UDP, SCTP]), "port only applies to tcp/udp"),
            (matching.owned && lacks(&[TCP, UDP]), "user only applies to tcp/udp"),
            (icmp, "icmp-type/code only applies to icmp"),
            (of_other_family, "proto icmp doesn't match address family"),
            (
                rule.flags.is_some() && !matching.protocols.is_empty() && !matching.protocols.contains(&TCP),
                "flags only apply to tcp",
            ),
            (rule.action == Action::Block(Return::Rst) && lacks(&[TCP]), "return-rst can only be applied to TCP rules"),
            (
                rule.fragment && (ports || rule.flags.is_some() || rule.icmp.is_some()),
                "fragments can be filtered only on IP header fields",
            ),
        ],
    )
}

fn states(dialect: Dialect, rule: &Rule) -> Parsed<()> {
    let keeps = matches!(rule.state, Some(State::Keep | State::Modulate | State::Synproxy));
    let blocks = matches!(rule.action, Action::Block(_));
    let matches = rule.action == Action::Match;
    none_of(
        rule.line,
        &[
            (blocks && keeps && dialect == Dialect::FreeBsd, "keep state on block rules doesn't make sense"),
            (
                rule.action != Action::Pass && keeps && dialect == Dialect::OpenBsd,
                "keep state is great, but only for pass rules",
            ),
            (rule.allow_opts && rule.action != Action::Pass, "allow-opts can only be specified for pass rules"),
            (
                rule.route.is_some() && rule.action == Action::Pass && !rule.keeps_state(),
                "route-to, reply-to and dup-to require keep state",
            ),
            (
                rule.route.is_some() && (matches || blocks),
                "route-to, reply-to and dup-to are not supported on match and block rules",
            ),
            (
                rule.route.as_deref().is_some_and(|kind| kind != "dup-to") && rule.direction.is_none(),
                "direction must be explicit with rules that specify routing",
            ),
        ],
    )
}

/// Addresses that a packet can be translated to.
fn pool(line: usize, pool: &Pool, family: Option<Family>) -> Parsed<()> {
    let fits = |host: &Host| match (host.family(), family) {
        (Some(host), Some(family)) => host == family,
        _ => true,
    };
    let single = pool.hosts.len() == 1;
    none_of(
        line,
        &[
            (!pool.hosts.iter().any(fits), "no translation address with matching address family found."),
            (
                !single && pool.hosts.iter().any(|host| !matches!(host, Host::Net(_))),
                "only addresses can be listed for redirection pools",
            ),
            (
                pool.static_port && pool.port.is_some(),
                "the 'static-port' option can't be used when specifying a port range",
            ),
        ],
    )
}

fn translations(rule: &Rule, family: Option<Family>) -> Parsed<()> {
    let matching = &rule.matching;
    let ported = |pool: &Option<Pool>| pool.as_ref().is_some_and(|pool| pool.port.is_some());
    let translates = rule.rdr_to.is_some() || rule.nat_to.is_some();
    let portless = matching.protocols.is_empty() || matching.protocols.iter().any(|p| ![TCP, UDP].contains(p));
    let blocks = matches!(rule.action, Action::Block(_));
    none_of(
        rule.line,
        &[
            (translates && blocks, "nat-to and rdr-to require keep state"),
            (translates && rule.action == Action::Pass && !rule.keeps_state(), "nat-to and rdr-to require keep state"),
            (translates && !rule.binat_to && rule.direction.is_none(), "nat-to and rdr-to require a direction"),
            // The kernel would take these two; what they do is for experts of asymmetric routing only.
            (
                rule.rdr_to.is_some() && rule.direction == Some(Direction::Out),
                "rdr-to works on incoming packets: write in",
            ),
            (
                rule.nat_to.is_some() && !rule.binat_to && rule.direction == Some(Direction::In),
                "nat-to works on outgoing packets: write out",
            ),
            ((ported(&rule.rdr_to) || ported(&rule.nat_to)) && portless, "port only applies to tcp/udp"),
        ],
    )?;
    for target in [&rule.rdr_to, &rule.nat_to].into_iter().flatten() {
        pool(rule.line, target, family)?;
    }
    Ok(())
}

/// A pass, block or match rule.
pub fn rule(dialect: Dialect, rule: &Rule, ruleset: &Ruleset, place: &Place<'_>) -> Parsed<()> {
    tables(&rule.matching, rule.line, ruleset, place)?;
    let family = family(rule)?;
    protocols(rule)?;
    states(dialect, rule)?;
    translations(rule, family)?;
    let diverts = rule.divert_to.is_some();
    none_of(
        rule.line,
        &[
            (
                diverts && dialect == Dialect::FreeBsd,
                "divert-to of FreeBSD reaches divert(4) sockets, not a listening program: use rdr",
            ),
            ((diverts || rule.divert_reply) && rule.action == Action::Match, "divert is not supported on match rules"),
            (diverts && rule.direction == Some(Direction::Out), "address specified for outgoing divert"),
            (diverts && rule.direction.is_none(), "divert-to needs the direction in"),
            (
                rule.divert_to.is_some_and(|(address, _)| family.is_some_and(|f| f != Family::of(address))),
                "address family mismatch for divert",
            ),
            (rule.once && rule.action != Action::Pass, "'once' only applies to pass rules"),
        ],
    )?;
    // pfctl looks only at the queues of the text it reads, even when it loads an anchor.
    if dialect == Dialect::OpenBsd
        && let Some(queue) = &rule.queue
        && !ruleset.queues.contains(queue)
    {
        return fail(rule.line, format!("queue {queue} is not defined"));
    }
    Ok(())
}

/// A nat, rdr or binat rule of FreeBSD.
pub fn translation(dialect: Dialect, rule: &Translation, ruleset: &Ruleset, place: &Place<'_>) -> Parsed<()> {
    debug_assert_eq!(dialect, Dialect::FreeBsd);
    tables(&rule.matching, rule.line, ruleset, place)?;
    let family = family(&as_rule(rule))?;
    protocols(&as_rule(rule))?;
    let word = match rule.kind {
        TranslationKind::Nat => "nat",
        TranslationKind::Rdr => "rdr",
        TranslationKind::Binat => "binat",
    };
    let Some(target) = &rule.target else {
        return if rule.no { Ok(()) } else { fail(rule.line, format!("'{word}' rule requires '-> address'")) };
    };
    if rule.no {
        return fail(rule.line, format!("'no {word}' rule does not need '->'"));
    }
    pool(rule.line, target, family)?;
    let portless =
        rule.matching.protocols.is_empty() || rule.matching.protocols.iter().any(|p| ![TCP, UDP].contains(p));
    let odd = rule.matching.to.ports.iter().any(|ports| !matches!(ports, Ports::Equal(_) | Ports::Range(..)));
    none_of(
        rule.line,
        &[
            (target.port.is_some() && portless, "rpool port only applies to tcp/udp"),
            (
                rule.kind == TranslationKind::Rdr && odd,
                "invalid port operator for rdr destination port, only = and : are valid",
            ),
            (
                rule.kind == TranslationKind::Rdr && target.static_port,
                "the 'static-port' option is only valid with nat rules",
            ),
            (rule.kind == TranslationKind::Binat && target.port.is_some(), "syntax error at `port`"),
        ],
    )
}
