//! Numbers of the BSD kernels' socket interfaces that ftpgate uses.
//!
//! Lives here: constants, compiled on every system, and the header that `tests/bsd/abi.c` compares with the systems' own. On
//! the system itself its file asserts that they are those of the libc crate. Not here: pf's structure (`natlook.rs`).

/// `SIOCATMARK`, sys/sockio.h: `_IOR('s', 7, int)`. On both.
pub const SIOCATMARK: u32 = 0x4004_7307;

/// FreeBSD's `IP_BINDANY`, netinet/in.h, ip(4); at level `IPPROTO_IP`.
pub const FREEBSD_IP_BINDANY: i32 = 24;

/// FreeBSD's `IPV6_BINDANY`, netinet6/in6.h, ip6(4); at level `IPPROTO_IPV6`.
pub const FREEBSD_IPV6_BINDANY: i32 = 64;

/// OpenBSD's `SO_BINDANY`, sys/socket.h, getsockopt(2); at level `SOL_SOCKET`.
pub const OPENBSD_SO_BINDANY: i32 = 0x1000;

#[cfg(test)]
mod tests {
    use super::super::natlook::{AF_INET, FreeBsd, OpenBsd, PF_OUT};
    use super::*;
    use std::fmt::Write;

    /// The file that the header is kept in, from the root of the project.
    const HEADER: &str = "tests/bsd/layout.h";

    fn natlook(text: &mut String, size: usize, request: u64, inet6: u8, fields: &[(&str, usize)]) {
        writeln!(text, "#define FTPGATE_NATLOOK_SIZE {size}").unwrap();
        writeln!(text, "#define FTPGATE_NATLOOK_REQUEST {request:#x}").unwrap();
        writeln!(text, "#define FTPGATE_AF_INET6 {inet6}").unwrap();
        for (field, offset) in fields.iter().filter(|(field, _)| *field != "padding") {
            writeln!(text, "#define FTPGATE_NATLOOK_{} {offset}", field.to_uppercase()).unwrap();
        }
    }

    fn header() -> String {
        let mut text =
            "/* The numbers of src/sys/natlook.rs and src/sys/abi.rs, written by the test in abi.rs. */\n".to_owned();
        writeln!(text, "#define FTPGATE_AF_INET {AF_INET}").unwrap();
        writeln!(text, "#define FTPGATE_PF_OUT {PF_OUT}").unwrap();
        writeln!(text, "#define FTPGATE_SIOCATMARK {SIOCATMARK:#x}").unwrap();
        text.push_str("#if defined(__FreeBSD__)\n");
        natlook(&mut text, size_of::<FreeBsd>(), FreeBsd::REQUEST, FreeBsd::AF_INET6, FreeBsd::FIELDS);
        writeln!(text, "#define FTPGATE_IP_BINDANY {FREEBSD_IP_BINDANY}").unwrap();
        writeln!(text, "#define FTPGATE_IPV6_BINDANY {FREEBSD_IPV6_BINDANY}").unwrap();
        text.push_str("#elif defined(__OpenBSD__)\n");
        natlook(&mut text, size_of::<OpenBsd>(), OpenBsd::REQUEST, OpenBsd::AF_INET6, OpenBsd::FIELDS);
        writeln!(text, "#define FTPGATE_SO_BINDANY {OPENBSD_SO_BINDANY:#x}").unwrap();
        text.push_str("#else\n#error \"neither FreeBSD nor OpenBSD\"\n#endif\n");
        text
    }

    /// What the C compiler compares with the systems' headers are these numbers, and no others.
    #[test]
    fn the_header_for_the_c_compiler_holds_these_numbers() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(HEADER);
        if std::env::var_os("WRITE_LAYOUT").is_some() {
            std::fs::write(&path, header()).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            kept,
            header(),
            "{HEADER} is not what the constants say: run this test with WRITE_LAYOUT=1, then .ci/bsd-check abi"
        );
    }
}
