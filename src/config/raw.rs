//! The shape of the configuration file, before anything is known to make sense.
//!
//! Lives here: one struct per section, every key, in the order of the documentation. Single values stay text ([`Scalar`]), so
//! that `validate.rs` can say in its own words what is wrong with them. No untagged enums: for those serde forgets line and
//! column. Not here: defaults (`defaults.rs`), meaning (`mod.rs`), the way back from meaning to this shape (`render.rs`).

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    /// Where clients arrive; the only key without a default.
    pub(super) listeners: Option<Vec<RawListener>>,
    /// How pinholes are opened.
    pub(super) firewall: Option<RawFirewall>,
    /// Data connections.
    pub(super) data: Option<RawData>,
    /// Bounds on what clients can use up.
    pub(super) limits: Option<RawLimits>,
    /// Bounds on how long things take.
    pub(super) timeouts: Option<RawTimeouts>,
    /// Who may do what.
    pub(super) policy: Option<RawPolicy>,
    /// The Prometheus endpoint; `null` turns it off.
    #[serde(default, deserialize_with = "given")]
    pub(super) metrics: Option<Option<RawMetrics>>,
    /// The program's own log.
    pub(super) log: Option<RawLog>,
    /// The control socket.
    pub(super) control: Option<RawControl>,
    /// The user to become after binding; `null` stays as started.
    #[serde(default, deserialize_with = "given")]
    pub(super) user: Option<Option<Scalar>>,
}

/// One entry of `listeners`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListener {
    /// Label in logs and metrics; default: `listener1`, `listener2`, …
    pub(super) name: Option<Scalar>,
    /// Addresses to listen on, one or a list.
    pub(super) listen: Option<OneOrMany>,
    /// forward | reverse | login.
    pub(super) mode: Option<Scalar>,
    /// redirect | tproxy | divert | direct.
    pub(super) capture: Option<Scalar>,
    /// gateway | client | an address to bind, or one for each family.
    pub(super) source: Option<OneOrMany>,
    /// pass | refuse | terminate | bridge.
    pub(super) ftps: Option<Scalar>,
    /// `ftps: terminate`: certificates, and what is secured.
    pub(super) tls: Option<RawTls>,
    /// Reverse mode: the server, one or a list.
    pub(super) server: Option<OneOrMany>,
    /// Reverse mode: the address announced to clients, one for each family.
    pub(super) external_address: Option<OneOrMany>,
    /// `ftps: pass`: the server's own passive range.
    pub(super) passive_ports: Option<Scalar>,
    /// PROXY headers.
    pub(super) proxy_protocol: Option<RawProxyProtocol>,
    /// relay: data connections are relayed behind the packet filter.
    pub(super) data: Option<Scalar>,
    /// Forward mode: the prefix below which IPv6 clients find IPv4 servers.
    pub(super) nat64: Option<Scalar>,
    /// In place of `policy` of the whole file.
    pub(super) policy: Option<RawPolicy>,
}

/// `listeners[].tls`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    /// What clients are shown.
    pub(super) certificate: Option<Scalar>,
    /// Its key.
    pub(super) key: Option<Scalar>,
    /// Whether clients begin with TLS.
    pub(super) implicit: Option<Scalar>,
    /// Whether there is nothing without TLS.
    pub(super) require: Option<Scalar>,
    /// Whether CCC is allowed.
    pub(super) ccc: Option<Scalar>,
    /// plain | explicit.
    pub(super) server: Option<Scalar>,
    /// Whose certificates servers must have.
    pub(super) server_ca: Option<Scalar>,
    /// The name in the server's certificate.
    pub(super) server_name: Option<Scalar>,
    /// Whether servers must prove who they are.
    pub(super) server_verify: Option<Scalar>,
}

/// `listeners[].proxy_protocol`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProxyProtocol {
    /// Networks whose connections begin with a header, one or a list.
    pub(super) accept_from: Option<OneOrMany>,
    /// Whether clients' data connections come from there too, each with a header.
    pub(super) data: Option<Scalar>,
    /// off | v1 | v2: what servers are sent.
    pub(super) send: Option<Scalar>,
}

/// `firewall`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFirewall {
    /// nftables | pf | relay | dry-run.
    pub(super) backend: Option<Scalar>,
    /// For `backend: nftables`.
    pub(super) nftables: Option<RawNftables>,
    /// For `backend: pf`.
    pub(super) pf: Option<RawPf>,
}

/// `firewall.nftables`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNftables {
    /// The name of the `inet` table.
    pub(super) table: Option<Scalar>,
    /// managed | sets.
    pub(super) ownership: Option<Scalar>,
    /// The bits of the conntrack mark that ftpgate sets.
    pub(super) mark: Option<Scalar>,
    /// The bits of the conntrack mark that belong to ftpgate.
    pub(super) mask: Option<Scalar>,
}

/// `firewall.pf`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPf {
    /// The name of the anchor.
    pub(super) anchor: Option<Scalar>,
    /// The tag that data connections get.
    pub(super) tag: Option<Scalar>,
    /// The queue that data connections are put in.
    pub(super) queue: Option<Scalar>,
    /// The routing table that data connections are routed by.
    pub(super) rtable: Option<Scalar>,
    /// Whether the rules log.
    pub(super) log: Option<Scalar>,
    /// freebsd | openbsd.
    pub(super) dialect: Option<Scalar>,
    /// Where pfctl(8) is.
    pub(super) pfctl: Option<Scalar>,
}

/// `data`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawData {
    /// Ports for entrances on the gateway's addresses.
    pub(super) ports: Option<Scalar>,
    /// How long a pinhole waits for its connection.
    pub(super) pinhole_timeout: Option<Scalar>,
    /// How long a data connection may be silent.
    pub(super) idle_timeout: Option<Scalar>,
    /// reset | drain | keep.
    pub(super) on_control_close: Option<Scalar>,
    /// `on_control_close: drain`: how long they may take.
    pub(super) drain_timeout: Option<Scalar>,
    /// conntrack | states | off.
    pub(super) tracking: Option<Scalar>,
    /// leave | enable.
    pub(super) accounting: Option<Scalar>,
    /// as-client | passive | active.
    pub(super) server_mode: Option<Scalar>,
}

/// `limits`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    /// Sessions in all.
    pub(super) sessions: Option<Scalar>,
    /// Sessions of one client address.
    pub(super) sessions_per_client: Option<Scalar>,
    /// Longest control line in bytes.
    pub(super) line_length: Option<Scalar>,
    /// Commands that may wait for their replies.
    pub(super) pipeline: Option<Scalar>,
}

/// `timeouts`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTimeouts {
    /// How long a PROXY header may take.
    pub(super) proxy_header: Option<Scalar>,
    /// How long connecting to the server may take.
    pub(super) connect: Option<Scalar>,
    /// How long a client may take to log in.
    pub(super) login: Option<Scalar>,
    /// How long a session may be silent.
    pub(super) idle: Option<Scalar>,
}

/// `policy`, and `listeners[].policy`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    /// The servers that may be reached, one or a list; `null` is no list.
    pub(super) servers: Option<OneOrMany>,
}

/// `metrics`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    /// The address that answers `/metrics`, `/healthz` and `/readyz`.
    pub(super) listen: Option<Scalar>,
}

/// `log`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    /// error | warn | info | debug | trace.
    pub(super) level: Option<Scalar>,
    /// text | json.
    pub(super) format: Option<Scalar>,
    /// An xferlog file; `null` is none.
    pub(super) transfers: Option<Scalar>,
}

/// `control`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawControl {
    /// The path of the socket; `null` is none.
    #[serde(default, deserialize_with = "given")]
    pub(super) socket: Option<Option<Scalar>>,
}

/// Tells `key: null` (which becomes `Some(None)`) from a key that is not there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// A single value, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scalar(pub(super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Single;
        impl Visitor<'_> for Single {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a single value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }
        }
        // As text, so that 0x10000000 or 60 arrive as they were written.
        deserializer.deserialize_str(Single)
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.parse::<u64>() {
            Ok(number) if number.to_string() == self.0 => serializer.serialize_u64(number),
            _ => serializer.serialize_str(&self.0),
        }
    }
}

/// One value or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct OneOrMany(pub(super) Vec<Scalar>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or a list of values")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![Scalar(text.to_owned())]))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<OneOrMany, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<OneOrMany, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<OneOrMany, E> {
                self.visit_str(if value { "true" } else { "false" })
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<OneOrMany, E> {
                Err(E::custom("a value or a list of values is needed"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrMany, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
