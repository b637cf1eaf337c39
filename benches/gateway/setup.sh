#!/usr/bin/env bash
# Unpacks, below target/lab, the peers that `make bench` measures ftpgate beside: HAProxy, ProFTPD's mod_proxy and proxy-suite's ftp-proxy, with those of
# their libraries that are not there. Debian 12. Nothing of it is installed, started or enabled. A peer that cannot be had takes no part.
# Lives here: fetching. Not here: what all tests need (tests/setup.sh, which comes first), how the peers are set up
# (contestant.rs).
set -euo pipefail
cd "$(dirname "$0")/../.."

lab=target/lab
libraries=(liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libsodium23 libsqlite3-0
    libldap-2.5-0 libnsl2 libsasl2-2 libtirpc3 libwrap0)

fetch() {
    local package=$1
    [ ! -e "$lab/$package.unpacked" ] || return 0
    echo "setup.sh: unpacking $package below $lab"
    mkdir -p "$lab/debs"
    (cd "$lab/debs" && apt-get -qq -o APT::Sandbox::User=root download "$package") || return 1
    dpkg -x "$lab/debs/${package}"_*.deb "$lab/root"
    rm -rf "$lab/debs"
    touch "$lab/$package.unpacked"
}

for package in haproxy proftpd-mod-proxy ftp-proxy; do
    fetch "$package" || echo "setup.sh: $package cannot be had; it takes no part" >&2
done
for package in "${libraries[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || fetch "$package" ||
        echo "setup.sh: $package cannot be had; who needs it will not start" >&2
done

# A peer that cannot find its libraries would fail later with less to go by.
for binary in usr/sbin/haproxy usr/lib/proftpd/mod_proxy.so usr/sbin/ftp-proxy; do
    [ -e "$lab/root/$binary" ] || continue
    if LD_LIBRARY_PATH="$lab/root/usr/lib/$(uname -m)-linux-gnu" ldd "$lab/root/$binary" | grep 'not found'; then
        echo "setup.sh: $binary lacks the libraries above; add their packages to the list in benches/gateway/setup.sh" >&2
        exit 1
    fi
done
