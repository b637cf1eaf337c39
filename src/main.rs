//! The binary: hands its arguments to [`ftpgate::cli`] and exits with what that says.
//!
//! Nothing else lives here: `src/lib.rs` has the map.

use std::process::ExitCode;

fn main() -> ExitCode {
    ftpgate::cli::main()
}
