//! What every combination of client, mode and family has to do: a listing, and files both ways.

use std::net::IpAddr;

use super::{Combination, Job, Step};
use crate::lab::files::{Folder, MIB, noise, same};
use crate::lab::host::Host;
use crate::lab::server::{EMPTY, LARGE, STORED, Server};

/// Where the empty file is stored.
const STORED_EMPTY: &str = "pub/stored-empty.bin";

/// How many data connections [`everything`] takes.
pub const DATA_CONNECTIONS: u32 = 5;

/// Lists, fetches and stores 1 MiB and an empty file, and compares checksums.
pub fn everything(combination: Combination, client: &Host, to: IpAddr, server: &Server) -> Result<(), String> {
    everything_as(combination, client, to, server, server.user())
}

/// The same for a client that logs in with this.
pub fn everything_as(
    combination: Combination,
    client: &Host,
    to: IpAddr,
    server: &Server,
    user: &str,
) -> Result<(), String> {
    let folder = Folder::new();
    folder.write("up.bin", noise(7, MIB));
    folder.write("nothing.bin", "");
    for stored in [STORED, STORED_EMPTY] {
        drop(std::fs::remove_file(server.file(stored)));
    }
    let steps = [
        Step::List,
        Step::Fetch { remote: LARGE, local: "down.bin" },
        Step::Fetch { remote: EMPTY, local: "down-empty.bin" },
        Step::Store { local: "up.bin", remote: STORED },
        Step::Store { local: "nothing.bin", remote: STORED_EMPTY },
    ];
    Job { user, ..Job::new(combination, to, server, &folder, &steps) }.run(client)?;
    let pairs = [(LARGE, "down.bin"), (EMPTY, "down-empty.bin"), (STORED, "up.bin"), (STORED_EMPTY, "nothing.bin")];
    for (remote, local) in pairs {
        same(&server.file(remote), &folder.file(local))?;
    }
    Ok(())
}
