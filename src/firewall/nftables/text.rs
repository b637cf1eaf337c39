//! Text: the ruleset in nft's own language.
//!
//! Lives here: what `ftpgate rules` prints and the documentation shows; pure. Not here: creating it (`install`).

use std::fmt::Write as _;

use super::Settings;
use super::ruleset::{
    CHAINS, Chain, Column, DYNAMIC, Family, Hook, Role, SENDER_TIMEOUT, SET_SIZE, Set, Step, TIMEOUT, sets as all_sets,
};

/// The table that ftpgate creates for itself (`ownership: managed`), as a file for `nft -f`. Loaded by hand it is of no use:
/// its owner would be the `nft` that exits.
pub fn managed(settings: &Settings) -> String {
    format!("table inet {} {{\n\tflags owner\n\n{}}}\n", settings.table, declarations(settings))
}

/// What the administrator adds to their own ruleset (`ownership: sets`), as a file for `nft -f`: sets, maps and chains,
/// without which ftpgate does not start.
pub fn sets(settings: &Settings) -> String {
    format!("table inet {} {{\n{}}}\n", settings.table, declarations(settings))
}

/// The condition of the rule by which the administrator's own forward chain lets data connections pass, without its
/// verdict.
pub fn mark_match(settings: &Settings) -> String {
    format!("ct mark & {:#010x} == {:#010x}", settings.mask, settings.mark)
}

/// A set or map in one line, as it is written inside a table.
#[cfg(target_os = "linux")] // for those who look at a set
pub(super) fn set_line(set: &Set) -> String {
    let [keyword, kind, size, flags] = set_parts(set);
    format!("{keyword} {{ {kind}; {size}; {flags}; }}")
}

/// The inside of the table.
fn declarations(settings: &Settings) -> String {
    let mut text = String::new();
    for set in all_sets(&settings.ranges) {
        let [keyword, kind, size, flags] = set_parts(&set);
        let _ = write!(text, "\t# {}\n\t{keyword} {{\n\t\t{kind}\n\t\t{size}\n\t\t{flags}\n\t}}\n\n", purpose(&set));
    }
    let chains: Vec<_> = CHAINS.iter().map(|chain| chain_block(chain, settings)).collect();
    text.push_str(&chains.join("\n"));
    text
}

/// Name, type, size and flags of a set or map.
fn set_parts(set: &Set) -> [String; 4] {
    let keyword = if set.is_map() { "map" } else { "set" };
    let names = |columns: &[Column]| columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(" . ");
    let mut kind = format!("type {}", names(&set.key()));
    if set.is_map() {
        let _ = write!(kind, " : {}", names(&set.data()));
    }
    let words = [(DYNAMIC, "dynamic"), (TIMEOUT, "timeout")];
    let flags: Vec<_> = words.iter().filter(|(bit, _)| set.flags() & bit != 0).map(|(_, word)| *word).collect();
    [format!("{keyword} {}", set.name()), kind, format!("size {SET_SIZE}"), format!("flags {}", flags.join(","))]
}

/// What the columns of a set or map are.
fn purpose(set: &Set) -> &'static str {
    match set.role {
        Role::Permission => "who may dial . which address . which port, once",
        Role::Destination => "the same : where it really goes",
        Role::Source => "who dialled . where it really goes . which port : as whom it arrives there",
        Role::Reset => "whose packets . from which port . to whom . to which port: are answered with a reset",
        Role::RangePermission => {
            "who may dial . which address, at the ports of the name, while a session of theirs is TLS"
        }
        Role::RangeDestination => "the same : where it really goes, at the same port",
        Role::RangeSource => "who dialled . where it really goes : as whom it arrives there",
    }
}

/// A chain with its rules.
fn chain_block(chain: &Chain, settings: &Settings) -> String {
    let hook = match chain.hook {
        Hook::Prerouting => "prerouting",
        Hook::Forward => "forward",
        Hook::Output => "output",
        Hook::Postrouting => "postrouting",
    };
    let mut text = format!(
        "\tchain {} {{\n\t\ttype {} hook {hook} priority {}; policy accept;\n",
        chain.name, chain.kind, chain.priority
    );
    for steps in chain.all_rules(&settings.ranges) {
        let words: Vec<_> = steps.iter().filter_map(|step| step_text(*step, settings)).collect();
        let _ = writeln!(text, "\t\t{}", words.join(" "));
    }
    text.push_str("\t}\n");
    text
}

/// A step of a rule; `None` where the step after it implies it.
fn step_text(step: Step, settings: &Settings) -> Option<String> {
    Some(match step {
        Step::Tcp | Step::Is(_) => return None,
        Step::NewConnection => "ct state new".to_owned(),
        Step::Syn => "tcp flags & (fin | syn | rst | ack) == syn".to_owned(),
        Step::In(set) => format!("{} @{}", key(&set), set.name()),
        Step::Delete(set) => format!("delete @{} {{ {} }}", set.name(), key(&set)),
        Step::SetMark => format!("ct mark set ct mark & {:#010x} | {:#010x}", !settings.mask, settings.mark),
        Step::HasMark => mark_match(settings),
        Step::NoReset => "tcp flags & rst == 0".to_owned(),
        Step::Between(set) => format!("{} @{}", ends(set.family, ["s", "d"]), set.name()),
        Step::AddOpposite(set) => {
            format!("add @{} {{ {} timeout {SENDER_TIMEOUT}s }}", set.name(), ends(set.family, ["d", "s"]))
        }
        Step::Reject => "reject with tcp reset".to_owned(),
        Step::PortWithin((first, last)) if first == last => format!("tcp dport {first}"),
        Step::PortWithin((first, last)) => format!("tcp dport {first}-{last}"),
        Step::TranslateDestination(set) => {
            format!("dnat {} to {} map @{}", protocol(set.family), key(&set), set.name())
        }
        Step::TranslateSource(set) => {
            format!("snat {} to {} map @{}", protocol(set.family), key(&set), set.name())
        }
    })
}

/// The word for a family.
fn protocol(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// What a packet is looked up by.
fn key(set: &Set) -> String {
    let ip = protocol(set.family);
    let port = if set.ports.is_some() { "" } else { " . tcp dport" };
    format!("{ip} saddr . {ip} daddr{port}")
}

/// Both ends of a connection: `s` the source of a packet, `d` its destination.
fn ends(family: Family, order: [&str; 2]) -> String {
    let ip = protocol(family);
    order.map(|end| format!("{ip} {end}addr . tcp {end}port")).join(" . ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_as_in_the_manual() {
        assert_eq!(
            set_line(&super::super::ruleset::DNAT4),
            "map dnat4 { type ipv4_addr . ipv4_addr . inet_service : ipv4_addr . inet_service; size 131072; flags timeout; }"
        );
        let text = managed(&Settings { mark: 0x0100, mask: 0xff00, ..Settings::default() });
        let pinhole = "\
\tchain pinhole {
\t\ttype filter hook prerouting priority -110; policy accept;
\t\tct state new tcp flags & (fin | syn | rst | ack) == syn ip saddr . ip daddr . tcp dport @pinhole4 \
delete @pinhole4 { ip saddr . ip daddr . tcp dport } ct mark set ct mark & 0xffff00ff | 0x00000100
";
        assert!(text.contains(pinhole), "{text}");
        assert!(text.contains(
            "\t\tct mark & 0x0000ff00 == 0x00000100 snat ip6 to ip6 saddr . ip6 daddr . tcp dport map @snat6\n"
        ));
        assert!(text.contains(
            "\t\tct mark & 0x0000ff00 == 0x00000100 tcp flags & rst == 0 ip saddr . tcp sport . ip daddr . tcp dport @reset4 \
             add @reset4 { ip daddr . tcp dport . ip saddr . tcp sport timeout 60s } reject with tcp reset\n"
        ));
        assert!(text.starts_with("table inet ftpgate {\n\tflags owner\n"));
        assert!(!text.contains("range"), "nobody pays for what is not there");
        let text = managed(&Settings { ranges: vec![(50000, 50100), (2121, 2121)], ..Settings::default() });
        for part in [
            "\tset range4_50000_50100 {\n\t\ttype ipv4_addr . ipv4_addr\n\t\tsize 131072\n\t\tflags timeout\n\t}\n",
            "\t\tct state new tcp flags & (fin | syn | rst | ack) == syn tcp dport 50000-50100 \
             ip saddr . ip daddr @range4_50000_50100 ct mark set ct mark & 0xefffffff | 0x10000000\n",
            "\t\tct mark & 0x10000000 == 0x10000000 tcp dport 2121 dnat ip6 to ip6 saddr . ip6 daddr map @range_dnat6_2121_2121\n",
            "\t\tct mark & 0x10000000 == 0x10000000 tcp dport 50000-50100 snat ip to ip saddr . ip daddr map @range_snat4_50000_50100\n",
        ] {
            assert!(text.contains(part), "{part}\nin\n{text}");
        }
    }
}
