//! The closed sets of words: what each dialect reserves, protocols, services, timeouts, limits.
//!
//! From the keyword tables and man pages of FreeBSD 14 and OpenBSD 7.x. A reserved word cannot be a name without quotes.

use super::ast::Dialect;

/// Reserved by both.
const COMMON: &str = "all allow-opts anchor antispoof any bandwidth bitmask block block-policy code const counters debug \
    divert-reply divert-to drop dup-to file fingerprints flags floating flush for fragment from global group hostid icmp-type \
    icmp6-type if-bound in include inet inet6 interval keep label limit load log loginterface match max max-mss max-src-conn \
    max-src-conn-rate max-src-nodes max-src-states min-ttl modulate no no-df no-route no-sync on optimization os out \
    overload pass pflow port prio probability proto qlimit queue quick random random-id rdomain reassemble received-on \
    reply-to return return-icmp return-icmp6 return-rst round-robin route route-to rtable rule ruleset-optimization scrub set \
    skip sloppy source-hash source-track state state-defaults state-policy static-port sticky-address syncookies synproxy \
    table tag tagged target timeout to tos ttl urpf-failed user";

/// Reserved by FreeBSD alone.
const FREEBSD: &str = "altq binat binat-anchor bridge-to cbq code codelq crop dnpipe dnqueue drop-ovl ether fail-policy fairq \
    fastroute hfsc keepcounters l3 linkshare map-e-portset nat nat-anchor priority priq rdr rdr-anchor realtime require-order \
    ridentifier set-tos tbrsize upperlimit";

/// Reserved by OpenBSD alone.
const OPENBSD: &str = "af-to binat-to burst default delay divert-packet flows least-states matches max-pkt-rate min \
    nat-to once parent quantum rdr-to weight";

fn holds(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|reserved| reserved == word)
}

/// Whether `word` has a meaning of its own.
pub fn reserved(dialect: Dialect, word: &str) -> bool {
    let own = match dialect {
        Dialect::FreeBsd => FREEBSD,
        Dialect::OpenBsd => OPENBSD,
    };
    holds(COMMON, word) || holds(own, word)
}

/// The number of a protocol of protocols(5).
pub fn protocol(name: &str) -> Option<u8> {
    let known = [
        ("icmp", 1),
        ("igmp", 2),
        ("ipencap", 4),
        ("tcp", 6),
        ("udp", 17),
        ("ipv6", 41),
        ("gre", 47),
        ("esp", 50),
        ("ah", 51),
        ("icmp6", 58),
        ("ipv6-icmp", 58),
        ("ospf", 89),
        ("etherip", 97),
        ("pim", 103),
        ("carp", 112),
        ("sctp", 132),
        ("pfsync", 240),
    ];
    known.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The port of a service of services(5).
pub fn service(name: &str) -> Option<u16> {
    let known = [
        ("ftp-data", 20),
        ("ftp", 21),
        ("ssh", 22),
        ("telnet", 23),
        ("smtp", 25),
        ("domain", 53),
        ("bootps", 67),
        ("bootpc", 68),
        ("www", 80),
        ("http", 80),
        ("auth", 113),
        ("ntp", 123),
        ("https", 443),
        ("isakmp", 500),
        ("syslog", 514),
        ("ftps-data", 989),
        ("ftps", 990),
        ("imaps", 993),
        ("ftp-proxy", 8021),
    ];
    known.iter().find(|(known, _)| *known == name).map(|(_, port)| *port)
}

/// Whether `set timeout NAME` and state options know this name.
pub fn timeout(dialect: Dialect, name: &str) -> bool {
    let common = "tcp.first tcp.opening tcp.established tcp.closing tcp.finwait tcp.closed tcp.tsdiff udp.first udp.single \
        udp.multiple icmp.first icmp.error other.first other.single other.multiple frag src.track adaptive.start \
        adaptive.end";
    let sctp = "sctp.first sctp.opening sctp.established sctp.closing sctp.closed";
    holds(common, name) || (dialect == Dialect::FreeBsd && holds(sctp, name))
}

/// The memory pools of `set limit`, with what they hold when nothing is set.
pub fn limits(dialect: Dialect) -> &'static [(&'static str, u64)] {
    match dialect {
        Dialect::FreeBsd => &[
            ("states", 100_000),
            ("src-nodes", 10_000),
            ("frags", 5_000),
            ("table-entries", 200_000),
            ("anchors", 512),
        ],
        Dialect::OpenBsd => &[
            ("states", 100_000),
            ("src-nodes", 10_000),
            ("frags", 65_536),
            ("tables", 1_000),
            ("table-entries", 200_000),
            ("pktdelay-pkts", 10_000),
            ("anchors", 512),
        ],
    }
}

/// Names of ICMP types that pf knows, IPv4 and IPv6.
pub fn icmp_type(name: &str) -> bool {
    holds(
        "echorep unreach squench redir althost echoreq routeradv routersol timex paramprob timereq timerep inforeq inforep \
         maskreq maskrep trace dataconv mobredir toobig groupqry listqry grouprep listenrep groupterm listendone neighbrsol \
         neighbradv routrrenum wrureq wrurep fqdnreq fqdnrep niqry nirep mtraceresp mtrace photuris",
        name,
    )
}

/// Names of ICMP codes.
pub fn icmp_code(name: &str) -> bool {
    holds(
        "net-unr host-unr proto-unr port-unr needfrag srcfail net-unk host-unk isolate net-prohib host-prohib net-tos \
         host-tos filter-prohib host-preced cutoff-preced redir-net redir-host redir-tos-net redir-tos-host normal-adv \
         common-adv transit reassemb badhead optmiss badlen admin-unr noroute-unr notnbr-unr beyond-unr addr-unr",
        name,
    )
}
