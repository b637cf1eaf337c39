//! The rules of `ftps: terminate` and of `listeners[].tls`.
//!
//! Lives here: [`section`]. Not here: what is in the files (`tls`), of which `check` and the start of the daemon find the faults.

use super::super::raw::{RawTls, Scalar};
use super::super::values::Fault;
use super::super::{Ftps, Mode, ServerTls, Tls};
use super::{Keyed, absolute, switch, word};

/// The section, for a listener that ends TLS. `listener` is the key of the listener with its dot.
pub(super) fn section(
    listener: &str,
    raw: Option<RawTls>,
    ftps: Ftps,
    mode: Mode,
    relayed: bool,
) -> Keyed<Option<Tls>> {
    let at = |name: &str| format!("{listener}tls.{name}");
    if ftps != Ftps::Terminate {
        return match raw {
            None => Ok(None),
            Some(_) => faulty(
                format!("{listener}tls"),
                "this section is for TLS that ends at the gateway, and here none does",
                "add `ftps: terminate` to the listener, or remove the section",
            ),
        };
    }
    let ftps = format!("{listener}ftps");
    match mode {
        Mode::Reverse => {}
        Mode::Forward => {
            return faulty(
                ftps,
                "in mode: forward clients mean to speak with servers of others, for which the gateway has no certificate",
                "use `mode: reverse` with `server`, or `ftps: pass`",
            );
        }
        Mode::Login => {
            return faulty(
                ftps,
                "in mode: login clients ask for TLS before they name their server, which this version cannot do",
                "use `mode: reverse` with `server`, or `ftps: pass`",
            );
        }
    }
    if !relayed {
        return faulty(
            ftps,
            "data connections have TLS too, and a packet filter cannot speak it",
            "add `data: relay` to the listener, or use firewall.backend: relay",
        );
    }
    let raw = raw.unwrap_or_default();
    let needed = |name: &str, value: Option<Scalar>| match value {
        Some(value) => absolute(&at(name), &value),
        None => faulty(
            at(name),
            "TLS that ends here needs a certificate and its key",
            "add tls: { certificate: /etc/ftpgate/cert.pem, key: /etc/ftpgate/key.pem } to the listener",
        ),
    };
    let server = word(&at("server"), raw.server.as_ref(), ServerTls::Plain, &[])?;
    let tls = Tls {
        certificate: needed("certificate", raw.certificate)?,
        key: needed("key", raw.key)?,
        implicit: switch(&at("implicit"), raw.implicit.as_ref(), false)?,
        require: switch(&at("require"), raw.require.as_ref(), false)?,
        ccc: switch(&at("ccc"), raw.ccc.as_ref(), false)?,
        server,
        server_ca: raw.server_ca.map(|value| absolute(&at("server_ca"), &value)).transpose()?,
        server_name: raw.server_name.map(|value| value.0),
        server_verify: switch(&at("server_verify"), raw.server_verify.as_ref(), true)?,
    };
    about_servers(&tls, at)?;
    Ok(Some(tls))
}

fn faulty<T>(key: String, problem: &str, remedy: &str) -> Keyed<T> {
    Err((key, Fault::new(problem, remedy)))
}

/// What is said about the server's certificate must have an effect, and be enough.
fn about_servers(tls: &Tls, at: impl Fn(&str) -> String) -> Keyed<()> {
    let (plain, unverified) = (tls.server == ServerTls::Plain, !tls.server_verify);
    let said = [("server_ca", tls.server_ca.is_some()), ("server_name", tls.server_name.is_some())];
    for (key, _) in said.into_iter().filter(|(_, is_said)| *is_said) {
        if plain {
            return faulty(at(key), "the server is spoken to in clear text", "add `server: explicit`, or remove this");
        } else if unverified {
            return faulty(
                at(key),
                "the server's certificate is not looked at (server_verify: false)",
                "remove one of the two",
            );
        }
    }
    if !plain && !unverified && tls.server_ca.is_none() {
        return faulty(
            at("server"),
            "nothing says which certificate proves that the server is the right one",
            "add `server_ca: FILE` (the server's own certificate, or that of its authority), or `server_verify: false` to trust \
             whoever answers",
        );
    }
    Ok(())
}
