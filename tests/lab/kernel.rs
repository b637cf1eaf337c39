//! What the kernel holds: pinholes, followed connections, sockets; and breaking a connection as a failing network does.
//!
//! Lives here: reading sets, conntrack and socket tables from outside of the daemon, with Debian's own tools. Not here: what
//! should be in them.

use super::host::Host;

/// The mark of data connections, as `conntrack -m` takes it.
const MARK: &str = "0x10000000/0x10000000";

/// Elements of all sets and maps of a table, `name: elements` each; none when the table is gone.
pub fn elements(host: &Host, table: &str) -> Vec<String> {
    // Not as JSON: nft 1.0.6 prints an empty line instead of some tables.
    let output = host.run(&["nft", "list", "table", "inet", table]);
    if !output.ok() {
        assert!(output.text().contains("No such file"), "listing the table {table}:\n{}", output.text());
        return Vec::new();
    }
    let mut found = Vec::new();
    let (mut name, mut inside) = (String::new(), false);
    for line in output.stdout.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("set ").or_else(|| line.strip_prefix("map ")) {
            rest.trim_end_matches(" {").clone_into(&mut name);
        }
        inside |= line.starts_with("elements = {");
        if inside {
            found.push(format!("{name}: {}", line.trim_start_matches("elements = {")));
            inside = !line.ends_with('}');
        }
    }
    found
}

/// Data connections that came through pinholes and live, as conntrack lists them. What has ended stays in conntrack for its
/// timeouts (TIME_WAIT, CLOSE) and is not counted.
pub fn live_flows(host: &Host) -> Vec<String> {
    flows(host).into_iter().filter(|flow| !["TIME_WAIT", "CLOSE"].contains(&state(flow))).collect()
}

/// All of them.
pub fn flows(host: &Host) -> Vec<String> {
    ["ipv4", "ipv6"]
        .iter()
        .flat_map(|family| {
            let text = host.run(&["conntrack", "-L", "-f", family, "-p", "tcp", "-m", MARK]).expect_ok();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|line| !line.trim().is_empty())
        .collect()
}

/// `tcp 6 431999 ESTABLISHED src=…`
fn state(flow: &str) -> &str {
    flow.split_whitespace().nth(3).unwrap_or_default()
}

/// TCP connections of a host that can still carry something, one line each, without those of the control connection: neither
/// end is port 21.
pub fn data_sockets(host: &Host) -> Vec<String> {
    let text = host.run(&["ss", "-Htan", "( sport != :21 and dport != :21 )"]).expect_ok();
    let over = ["LISTEN", "TIME-WAIT", "SYN-SENT", "SYN-RECV", "UNCONN"];
    text.lines()
        .filter(|line| !over.contains(&line.split_whitespace().next().unwrap_or_default()))
        .map(str::to_owned)
        .collect()
}

/// Breaks the control connections of a client's host, as a crash does: both ends get a reset.
pub fn break_control_of_client(host: &Host) {
    break_sockets(host, "dport = :21");
}

/// The same on the server's host.
pub fn break_control_of_server(host: &Host) {
    break_sockets(host, "sport = :21");
}

fn break_sockets(host: &Host, filter: &str) {
    let broken = host.run(&["ss", "-HKtn", "state", "established", filter]).expect_ok();
    assert!(
        !broken.trim().is_empty(),
        "no socket of {} fits `{filter}`: does the kernel lack INET_DIAG_DESTROY?",
        host.name()
    );
}

/// The processes of a host.
pub fn processes(host: &Host) -> Vec<u32> {
    let text = host.run(&["ip", "netns", "pids", host.name()]).expect_ok();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
