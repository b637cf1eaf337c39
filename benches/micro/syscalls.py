#!/usr/bin/env python3
"""Counts the system calls of a gateway for one FTP command: strace on it during 10,000 NOOPs of one session. And the instructions
that the whole ftpgate executes in user space for one: under callgrind, the difference of two numbers of NOOPs.

usage: syscalls.py FTPGATE [HAPROXY]     (as root; needs strace, valgrind, unshare and ip)

Client, gateway and server are in one network namespace of their own, which has no name and ends with this program. HAProxy relays
in TCP mode: the floor for who does not look at what passes. Not here: what the figures mean (docs/benchmarks-micro.md).
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

COMMANDS = 10_000
SERVER, GATEWAY = ("127.0.0.1", 2100), ("127.0.0.1", 8021)

FTPGATE = """\
listeners:
  - {{ name: bench, listen: "127.0.0.1:8021", mode: reverse, capture: direct, server: "127.0.0.1:2100" }}
firewall: {{ backend: dry-run }}
log: {{ level: {level}, format: text }}
control: {{ socket: {folder}/control.sock }}
user: nobody
"""

HAPROXY = """\
global
    nbthread 2
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen bench
    bind 127.0.0.1:8021
    server one 127.0.0.1:2100
"""


def serve(listener):
    """A server that says 200 to everything, one session at a time."""
    while True:
        peer, _ = listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall(b"220 ready.\r\n")
        while peer.recv(4096):
            peer.sendall(b"200 NOOP command successful.\r\n")
        peer.close()


def connect():
    deadline = time.monotonic() + 10
    while True:
        try:
            client = socket.create_connection(GATEWAY, timeout=10)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if client.recv(4096):
                return client
        except OSError:
            pass
        if time.monotonic() > deadline:
            sys.exit("the gateway does not answer")
        time.sleep(0.1)


def noops(client, count):
    for _ in range(count):
        client.sendall(b"NOOP\r\n")
        if not client.recv(4096):
            sys.exit("the session has ended")


def attached(pid):
    with open(f"/proc/{pid}/status") as status:
        return "TracerPid:\t0\n" not in status.read()


def measure(name, command, folder):
    log = os.path.join(folder, "log")
    with open(log, "wb") as output:
        gateway = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        client = connect()
        noops(client, 1000)
        counts = os.path.join(folder, "counts")
        logged = os.path.getsize(log)
        strace = subprocess.Popen(["strace", "-qq", "-f", "-c", "-o", counts, "-p", str(gateway.pid)])
        deadline = time.monotonic() + 10
        while not attached(gateway.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        # All of its threads.
        time.sleep(0.5)
        noops(client, COMMANDS)
        strace.send_signal(signal.SIGINT)
        strace.wait(10)
        logged = os.path.getsize(log) - logged
        client.close()
    finally:
        gateway.kill()
        gateway.wait()
    print(f"{name}: {logged} bytes logged")
    total = 0.0
    with open(counts) as table:
        for line in table:
            row = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(\d*)\s*(\w+)$", line)
            if not row or row[3] == "total":
                continue
            calls, errors = int(row[1]) / COMMANDS, int(row[2] or 0) / COMMANDS
            # What came once or now and then belongs to no command.
            if calls >= 0.01:
                total += calls
                print(f"    {row[3]:<14} {calls:5.2f}" + (f"   of these in vain {errors:.2f}" if errors >= 0.01 else ""))
    print(f"    {'all':<14} {total:5.2f} for one command and its reply")


def instructions(command, folder):
    log = os.path.join(folder, "callgrind")
    callgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log}"]
    counts = []
    for count in (1000, 21_000):
        gateway = subprocess.Popen([*callgrind, *command], stderr=subprocess.DEVNULL)
        try:
            client = connect()
            noops(client, count)
            client.close()
            gateway.terminate()
            gateway.wait(20)
        finally:
            gateway.kill()
        with open(log) as text:
            counts.append(int(re.search(r"Collected : (\d+)", text.read())[1]))
    print(f"    {(counts[1] - counts[0]) / 20_000:.0f} instructions in user space")


def main():
    if len(sys.argv) not in (2, 3) or os.geteuid() != 0:
        sys.exit(__doc__)
    if os.environ.get("FG_INSIDE") != "1":
        os.environ["FG_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    listener = socket.create_server(SERVER)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        for level in ("info", "debug"):
            config = os.path.join(folder, "ftpgate.yaml")
            with open(config, "w") as file:
                file.write(FTPGATE.format(level=level, folder=folder))
            command = [sys.argv[1], "run", "-c", config]
            measure(f"ftpgate, log.level {level}", command, folder)
            instructions(command, folder)
        if len(sys.argv) == 3:
            config = os.path.join(folder, "haproxy.cfg")
            with open(config, "w") as file:
                file.write(HAPROXY)
            measure("haproxy, mode tcp", [sys.argv[2], "-db", "-f", config], folder)


main()
