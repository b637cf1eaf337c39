//! What pinholes let pass and what not, with real connections from a client through a gateway to a server.

use std::io::ErrorKind::{ConnectionRefused, TimedOut};
use std::net::SocketAddr;
use std::time::Duration;

use ftpgate::firewall::nftables::Settings;
use ftpgate::pinhole::Pinhole;

use crate::lab::{Lab, accept, close, families, nobody_arrived, open, pinhole};

#[test]
fn nothing_passes_without_a_pinhole() {
    let lab = Lab::dropping();
    let _backend = lab.gateway.backend(&Settings::default());
    for plan in families() {
        let target = SocketAddr::new(plan.server, 5000);
        let listener = lab.server.listen(target);
        assert_eq!(lab.client.connect(plan.client, target).unwrap_err().kind(), TimedOut);
        assert!(nobody_arrived(&listener));
    }
}

#[test]
fn forward_passive_passes_once_and_only_its_initiator() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&Settings::default());
    for plan in families() {
        let target = SocketAddr::new(plan.server, 5000);
        let listener = lab.server.listen(target);
        open(&mut backend, &[pinhole(plan.client, target, target, plan.client)]);

        assert_eq!(lab.client.connect(plan.stranger, target).unwrap_err().kind(), TimedOut, "a third host");
        let mut dialled = lab.client.connect(plan.client, target).unwrap();
        assert_eq!(accept(&listener, &mut dialled), plan.client);
        assert_eq!(lab.client.connect(plan.client, target).unwrap_err().kind(), TimedOut, "a second connection");
        assert!(nobody_arrived(&listener));
    }
}

#[test]
fn forward_passive_comes_from_the_source() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&Settings::default());
    for plan in families() {
        let target = SocketAddr::new(plan.server, 5000);
        let listener = lab.server.listen(target);
        open(&mut backend, &[pinhole(plan.client, target, target, plan.far)]);
        let mut dialled = lab.client.connect(plan.client, target).unwrap();
        assert_eq!(accept(&listener, &mut dialled), plan.far);
    }
}

#[test]
fn reverse_passive_reaches_the_target_from_the_source() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&Settings::default());
    for plan in families() {
        let (entrance, target) = (SocketAddr::new(plan.near, 61000), SocketAddr::new(plan.server, 5000));
        let listener = lab.server.listen(target);
        open(&mut backend, &[pinhole(plan.client, entrance, target, plan.far)]);

        // Whoever is not translated arrives at the gateway itself, where nobody listens.
        assert_eq!(lab.client.connect(plan.stranger, entrance).unwrap_err().kind(), ConnectionRefused, "a third host");
        let mut dialled = lab.client.connect(plan.client, entrance).unwrap();
        assert_eq!(accept(&listener, &mut dialled), plan.far);
        let second = lab.client.connect(plan.client, entrance);
        assert_eq!(second.unwrap_err().kind(), ConnectionRefused, "a second connection");
        assert!(nobody_arrived(&listener));
    }
}

/// The relay behind the packet filter: what it dials itself never passes prerouting.
#[test]
fn what_the_gateway_dials_comes_from_the_source_once_and_answers_find_their_way_back() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&Settings::default());
    for plan in families() {
        let target = SocketAddr::new(plan.client, 6000);
        let listener = lab.client.listen(target);
        for (opens, source) in [(false, plan.near), (true, plan.server), (false, plan.near)] {
            if opens {
                open(&mut backend, &[pinhole(plan.near, target, target, plan.server)]);
            }
            let mut dialled = lab.gateway.connect(plan.near, target).unwrap();
            assert_eq!(accept(&listener, &mut dialled), source);
        }
        // From another address of its own it is nobody.
        open(&mut backend, &[pinhole(plan.near, target, target, plan.server)]);
        let mut other = lab.gateway.connect(plan.far, target).unwrap();
        assert_eq!(accept(&listener, &mut other), plan.far);
    }
}

/// The other end of it: the input chain knows a connection that came through a pinhole from all others.
#[test]
fn a_socket_of_the_gateway_is_reached_through_its_pinhole_alone() {
    let lab = Lab::dropping();
    lab.gateway.load(
        "table inet filter { chain input { type filter hook input priority 0; policy drop; ct state established,related accept; \
         meta l4proto { icmp, ipv6-icmp } accept; ct mark & 0x10000000 != 0 accept; }; }",
    );
    let mut backend = lab.gateway.backend(&Settings::default());
    for plan in families() {
        let (dialled, socket) = (SocketAddr::new(plan.server, 5000), SocketAddr::new(plan.near, 51000));
        let listener = lab.gateway.listen(socket);
        open(&mut backend, &[pinhole(plan.client, dialled, socket, plan.client)]);
        assert_eq!(lab.client.connect(plan.client, socket).unwrap_err().kind(), TimedOut, "past the pinhole");
        assert_eq!(lab.client.connect(plan.stranger, dialled).unwrap_err().kind(), TimedOut, "a third host");
        let mut connection = lab.client.connect(plan.client, dialled).unwrap();
        assert_eq!(accept(&listener, &mut connection), plan.client);
        assert_eq!(lab.client.connect(plan.client, dialled).unwrap_err().kind(), TimedOut, "a second connection");
        assert!(nobody_arrived(&listener));
        // What is dialled may be the socket itself: nothing is translated, and the mark is there.
        open(&mut backend, &[pinhole(plan.client, socket, socket, plan.client)]);
        let mut connection = lab.client.connect(plan.client, socket).unwrap();
        assert_eq!(accept(&listener, &mut connection), plan.client);
    }
}

#[test]
fn active_reaches_the_client_from_the_address_it_knows() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&Settings::default());
    for plan in families() {
        let (entrance, target) = (SocketAddr::new(plan.far, 62000), SocketAddr::new(plan.client, 6000));
        let listener = lab.client.listen(target);
        open(&mut backend, &[pinhole(plan.server, entrance, target, plan.near)]);
        let mut dialled = lab.server.connect(plan.server, entrance).unwrap();
        assert_eq!(accept(&listener, &mut dialled), plan.near);
        assert_eq!(lab.server.connect(plan.server, entrance).unwrap_err().kind(), ConnectionRefused);
    }
}

#[test]
fn a_used_pinhole_does_not_translate_even_where_everything_may_pass() {
    let lab = Lab::new();
    let mut backend = lab.gateway.backend(&Settings::default());
    for plan in families() {
        let (entrance, target) = (SocketAddr::new(plan.near, 61000), SocketAddr::new(plan.server, 5000));
        let listener = lab.server.listen(target);
        open(&mut backend, &[pinhole(plan.client, entrance, target, plan.far)]);
        let mut dialled = lab.client.connect(plan.client, entrance).unwrap();
        assert_eq!(accept(&listener, &mut dialled), plan.far);

        // The elements of its translation are still there.
        let [_, dnat4, snat4, _, dnat6, snat6] = lab.gateway.counts("ftpgate");
        assert!(if plan.client.is_ipv4() { (dnat4, snat4) == (1, 1) } else { (dnat6, snat6) == (1, 1) });
        assert_eq!(lab.client.connect(plan.client, entrance).unwrap_err().kind(), ConnectionRefused);
        assert!(nobody_arrived(&listener));
        let mut dialled = lab.client.connect(plan.client, target).unwrap();
        assert_eq!(accept(&listener, &mut dialled), plan.client, "not from the source: not ours");
    }
}

#[test]
fn an_unused_pinhole_is_gone_after_its_lifetime() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&Settings::default());
    for plan in families() {
        let (entrance, target) = (SocketAddr::new(plan.near, 61000), SocketAddr::new(plan.server, 5000));
        let listener = lab.server.listen(target);
        let short = Pinhole { lifetime: Duration::from_secs(1), ..pinhole(plan.client, entrance, target, plan.far) };
        open(&mut backend, &[short]);
        assert_eq!(lab.gateway.counts("ftpgate").iter().sum::<usize>(), 3);
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(lab.client.connect(plan.client, entrance).unwrap_err().kind(), ConnectionRefused);
        assert!(nobody_arrived(&listener));
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(lab.gateway.counts("ftpgate"), [0; 6], "its translation has gone as well");
        close(&mut backend, &[short]);
    }
}

#[test]
fn a_closed_pinhole_lets_nothing_pass_but_its_connection_goes_on() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&Settings::default());
    for plan in families() {
        let target = SocketAddr::new(plan.server, 5000);
        let listener = lab.server.listen(target);
        let [used, unused] =
            [61000, 61001].map(|port| pinhole(plan.client, SocketAddr::new(plan.near, port), target, plan.far));
        open(&mut backend, &[used, unused]);
        let mut dialled = lab.client.connect(plan.client, used.entrance).unwrap();
        close(&mut backend, &[used, unused]);
        assert_eq!(accept(&listener, &mut dialled), plan.far);
        assert_eq!(lab.client.connect(plan.client, unused.entrance).unwrap_err().kind(), ConnectionRefused);
        assert_eq!(lab.gateway.counts("ftpgate"), [0; 6]);
    }
}

#[test]
fn a_used_pinhole_can_be_opened_again() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&Settings::default());
    let [plan, _] = families();
    let (entrance, target) = (SocketAddr::new(plan.near, 61000), SocketAddr::new(plan.server, 5000));
    let listener = lab.server.listen(target);
    for _ in 0..3 {
        open(&mut backend, &[pinhole(plan.client, entrance, target, plan.far)]);
        let mut dialled = lab.client.connect(plan.client, entrance).unwrap();
        assert_eq!(accept(&listener, &mut dialled), plan.far);
    }
}

#[test]
fn a_segment_in_mid_stream_does_not_use_up_a_pinhole() {
    let lab = Lab::new();
    let mut backend = lab.gateway.backend(&Settings::default());
    let [plan, _] = families();
    let target = SocketAddr::new(plan.server, 5000);
    let listener = lab.server.listen(target);
    let mut dialled = lab.client.connect(plan.client, target).unwrap();
    assert_eq!(accept(&listener, &mut dialled), plan.client);

    // The kernel forgets the connection and takes its next segment for a new one.
    lab.gateway.run(|| {
        let forgotten = std::process::Command::new("conntrack").args(["-D", "-p", "tcp"]).output().unwrap();
        assert!(forgotten.status.success(), "conntrack must be installed for these tests (see tests/setup.sh)");
    });
    open(&mut backend, &[pinhole(plan.client, target, target, plan.client)]);
    dialled.set_nodelay(true).unwrap();
    std::io::Write::write_all(&mut dialled, b"more").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(lab.gateway.count("ftpgate", "pinhole4"), 1);
}
