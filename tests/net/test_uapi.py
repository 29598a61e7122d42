#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's wg(8) at our configuration socket: all its commands, and all that it prints.

    wg ---- /run/wireguard/wg0.sock ----> uapi_rig (a device that is nothing but its setup)

Needs root, and a network and a mount namespace of its own (alone.sh): /run is an empty one."""

import base64
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

RIG = os.path.abspath(sys.argv[1])
FOLDER = "/run/wireguard"
PATIENCE = 60
SEEN = 1700000000  # a handshake


def key(n):
    return base64.b64encode(bytes([n]) * 32).decode()


def private(n):
    """As wg clamps one that it reads."""
    raw = bytearray([n]) * 32
    raw[0] &= 248
    raw[31] = raw[31] & 127 | 64
    return base64.b64encode(raw).decode()


def hexed(text):
    return base64.b64decode(text).hex()


def wg(*words, given=None, fails=False):
    done = subprocess.run(["wg", *words], input=given, text=True, capture_output=True,
                          timeout=PATIENCE, env={**os.environ, "WG_COLOR_MODE": "never",
                                                 "WG_HIDE_KEYS": "never"})
    assert (done.returncode != 0) == fails, f"wg {words}: {done.returncode} {done.stderr}"
    assert fails or done.stderr == "", done.stderr
    return done.stderr if fails else done.stdout


def public(private_key):
    return wg("pubkey", given=private_key + "\n").strip()


class Rig:
    """The device, and files with keys, as wg wants them."""

    def __init__(self):
        self.files = tempfile.mkdtemp()
        self.process = subprocess.Popen([RIG, FOLDER, "wg0"], text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n"

    def file(self, text):
        handle, path = tempfile.mkstemp(dir=self.files)
        os.write(handle, text.encode())
        os.close(handle)
        return path

    def seen(self, who, when, rx, tx):
        self.process.stdin.write(f"{hexed(who)} {when} {rx} {tx}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "seen\n"

    def close(self):
        self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        shutil.rmtree(self.files)
        assert status == 0, status
        assert not os.path.exists(FOLDER + "/wg0.sock")


def eq(got, want):
    assert got == want, f"\n{got!r}\n{want!r}"


def dump():
    return wg("show", "wg0", "dump").splitlines()


def fill(rig):
    """All that `wg set` can say."""
    wg("set", "wg0", "listen-port", "51820", "private-key", rig.file(private(1)), "fwmark", "0x1234",
       "peer", key(2), "preshared-key", rig.file(key(3)), "endpoint", "192.0.2.1:4242",
       "persistent-keepalive", "25", "allowed-ips", "10.0.1.0/24,fd00:1::/64,10.9.9.9",
       "peer", key(4), "endpoint", "[2001:db8::2]:65535", "allowed-ips", "0.0.0.0/0,::/0",
       "peer", key(5))


# ---- tests ----


def test_file(rig):
    st = os.stat(FOLDER + "/wg0.sock")
    assert stat.S_ISSOCK(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o600, oct(st.st_mode)
    eq(wg("show", "interfaces"), "wg0\n")


def test_new(rig):
    eq(wg("show", "wg0"), "interface: wg0\n")
    eq(dump(), ["(none)\t(none)\t0\toff"])
    eq(wg("showconf", "wg0"), "[Interface]\n\n")


def test_set_and_show(rig):
    fill(rig)
    rig.seen(key(4), SEEN, 1000, 2048)
    text = re.sub(r"latest handshake: [0-9].* ago\n", "latest handshake: AGO\n", wg("show", "wg0"))
    eq(text, f"""\
interface: wg0
  public key: {public(private(1))}
  private key: {private(1)}
  listening port: 51820
  fwmark: 0x1234

peer: {key(4)}
  endpoint: [2001:db8::2]:65535
  allowed ips: 0.0.0.0/0, ::/0
  latest handshake: AGO
  transfer: 1000 B received, 2.00 KiB sent

peer: {key(2)}
  preshared key: {key(3)}
  endpoint: 192.0.2.1:4242
  allowed ips: 10.0.1.0/24, fd00:1::/64, 10.9.9.9/32
  persistent keepalive: every 25 seconds

peer: {key(5)}
  allowed ips: (none)
""")
    want = [f"{private(1)}\t{public(private(1))}\t51820\t0x1234",
            f"{key(2)}\t{key(3)}\t192.0.2.1:4242\t10.0.1.0/24,fd00:1::/64,10.9.9.9/32\t0\t0\t0\t25",
            f"{key(4)}\t(none)\t[2001:db8::2]:65535\t0.0.0.0/0,::/0\t{SEEN}\t1000\t2048\toff",
            f"{key(5)}\t(none)\t(none)\t(none)\t0\t0\t0\toff"]
    eq(dump(), want)
    eq(wg("show", "all", "dump").splitlines(), ["wg0\t" + line for line in want])


def test_show_each(rig):
    fill(rig)
    rig.seen(key(2), SEEN, 2**64 - 1, 7)
    each = {
        "public-key": public(private(1)) + "\n",
        "private-key": private(1) + "\n",
        "listen-port": "51820\n",
        "fwmark": "0x1234\n",
        "peers": f"{key(2)}\n{key(4)}\n{key(5)}\n",
        "preshared-keys": f"{key(2)}\t{key(3)}\n{key(4)}\t(none)\n{key(5)}\t(none)\n",
        "endpoints": f"{key(2)}\t192.0.2.1:4242\n{key(4)}\t[2001:db8::2]:65535\n{key(5)}\t(none)\n",
        "allowed-ips": f"{key(2)}\t10.0.1.0/24 fd00:1::/64 10.9.9.9/32\n{key(4)}\t0.0.0.0/0 ::/0\n"
                       f"{key(5)}\t(none)\n",
        "latest-handshakes": f"{key(2)}\t{SEEN}\n{key(4)}\t0\n{key(5)}\t0\n",
        "transfer": f"{key(2)}\t{2**64 - 1}\t7\n{key(4)}\t0\t0\n{key(5)}\t0\t0\n",
        "persistent-keepalive": f"{key(2)}\t25\n{key(4)}\toff\n{key(5)}\toff\n",
    }
    for what, want in each.items():
        eq(wg("show", "wg0", what), want)


def test_set_again(rig):
    fill(rig)
    rig.seen(key(2), SEEN, 1, 2)
    wg("set", "wg0", "listen-port", "1", "fwmark", "off", "private-key", rig.file(private(9)),
       "peer", key(2), "preshared-key", "/dev/null", "persistent-keepalive", "off", "endpoint",
       "192.0.2.9:9", "allowed-ips", "10.0.7.0/24", "peer", key(4), "remove",
       "peer", key(5), "allowed-ips", "fd00:1::/64")
    eq(dump(), [f"{private(9)}\t{public(private(9))}\t1\toff",
                f"{key(2)}\t(none)\t192.0.2.9:9\t10.0.7.0/24\t{SEEN}\t1\t2\toff",
                f"{key(5)}\t(none)\t(none)\tfd00:1::/64\t0\t0\t0\toff"])
    # A prefix goes to whom it was given last.
    wg("set", "wg0", "peer", key(5), "allowed-ips", "10.0.7.0/24,fd00:1::/64")
    eq(wg("show", "wg0", "allowed-ips"), f"{key(2)}\t(none)\n{key(5)}\t10.0.7.0/24 fd00:1::/64\n")
    wg("set", "wg0", "private-key", "/dev/null")
    eq(wg("show", "wg0", "public-key"), "(none)\n")


CONF = f"""\
[Interface]
ListenPort = 51820
FwMark = 0x1234
PrivateKey = {private(1)}

[Peer]
PublicKey = {key(2)}
PresharedKey = {key(3)}
AllowedIPs = 10.0.1.0/24, fd00:1::/64
Endpoint = 192.0.2.1:4242
PersistentKeepalive = 25

[Peer]
PublicKey = {key(4)}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = [2001:db8::2]:65535
"""


def test_conf_and_back(rig):
    wg("setconf", "wg0", rig.file(CONF))
    eq(wg("showconf", "wg0").strip(), CONF.strip())
    # setconf is all that there is to be; addconf comes to that.
    wg("setconf", "wg0", rig.file(f"[Interface]\nListenPort = 7\n[Peer]\nPublicKey = {key(7)}\n"))
    eq(dump(), ["(none)\t(none)\t7\toff", f"{key(7)}\t(none)\t(none)\t(none)\t0\t0\t0\toff"])
    wg("addconf", "wg0", rig.file(f"[Peer]\nPublicKey = {key(8)}\nAllowedIPs = 10.0.0.0/8\n"))
    eq(wg("show", "wg0", "peers"), f"{key(7)}\n{key(8)}\n")
    eq(wg("show", "wg0", "listen-port"), "7\n")


def test_syncconf(rig):
    wg("setconf", "wg0", rig.file(CONF))
    rig.seen(key(2), SEEN, 11, 12)
    rig.seen(key(4), SEEN, 13, 14)
    # One peer goes, one comes; what stays keeps its session.
    other = CONF.replace(key(4), key(6)).replace("10.0.1.0/24", "10.0.2.0/24")
    wg("syncconf", "wg0", rig.file(other))
    eq(wg("showconf", "wg0").strip(), other.strip())
    eq(wg("show", "wg0", "transfer"), f"{key(2)}\t11\t12\n{key(6)}\t0\t0\n")
    eq(wg("show", "wg0", "latest-handshakes"), f"{key(2)}\t{SEEN}\n{key(6)}\t0\n")


def test_refused(rig):
    fill(rig)
    before = dump()
    said = wg("set", "wg0", "listen-port", "1", "peer", key(2), "endpoint", "[fe80::1%lo]:1",
              fails=True)
    eq(said, "Unable to modify interface: Invalid argument\n")
    eq(dump(), before)


def test_many(rig):
    lines = ["[Interface]", "ListenPort = 9"]
    for n in range(1000):
        who = base64.b64encode(n.to_bytes(32, "big")).decode()
        lines += ["[Peer]", f"PublicKey = {who}", f"AllowedIPs = 10.{n // 250}.{n % 250}.0/24",
                  f"Endpoint = 192.0.2.1:{n + 1}"]
    wg("setconf", "wg0", rig.file("\n".join(lines) + "\n"))
    shown = wg("showconf", "wg0")
    eq([line for line in shown.splitlines() if line], lines)


def main():
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root")
        return 0
    if not shutil.which("wg"):
        print("1..0 # SKIP there is no wg(8): apt-get install wireguard-tools")
        return 0
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    os.mkdir(FOLDER, 0o700)
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    only = sys.argv[2:]
    print(f"1..{len(tests)}")
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        if only and name not in only:
            print(f"ok {number} - {name} # SKIP not asked for")
            continue
        rig = Rig()
        try:
            try:
                test(rig)
            finally:
                rig.close()
            print(f"ok {number} - {name}", flush=True)
        except Exception as e:  # the next test is worth trying
            failed += 1
            print(f"not ok {number} - {name}: {type(e).__name__}: {e}", flush=True)
    return 1 if failed else 0


sys.exit(main())
