//! `make bench-micro`: what user space spends on a command, a session and a pinhole.
//!
//! Lives here: one benchmark for each part of the way of a line, and for the whole. Not here: the session by the book
//! (`script.rs`), what must not get dearer unseen (`instructions.rs`), what the figures mean (`docs/benchmarks-micro.md`).

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod script;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use ftpgate::observe::metrics::Metrics;
use ftpgate::protocol::line::{LineBuffer, Next};
use ftpgate::protocol::reply::ReplyParser;
use ftpgate::protocol::telnet::TelnetFilter;
use ftpgate::protocol::{address, command, splice};
use ftpgate::session::effect::Effects;
use script::{Kernel, Talk, whole_session};

/// Counts allocations beside the time.
#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// The lines of `text`, as a session takes them off its input.
fn lines(buffer: &mut LineBuffer, text: &[u8]) -> usize {
    let (mut rest, mut count) = (text, 0);
    while let Next::Line(line, after) = buffer.next(rest, 4096) {
        black_box(line);
        (rest, count) = (after, count + 1);
    }
    count
}

#[divan::bench]
fn split_one_line(bencher: Bencher<'_, '_>) {
    let mut buffer = LineBuffer::new();
    let text = b"200 NOOP command successful.\r\n";
    bencher.counter(BytesCount::of_slice(text)).bench_local(|| lines(&mut buffer, black_box(text)));
}

#[divan::bench]
fn split_sixteen_kib(bencher: Bencher<'_, '_>) {
    let mut buffer = LineBuffer::new();
    let text = b"-rw-r--r--   1 ftp      ftp          1024 Nov 21 12:00 archive-2026.tar.gz\r\n".repeat(212);
    bencher.counter(BytesCount::of_slice(&text)).bench_local(|| lines(&mut buffer, black_box(&text)));
}

#[divan::bench]
fn telnet_filter(bencher: Bencher<'_, '_>) {
    let mut filter = TelnetFilter::default();
    bencher.bench_local(|| black_box(filter.filter(black_box(b"RETR pub/archive-2026.tar.gz\r\n"))).0.len());
}

#[divan::bench(args = ["PASV\r\n", "NOOP\r\n", "RETR pub/archive-2026.tar.gz\r\n", "SCKS x\r\n", "UNKNOWN\r\n"])]
fn parse_command(line: &str) -> bool {
    black_box(command::parse(black_box(line.as_bytes()))).is_ok()
}

#[divan::bench]
fn parse_reply(bencher: Bencher<'_, '_>) {
    let mut parser = ReplyParser::default();
    bencher.bench_local(|| parser.feed(black_box(b"226 Transfer complete.\r\n")));
}

#[divan::bench]
fn read_port() -> bool {
    black_box(address::port_argument(black_box(b"198,51,100,7,195,80"))).is_ok()
}

#[divan::bench(args = ["|1|198.51.100.7|50000|", "|2|2001:db8::7|50000|"])]
fn read_eprt(argument: &str) -> bool {
    black_box(address::eprt_argument(black_box(argument.as_bytes()))).is_ok()
}

#[divan::bench]
fn read_227() -> bool {
    black_box(address::pasv_reply(black_box(b" Entering Passive Mode (10,0,0,5,195,80).\r\n"))).is_ok()
}

#[divan::bench]
fn read_229() -> bool {
    black_box(address::epsv_reply(black_box(b" Entering Extended Passive Mode (|||50000|)\r\n"))).is_ok()
}

#[divan::bench]
fn write_port_or_227() -> String {
    address::write_commas(black_box(Ipv4Addr::new(203, 0, 113, 1)), black_box(61_000))
}

#[divan::bench(args = [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))])]
fn write_eprt(address: &IpAddr) -> String {
    address::write_eprt(black_box(*address), black_box(61_000))
}

#[divan::bench]
fn splice_227(bencher: Bencher<'_, '_>) {
    let mut to = Vec::with_capacity(256);
    bencher.bench_local(|| {
        to.clear();
        let line = black_box(&b"227 Entering Passive Mode (10,0,0,5,195,80).\r\n"[..]);
        for part in splice::splice(line, 27..42, black_box(b"203,0,113,1,238,72")) {
            to.extend_from_slice(part);
        }
        to.len()
    });
}

#[divan::bench]
fn count_a_command(bencher: Bencher<'_, '_>) {
    let metrics = Metrics::new(&["outbound"], &command::names());
    bencher.bench_local(|| metrics.command(black_box("NOOP")));
}

fn logged_in() -> Talk {
    let mut talk = Talk::begin(Effects::new());
    talk.login();
    talk
}

#[divan::bench]
fn session_noop_and_its_reply(bencher: Bencher<'_, '_>) {
    let mut talk = logged_in();
    bencher.bench_local(|| talk.noop());
}

#[divan::bench]
fn session_pasv_227_retr_226(bencher: Bencher<'_, '_>) {
    let mut talk = logged_in();
    bencher.bench_local(|| talk.pasv());
}

#[divan::bench]
fn session_whole_with_ten_transfers(bencher: Bencher<'_, '_>) {
    let mut outbox = Some(Effects::new());
    bencher.bench_local(|| {
        let (sent, effects) = whole_session(outbox.take().unwrap_or_default());
        outbox = Some(effects);
        sent
    });
}

#[divan::bench]
fn netlink_open_and_close_a_pinhole(bencher: Bencher<'_, '_>) {
    let mut kernel = Kernel::new();
    bencher.bench_local(|| kernel.open_and_close());
}

#[divan::bench]
fn netlink_batch_of_a_hundred_steps(bencher: Bencher<'_, '_>) {
    let mut kernel = Kernel::new();
    bencher.bench_local(|| kernel.batch());
}
