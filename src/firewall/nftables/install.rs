//! Install: the messages that create, empty and remove what is ours.
//!
//! Lives here: table, sets, chains and rules as netlink messages, pure. Not here: the expressions of a rule
//! (`expressions`), single elements (`elements`), when to send which (`mod`, `verify`).
//!
//! Source of the numbers: `include/uapi/linux/netfilter/nf_tables.h`.

use super::Settings;
use super::expressions;
use super::message::{Attributes, Batch, Message, Subject, flag, kind};
use super::ruleset::{CHAINS, Chain, Hook, SET_SIZE, Set, length, sets, type_number};

/// `NFT_TABLE_F_OWNER`. Linux 5.12.
const OWNER: u32 = 2;
/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;

/// Creates the whole table; the kernel refuses if one of that name is there. Its text is `text::managed`.
pub(super) fn create(settings: &Settings) -> Batch {
    let mut messages = vec![table(settings)];
    for (set, id) in sets(&settings.ranges).zip(1..) {
        messages.push(new_set(settings, &set, id));
    }
    for chain in &CHAINS {
        messages.push(new_chain(settings, chain));
    }
    for chain in &CHAINS {
        for steps in chain.all_rules(&settings.ranges) {
            // NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS
            let expressions = expressions::rule(&steps, settings);
            let rule = Attributes::new().text(1, &settings.table).text(2, chain.name).nest(4, &expressions);
            messages.push(Message::new(Subject::Rule(chain.name), kind::NEWRULE, flag::CREATE | flag::APPEND, rule));
        }
    }
    Batch(messages)
}

/// `delete table inet ftpgate`
pub(super) fn remove(settings: &Settings) -> Batch {
    let name = Attributes::new().text(1, &settings.table);
    Batch(vec![Message::new(Subject::Table, kind::DELTABLE, 0, name)])
}

/// `flush set inet ftpgate pinhole4` for each of these: a deletion that names no element. A set must be there.
pub(super) fn flush(settings: &Settings, sets: impl IntoIterator<Item = Set>) -> Batch {
    let message = |set: Set| {
        let names = Attributes::new().text(1, &settings.table).text(2, &set.name());
        Message::new(Subject::Elements(set), kind::DELSETELEM, 0, names)
    };
    Batch(sets.into_iter().map(message).collect())
}

/// `add table inet ftpgate { flags owner; }`: NFTA_TABLE_NAME, NFTA_TABLE_FLAGS
fn table(settings: &Settings) -> Message {
    let table = Attributes::new().text(1, &settings.table).number(2, OWNER);
    Message::new(Subject::Table, kind::NEWTABLE, flag::CREATE | flag::EXCL, table)
}

/// `add set inet ftpgate pinhole4 { type ipv4_addr . ipv4_addr . inet_service; flags dynamic,timeout; size …; }`:
/// NFTA_SET_TABLE, _NAME, _FLAGS, _KEY_TYPE, _KEY_LEN, _DATA_TYPE, _DATA_LEN, _DESC { NFTA_SET_DESC_SIZE }, _ID. No columns
/// are described (NFTA_SET_DESC_CONCAT): the kernel wants that only where they are ranges.
fn new_set(settings: &Settings, set: &Set, id: u32) -> Message {
    let mut declaration = Attributes::new()
        .text(1, &settings.table)
        .text(2, &set.name())
        .number(3, set.flags())
        .number(4, type_number(&set.key()))
        .number(5, length(&set.key()));
    if set.is_map() {
        declaration = declaration.number(6, type_number(&set.data())).number(7, length(&set.data()));
    }
    declaration = declaration.nest(9, &Attributes::new().number(1, SET_SIZE)).number(10, id);
    Message::new(Subject::Set(*set), kind::NEWSET, flag::CREATE, declaration)
}

/// `add chain inet ftpgate pinhole { type filter hook prerouting priority -110; policy accept; }`:
/// NFTA_CHAIN_TABLE, _NAME, _HOOK { NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY }, _POLICY, _TYPE
fn new_chain(settings: &Settings, chain: &Chain) -> Message {
    let hook = match chain.hook {
        Hook::Prerouting => 0,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    };
    let hook = Attributes::new().number(1, hook).number(2, chain.priority.cast_unsigned());
    let declaration = Attributes::new()
        .text(1, &settings.table)
        .text(3, chain.name)
        .nest(4, &hook)
        .number(5, ACCEPT)
        .text(7, chain.kind);
    Message::new(Subject::Chain(chain.name), kind::NEWCHAIN, flag::CREATE, declaration)
}
