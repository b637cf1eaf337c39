//! The configuration as it is shipped and documented: nothing in it may drift from what the program does.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy exempts only functions marked #[test], not their helpers

use std::collections::BTreeSet;
use std::path::Path;

use ftpgate::config::{Config, Listener, Mode, Source};

fn project(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Everything at its default.
fn defaults() -> Config {
    Config::parse("listeners: [ { listen: \"0.0.0.0:8021\" } ]", "defaults").unwrap()
}

/// Every key of the configuration, such as `limits.sessions` or `listeners[].mode`.
fn every_key() -> BTreeSet<String> {
    fn collect(path: &str, value: &serde_json::Value, keys: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    collect(&path, value, keys);
                }
                if map.is_empty() {
                    keys.insert(path.to_owned());
                }
            }
            serde_json::Value::Array(list) if list.iter().any(serde_json::Value::is_object) => {
                list.iter().for_each(|value| collect(&format!("{path}[]"), value, keys));
            }
            _ => {
                keys.insert(path.to_owned());
            }
        }
    }
    let mut keys = BTreeSet::new();
    collect("", &defaults().to_json(), &mut keys);
    assert!(keys.len() >= 35, "{keys:?}");
    keys
}

#[test]
fn the_shipped_file_is_the_defaults() {
    let shipped =
        Config::parse(&project("deploy/ftpgate.yaml"), "deploy/ftpgate.yaml").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(shipped.warnings(), Vec::<String>::new());
    let [outbound] = shipped.listeners.as_slice() else { panic!("{:?}", shipped.listeners) };
    let Listener { mode, capture, source, ftps, .. } = defaults().listeners.remove(0);
    assert_eq!(
        (&outbound.mode, &outbound.capture, &outbound.source, &outbound.ftps),
        (&mode, &capture, &source, &ftps)
    );
    assert_eq!(Config { listeners: Vec::new(), ..shipped }, Config { listeners: Vec::new(), ..defaults() });
}

#[test]
fn the_shipped_file_has_every_key_with_a_comment() {
    let text = project("deploy/ftpgate.yaml");
    for key in every_key() {
        let name = key.rsplit('.').next().unwrap();
        // Keys of the example that is commented out count too.
        let line = text.lines().find(|line| line.trim_start_matches(['#', ' ', '-']).starts_with(&format!("{name}:")));
        let line = line.unwrap_or_else(|| panic!("deploy/ftpgate.yaml lacks {key}"));
        let explained = line.contains(" # ") || ["server", "mode", "listen"].contains(&name);
        assert!(explained, "deploy/ftpgate.yaml does not explain {key}: {line}");
    }
}

#[test]
fn the_commented_listeners_of_the_shipped_file_are_right() {
    let text = project("deploy/ftpgate.yaml");
    let with_dmz: String = text
        .lines()
        .map(|line| match line.strip_prefix("  # ") {
            Some(rest) if rest.starts_with("- name") || rest.starts_with("  ") => format!("  {rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = Config::parse(&with_dmz, "with dmz").unwrap_or_else(|error| panic!("{error}"));
    let [_, dmz, proxy] = config.listeners.as_slice() else { panic!("{with_dmz}") };
    assert_eq!((dmz.mode, dmz.servers.len(), dmz.external.len()), (Mode::Reverse, 2, 2));
    assert_eq!(dmz.source, Source::Gateway);
    assert_eq!(proxy.mode, Mode::Login);
    assert_eq!(config.servers_for(proxy).map(|servers| servers.entries().len()), Some(3));
}

#[test]
fn the_manual_has_every_key_and_its_default() {
    let text = project("docs/configuration.md");
    let config = defaults().to_json();
    for key in every_key() {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for `{key}`"));
        let pointer = format!("/{}", key.replace("[]", "/0").replace('.', "/"));
        let default = row.split('|').nth(2).unwrap().trim().trim_matches('`');
        let expected = match config.pointer(&pointer).unwrap() {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(list) => match list.as_slice() {
                [serde_json::Value::String(one)] => one.clone(),
                _ => continue,
            },
            other => other.to_string(),
        };
        // Where there is no default the manual says so in words.
        if ["listeners[].name", "listeners[].listen"].contains(&key.as_str()) || expected == "null" {
            continue;
        }
        assert_eq!(default, expected, "default of {key}");
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("| `")) {
        let key = line.split('`').next().unwrap();
        assert!(every_key().contains(key), "docs/configuration.md explains {key}, which is not there");
    }
}

/// The YAML examples of the manual are read as a user would paste them.
#[test]
fn the_examples_of_the_manual_are_right() {
    let text = ["docs/configuration.md", "docs/proxy-protocol.md", "docs/login.md"].map(project).concat();
    let examples: Vec<&str> =
        text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(examples.len() >= 4, "{examples:?}");
    for example in examples {
        let config = Config::parse(example, "example").unwrap_or_else(|error| panic!("{error}\n{example}"));
        assert_eq!(config.warnings(), Vec::<String>::new(), "{example}");
    }
}
