#!/usr/bin/env bash
# Brings what the tests and the demo run against: the nft tool, three FTP servers, four FTP clients, HAProxy, promtool, valgrind.
# Debian 12. The FTP servers, HAProxy, Prometheus and valgrind are only unpacked, below target/lab (Debian's FTP servers exclude each
# other, and nobody wants one started by a test): nothing of them is installed, started or enabled.
set -euo pipefail
cd "$(dirname "$0")/.."

installed=(
    nftables conntrack iproute2 procps                 # the gateway's own tools
    curl lftp tnftp python3-minimal libpython3-stdlib  # clients (python3 for its ftplib)
    perl                                               # reads a transfer log: ProFTPD's ftpstats
    shellcheck                                         # reads the scripts of deploy/freebsd and deploy/openbsd
    gcc libc6-dev ca-certificates                      # what cargo needs to link
    libwrap0 libpam0g libcap2 libssl3 libsodium23      # what the unpacked servers are linked with
    libmemcached11 libmemcachedutil2 libhiredis0.14 libpcre2-8-0 libpcre2-posix3
)
unpacked=(
    vsftpd proftpd-core pure-ftpd prometheus valgrind
    haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 # with its libraries, which few have
)

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; return; fi
    command -v sudo >/dev/null || { echo "setup.sh: needs root for: $*; run it as root or install sudo" >&2; exit 1; }
    sudo -- "$@"
}

missing=()
for package in "${installed[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "setup.sh: installing ${missing[*]}"
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
fi

lab=target/lab
absent=()
for package in "${unpacked[@]}"; do
    [ -e "$lab/$package.unpacked" ] || absent+=("$package")
done
if [ ${#absent[@]} -gt 0 ]; then
    echo "setup.sh: unpacking ${absent[*]} below $lab"
    [ ${#missing[@]} -gt 0 ] || as_root apt-get -qq update
    mkdir -p "$lab/debs"
    (cd "$lab/debs" && apt-get -qq -o APT::Sandbox::User=root download "${absent[@]}")
    for package in "${absent[@]}"; do
        dpkg -x "$lab/debs/${package}"_*.deb "$lab/root"
        touch "$lab/$package.unpacked"
    done
    rm -rf "$lab/debs"
fi

# A server that cannot find its libraries would fail later with less to go by.
for binary in vsftpd proftpd pure-ftpd haproxy; do
    if LD_LIBRARY_PATH="$lab/root/usr/lib/$(uname -m)-linux-gnu" ldd "$lab/root/usr/sbin/$binary" | grep 'not found'; then
        echo "setup.sh: $binary lacks the libraries above; add their packages to the list in tests/setup.sh" >&2
        exit 1
    fi
done
