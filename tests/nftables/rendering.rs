//! The two renderings of the ruleset, text and netlink, are the same to the kernel and to nft.

use ftpgate::firewall::nftables::{Ownership, Settings, text};

use crate::lab::Namespace;

/// What nft shows of the ruleset in `namespace`, without what tells the owner.
fn listed(namespace: &Namespace, how: &str, table: &str) -> String {
    let text = namespace.nft(&format!("{how}list table inet {table}"));
    let lines = text.lines().map(|line| line.split(" # progname").next().unwrap_or_default());
    let lines: Vec<_> = lines.filter(|line| line.trim() != "flags owner").collect();
    // nft puts an empty line after the flags.
    lines.join("\n").replacen("{\n\n", "{\n", 1)
}

fn settings() -> [Settings; 4] {
    let default = Settings::default();
    [
        default.clone(),
        Settings { mark: 0x0002, mask: 0x00ff, table: "other-table".to_owned(), ..default.clone() },
        Settings { mark: 0xffff_ffff, mask: 0xffff_ffff, ..default.clone() },
        Settings { ranges: vec![(50000, 50100), (2121, 2121)], ..default },
    ]
}

#[test]
fn the_managed_table_is_what_its_text_says() {
    for settings in settings() {
        let (by_netlink, by_text) = (Namespace::new(), Namespace::new());
        let _backend = by_netlink.backend(&settings);
        by_text.load(&text::managed(&settings).replace("\tflags owner\n", ""));
        for how in ["", "--debug=netlink "] {
            let (ours, theirs) = (listed(&by_netlink, how, &settings.table), listed(&by_text, how, &settings.table));
            assert!(theirs.contains("@pinhole6") && theirs.contains("snat6"), "{theirs}");
            assert_eq!(theirs.contains("@range_snat6_50000_50100"), !settings.ranges.is_empty(), "{theirs}");
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn the_text_of_the_managed_table_loads_with_its_owner() {
    Namespace::new().load(&text::managed(&Settings::default()));
}

#[test]
fn the_text_for_the_administrator_makes_the_same_ruleset() {
    for settings in settings() {
        let (by_netlink, by_text) = (Namespace::new(), Namespace::new());
        let _backend = by_netlink.backend(&settings);
        let settings = Settings { ownership: Ownership::Sets, ..settings };
        by_text.load(&text::sets(&settings));
        let how = "--debug=netlink ";
        assert_eq!(listed(&by_netlink, how, &settings.table), listed(&by_text, how, &settings.table));
        by_text.backend(&settings);
    }
}

#[test]
fn the_condition_for_the_forward_chain_loads() {
    for settings in settings() {
        let condition = text::mark_match(&settings);
        Namespace::new().load(&format!("table inet filter {{ chain forward {{ {condition} accept; }}; }}"));
    }
}
