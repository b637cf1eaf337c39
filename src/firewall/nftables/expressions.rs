//! Expressions: a rule in the language of the kernel.
//!
//! Lives here: what each [`Step`] of a rule becomes, pure. Not here: which rules there are (`ruleset`), their text (`text`).
//!
//! Written to be the very expressions that nft 1.0.6 sends for the text, registers included. Each comment shows them as
//! `nft --debug=netlink` does. Source of the numbers: `include/uapi/linux/netfilter/nf_tables.h`.

use super::Settings;
use super::message::Attributes;
use super::ruleset::{Column, Family, SENDER_TIMEOUT, Set, Step};

/// The first register, `NFT_REG_1`: 16 bytes.
const REGISTER: u32 = 1;
/// The second one of 16 bytes.
const REGISTER_2: u32 = 2;
/// The third one of 16 bytes.
const REGISTER_3: u32 = 3;
/// The second 4 bytes of the first register, `NFT_REG32_01`.
const REGISTER_1_2: u32 = 9;
/// The third 4 bytes of the first register, `NFT_REG32_02`.
const REGISTER_1_3: u32 = 10;

/// The fourth 4 bytes of the first register, `NFT_REG32_03`.
const REGISTER_1_4: u32 = 11;
/// What lies behind 20 bytes, `NFT_REG32_05`.
const REGISTER_2_2: u32 = 13;
/// What lies behind 36 bytes, `NFT_REG32_09`.
const REGISTER_3_2: u32 = 17;

/// `NFT_PAYLOAD_NETWORK_HEADER`.
const NETWORK: u32 = 1;
/// `NFT_PAYLOAD_TRANSPORT_HEADER`.
const TRANSPORT: u32 = 2;

/// The payload of `NFTA_RULE_EXPRESSIONS` for a rule of these steps.
pub(super) fn rule(steps: &[Step], settings: &Settings) -> Attributes {
    let expressions = steps.iter().flat_map(|step| expressions(*step, settings));
    expressions.fold(Attributes::new(), |list, expression| list.nest(1, &expression))
}

/// The expressions of one step.
fn expressions(step: Step, settings: &Settings) -> Vec<Attributes> {
    match step {
        // ct load state => reg 1; bitwise reg 1 = ( reg 1 & 0x00000008 ) ^ 0; cmp neq reg 1 0
        Step::NewConnection => vec![
            ct_load(CT_STATE),
            bitwise(&STATE_NEW.to_ne_bytes(), &[0; 4]),
            compare(NOT_EQUAL, &0_u32.to_ne_bytes()),
        ],
        // meta load l4proto => reg 1; cmp eq reg 1 0x06
        Step::Tcp => vec![meta_load(META_L4PROTO), compare(EQUAL, &[6])],
        // payload load 1b @ transport header + 13 => reg 1; bitwise reg 1 = ( reg 1 & 0x17 ) ^ 0; cmp eq reg 1 0x02
        Step::Syn => {
            vec![payload(REGISTER, TRANSPORT, 13, 1), bitwise(&[0x17], &[0]), compare(EQUAL, &[0x02])]
        }
        // meta load nfproto => reg 1; cmp eq reg 1 0x02 (IPv6: 0x0a)
        Step::Is(family) => vec![meta_load(META_NFPROTO), compare(EQUAL, &[protocol(family)])],
        // payload …; lookup reg 1 set pinhole4
        Step::In(set) => key(&set).chain([lookup(&set)]).collect(),
        // payload …; dynset delete reg_key 1 set pinhole4
        Step::Delete(set) => key(&set).chain([delete(&set)]).collect(),
        // ct load mark => reg 1; bitwise reg 1 = ( reg 1 & ~MASK ) ^ MARK; ct set mark with reg 1
        Step::SetMark => vec![
            ct_load(CT_MARK),
            bitwise(&(!settings.mask).to_ne_bytes(), &settings.mark.to_ne_bytes()),
            expression("ct", &Attributes::new().number(2, CT_MARK).number(4, REGISTER)),
        ],
        // ct load mark => reg 1; bitwise reg 1 = ( reg 1 & MASK ) ^ 0; cmp eq reg 1 MARK
        Step::HasMark => vec![
            ct_load(CT_MARK),
            bitwise(&settings.mask.to_ne_bytes(), &[0; 4]),
            compare(EQUAL, &settings.mark.to_ne_bytes()),
        ],
        // payload load 1b @ transport header + 13 => reg 1; bitwise reg 1 = ( reg 1 & 0x04 ) ^ 0; cmp eq reg 1 0x00
        Step::NoReset => {
            vec![payload(REGISTER, TRANSPORT, 13, 1), bitwise(&[0x04], &[0]), compare(EQUAL, &[0])]
        }
        // payload …; lookup reg 1 set reset4
        Step::Between(set) => {
            ends(set.family, [Packet::Source, Packet::Destination]).into_iter().chain([lookup(&set)]).collect()
        }
        // payload …; dynset add reg_key 1 set reset4 timeout 60000ms
        Step::AddOpposite(set) => {
            ends(set.family, [Packet::Destination, Packet::Source]).into_iter().chain([add(&set)]).collect()
        }
        // reject type 1 code 0
        Step::Reject => vec![expression("reject", &Attributes::new().number(1, REJECT_TCP_RESET).put(2, &[0]))],
        // payload …; lookup reg 1 set dnat4 dreg 1; nat dnat ip addr_min reg 1 proto_min reg 9
        Step::TranslateDestination(set) => {
            key(&set).chain([lookup(&set), translation(&set, NAT_DESTINATION)]).collect()
        }
        // payload load 2b @ transport header + 2 => reg 1; cmp eq reg 1 PORT, or cmp gte reg 1 FIRST; cmp lte reg 1 LAST
        Step::PortWithin((first, last)) => {
            let port = payload(REGISTER, TRANSPORT, 2, 2);
            let [first, last] = [first, last].map(u16::to_be_bytes);
            if first == last {
                vec![port, compare(EQUAL, &first)]
            } else {
                vec![port, compare(AT_LEAST, &first), compare(AT_MOST, &last)]
            }
        }
        // payload …; lookup reg 1 set snat4 dreg 1; nat snat ip addr_min reg 1
        Step::TranslateSource(set) => key(&set).chain([lookup(&set), translation(&set, NAT_SOURCE)]).collect(),
    }
}

/// `NFT_META_NFPROTO`.
const META_NFPROTO: u32 = 15;
/// `NFT_META_L4PROTO`.
const META_L4PROTO: u32 = 16;
/// `NFT_CT_STATE`.
const CT_STATE: u32 = 0;
/// `NFT_CT_MARK`.
const CT_MARK: u32 = 3;
/// `NF_CT_STATE_BIT(IP_CT_NEW)`.
const STATE_NEW: u32 = 8;
/// `NFT_CMP_EQ`.
const EQUAL: u32 = 0;
/// `NFT_CMP_NEQ`.
const NOT_EQUAL: u32 = 1;
/// `NFT_CMP_LTE`.
const AT_MOST: u32 = 3;
/// `NFT_CMP_GTE`.
const AT_LEAST: u32 = 5;
/// `NFT_REJECT_TCP_RST`, in `NFTA_REJECT_TYPE`; `NFTA_REJECT_ICMP_CODE` is of no use to it.
const REJECT_TCP_RESET: u32 = 1;
/// `NFT_DYNSET_OP_ADD`.
const DYNSET_ADD: u32 = 0;
/// `NFT_DYNSET_OP_DELETE`.
const DYNSET_DELETE: u32 = 2;
/// `NFT_NAT_SNAT`.
const NAT_SOURCE: u32 = 0;
/// `NFT_NAT_DNAT`.
const NAT_DESTINATION: u32 = 1;

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
fn protocol(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// An element of the list: `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
fn expression(name: &str, data: &Attributes) -> Attributes {
    Attributes::new().text(1, name).nest(2, data)
}

/// `NFTA_DATA_VALUE`.
fn value(bytes: &[u8]) -> Attributes {
    Attributes::new().put(1, bytes)
}

/// `NFTA_META_DREG`, `NFTA_META_KEY`.
fn meta_load(key: u32) -> Attributes {
    expression("meta", &Attributes::new().number(1, REGISTER).number(2, key))
}

/// `NFTA_CT_DREG`, `NFTA_CT_KEY`. What it loads is a number in host order.
fn ct_load(key: u32) -> Attributes {
    expression("ct", &Attributes::new().number(1, REGISTER).number(2, key))
}

/// `NFTA_BITWISE_SREG`, `_DREG`, `_LEN`, `_MASK`, `_XOR`.
fn bitwise(mask: &[u8], xor: &[u8]) -> Attributes {
    let length = u32::try_from(mask.len()).unwrap_or_default();
    let registers = Attributes::new().number(1, REGISTER).number(2, REGISTER).number(3, length);
    expression("bitwise", &registers.nest(4, &value(mask)).nest(5, &value(xor)))
}

/// `NFTA_CMP_SREG`, `NFTA_CMP_OP`, `NFTA_CMP_DATA`.
fn compare(operator: u32, with: &[u8]) -> Attributes {
    expression("cmp", &Attributes::new().number(1, REGISTER).number(2, operator).nest(3, &value(with)))
}

/// `NFTA_PAYLOAD_DREG`, `_BASE`, `_OFFSET`, `_LEN`.
fn payload(register: u32, base: u32, offset: u32, length: u32) -> Attributes {
    expression("payload", &Attributes::new().number(1, register).number(2, base).number(3, offset).number(4, length))
}

/// Loads `ip saddr . ip daddr . tcp dport`, from register 1 on; without the port for a set that is for some ports only.
fn key(set: &Set) -> impl Iterator<Item = Attributes> + use<> {
    let columns = match set.family {
        Family::V4 => [
            payload(REGISTER, NETWORK, 12, 4),
            payload(REGISTER_1_2, NETWORK, 16, 4),
            payload(REGISTER_1_3, TRANSPORT, 2, 2),
        ],
        Family::V6 => [
            payload(REGISTER, NETWORK, 8, 16),
            payload(REGISTER_2, NETWORK, 24, 16),
            payload(REGISTER_3, TRANSPORT, 2, 2),
        ],
    };
    columns.into_iter().take(if set.ports.is_some() { 2 } else { 3 })
}

/// An end of a packet.
#[derive(Clone, Copy)]
enum Packet {
    Source,
    Destination,
}

/// Loads both ends in this order, each with its port, from register 1 on: `ip saddr . tcp sport . ip daddr . tcp dport`.
fn ends(family: Family, order: [Packet; 2]) -> [Attributes; 4] {
    let registers = match family {
        Family::V4 => [REGISTER, REGISTER_1_2, REGISTER_1_3, REGISTER_1_4],
        Family::V6 => [REGISTER, REGISTER_2, REGISTER_2_2, REGISTER_3_2],
    };
    let address = |register, end| match (family, end) {
        (Family::V4, Packet::Source) => payload(register, NETWORK, 12, 4),
        (Family::V4, Packet::Destination) => payload(register, NETWORK, 16, 4),
        (Family::V6, Packet::Source) => payload(register, NETWORK, 8, 16),
        (Family::V6, Packet::Destination) => payload(register, NETWORK, 24, 16),
    };
    let port = |register, end| match end {
        Packet::Source => payload(register, TRANSPORT, 0, 2),
        Packet::Destination => payload(register, TRANSPORT, 2, 2),
    };
    let ([first, second, third, fourth], [one, other]) = (registers, order);
    [address(first, one), port(second, one), address(third, other), port(fourth, other)]
}

/// `NFTA_LOOKUP_SET`, `_SREG`, and for a map `_DREG`.
fn lookup(set: &Set) -> Attributes {
    let found = Attributes::new().text(1, &set.name()).number(2, REGISTER);
    expression("lookup", &if set.is_map() { found.number(3, REGISTER) } else { found })
}

/// `NFTA_DYNSET_SET_NAME`, `_OP`, `_SREG_KEY`.
fn delete(set: &Set) -> Attributes {
    expression("dynset", &Attributes::new().text(1, &set.name()).number(3, DYNSET_DELETE).number(4, REGISTER))
}

/// `NFTA_DYNSET_SET_NAME`, `_OP`, `_SREG_KEY`, `_TIMEOUT` in milliseconds.
fn add(set: &Set) -> Attributes {
    let element = Attributes::new().text(1, &set.name()).number(3, DYNSET_ADD).number(4, REGISTER);
    expression("dynset", &element.long(6, SENDER_TIMEOUT * 1000))
}

/// `NFTA_NAT_TYPE`, `_FAMILY`, `_REG_ADDR_MIN`, and where the map has a port `_REG_PROTO_MIN`.
fn translation(set: &Set, kind: u32) -> Attributes {
    let address = Attributes::new().number(1, kind).number(2, protocol(set.family).into()).number(3, REGISTER);
    let port = match set.family {
        Family::V4 => REGISTER_1_2,
        Family::V6 => REGISTER_2,
    };
    let has_port = set.data().contains(&Column::Port);
    expression("nat", &if has_port { address.number(5, port) } else { address })
}

#[cfg(test)]
mod tests {
    use super::super::ruleset::length;
    use super::*;

    #[test]
    fn the_port_lies_where_the_registers_of_the_address_end() {
        // Registers of 16 bytes are numbered from 1, those of 4 bytes from 8.
        assert_eq!(length(&[Column::Address(Family::V4)]), 4 * (REGISTER_1_2 - 8));
        assert_eq!(length(&[Column::Address(Family::V6)]), 16 * (REGISTER_2 - 1));
        let [address, port] = [Column::Address(Family::V6), Column::Port];
        assert_eq!(length(&[address, port]), 4 * (REGISTER_2_2 - 8));
        assert_eq!(length(&[address, port, address]), 4 * (REGISTER_3_2 - 8));
    }
}
