# SPDX-License-Identifier: Apache-2.0
"""tools/bench overlay [--json] [--seconds 4] [--mtu 1500,9000] [--streams 1,4] [--modes plain,vxlan,...]

Two network namespaces with a veth pair between them, and TCP from the one to the other: over the bare
pair, the kernel's VXLAN, wireguard-go as Debian has it, and our engine, with OpenSSL's cipher and with
the best of our own. What counts is the CPU time of the two processes that carry (user and system) for
each GB that arrived; Gb/s say how many cores the machine has, and who else uses them.
"""

import base64
import json
import os
import subprocess
import sys
import time

BUILD = os.path.abspath(sys.argv[1])
END = os.path.join(BUILD, "bench", "overlay-end")
PORT, RTTS, GSO_MAX = 5001, 300, 62000


def option(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def run(ns, *argv, **more):
    return subprocess.run(["nsenter", f"--net=/run/bench/{ns}", *argv], check=True, text=True,
                          stdout=subprocess.PIPE, **more).stdout


def ip(ns, line):
    run(ns, "ip", *line.split())


def make_namespace(name):
    """Its name is a mount: below a /run of this program's own."""
    subprocess.run(["unshare", f"--net=/run/bench/{name}", "true"], check=True)
    ip(name, "link set lo up")


def set_gso_max(ns, device):
    """IFLA_GSO_MAX_SIZE and IFLA_GSO_IPV4_MAX_SIZE: what 45 datagrams of one UDP_SEGMENT hold, so that what is read
    at once is sent at once."""
    code = ("import socket,struct,sys;i=socket.if_nametoindex(sys.argv[1]);n=int(sys.argv[2]);"
            "s=socket.socket(socket.AF_NETLINK,socket.SOCK_RAW,0);"
            "a=struct.pack('=HHIHHI',8,41,n,8,63,n);"
            "s.send(struct.pack('=IHHIIBBHiII',32+len(a),16,5,1,0,0,0,0,i,0,0)+a);"
            "r=s.recv(4096);e=struct.unpack_from('=i',r,16)[0];sys.exit(e!=0)")
    run(ns, sys.executable, "-c", code, device, str(GSO_MAX))


def ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Plain:
    """The cable alone. Other ways build on it: prepare(), the address inside, the processes that carry."""
    name, overhead = "plain", 0

    def __init__(self, mtu):
        self.mtu, self.carriers = mtu, []
        self.address = "10.8.0.2"

    def start(self, ns, side, *argv):
        p = subprocess.Popen(["nsenter", f"--net=/run/bench/{ns}", *argv], text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.carriers.append(p)
        return p

    def prepare(self):
        pass

    def inside(self):
        for side, ns in ((1, "a"), (2, "b")):
            ip(ns, f"addr add 10.9.0.{side}/24 dev wg0")
            ip(ns, f"link set wg0 mtu {self.mtu - self.overhead} up")
            set_gso_max(ns, "wg0")
        self.address = "10.9.0.2"

    def end(self):
        for p in self.carriers:
            p.stdin.close()
            if "wireguard-go" in p.args:
                p.terminate()
            p.wait()
        for ns in ("a", "b"):
            subprocess.run(["nsenter", f"--net=/run/bench/{ns}", "ip", "link", "del", "wg0"],
                           stderr=subprocess.DEVNULL, check=False)


class Vxlan(Plain):
    name, overhead = "vxlan", 50

    def prepare(self):
        for side, ns in ((1, "a"), (2, "b")):
            ip(ns, f"link add wg0 type vxlan id 7 dstport 4789 local 10.8.0.{side} remote 10.8.0.{3 - side} dev eth0")
        self.inside()


class WireguardGo(Plain):
    name, overhead = "wireguard-go", 80

    def prepare(self):
        public = {}
        for side, ns in ((1, "a"), (2, "b")):
            self.start(ns, side, "wireguard-go", "-f", "wg0")
            while subprocess.run(["nsenter", f"--net=/run/bench/{ns}", "wg", "show", "wg0"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
                time.sleep(0.02)
            with open(f"/run/bench/key{side}", "w", encoding="ascii") as f:
                f.write(base64.b64encode(bytes([side]) * 32).decode())
            run(ns, "wg", "set", "wg0", "private-key", f"/run/bench/key{side}", "listen-port", "51820")
            public[side] = run(ns, "wg", "show", "wg0", "public-key").strip()
            os.rename("/run/wireguard/wg0.sock", f"/run/wireguard/at{side}.sock")
        for side, ns in ((1, "a"), (2, "b")):
            os.rename(f"/run/wireguard/at{side}.sock", "/run/wireguard/wg0.sock")
            run(ns, "wg", "set", "wg0", "peer", public[3 - side], "endpoint", f"10.8.0.{3 - side}:51820",
                "allowed-ips", "0.0.0.0/0")
            os.rename("/run/wireguard/wg0.sock", f"/run/wireguard/at{side}.sock")
        self.inside()


class Engine(Plain):
    name, aead, overhead = "engine-evp", "evp", 80

    def prepare(self):
        for side, ns in ((1, "a"), (2, "b")):
            p = self.start(ns, side, END, "engine", str(side), str(self.mtu - self.overhead), self.aead)
            if not p.stdout.readline().startswith("ready"):
                sys.exit("an engine does not begin")
        self.inside()


class EngineBest(Engine):
    name, aead = "engine", "best"


MODES = [Plain, Vxlan, WireguardGo, Engine, EngineBest]


def send(mode, streams, seconds):
    before = sum(ticks(p.pid) for p in mode.carriers)
    size, took = run("a", END, "send", mode.address, str(PORT), str(seconds), str(streams)).split()
    after = sum(ticks(p.pid) for p in mode.carriers)
    gb = int(size) / 1e9
    return {"gbit_s": round(gb * 8 / float(took), 2),
            "cpu_s_per_gb": round((after - before) / gb, 3) if mode.carriers else None}


def measure(kind, mtu, streams, seconds):
    mode = kind(mtu)
    mode.prepare()
    try:
        rtt = float(run("a", END, "rtt", mode.address, str(PORT), str(RTTS)))
        send(mode, 1, 1)
        for n in streams:
            yield {"mode": mode.name, "mtu": mtu, "streams": n, "rtt_us": rtt, **send(mode, n, seconds)}
    finally:
        mode.end()


def main():
    seconds = int(option("--seconds", "4"))
    mtus = [int(n) for n in option("--mtu", "1500,9000").split(",")]
    streams = [int(n) for n in option("--streams", "1,4").split(",")]
    wanted = option("--modes", ",".join(m.name for m in MODES)).split(",")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    os.makedirs("/run/bench")
    for name in ("a", "b"):
        with open(f"/run/bench/{name}", "w", encoding="ascii"):
            pass
        make_namespace(name)
    run("a", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", "/run/bench/b")
    for side, ns in ((1, "a"), (2, "b")):
        ip(ns, f"addr add 10.8.0.{side}/24 dev eth0")
    server = subprocess.Popen(["nsenter", "--net=/run/bench/b", END, "serve", str(PORT)], text=True,
                              stdout=subprocess.PIPE)
    server.stdout.readline()
    rows = []
    try:
        for mtu in mtus:
            for ns in ("a", "b"):
                ip(ns, f"link set eth0 mtu {mtu} up")
            for kind in MODES:
                if kind.name not in wanted:
                    continue
                for row in measure(kind, mtu, streams, seconds):
                    rows.append(row)
                    if "--json" not in sys.argv:
                        cpu = "-" if row["cpu_s_per_gb"] is None else f'{row["cpu_s_per_gb"]:.2f}'
                        print(f'{row["mode"]:14} mtu {mtu:5} streams {row["streams"]:2}  {row["gbit_s"]:6.2f} Gb/s  '
                              f'{cpu:>6} CPU s/GB  rtt {row["rtt_us"]:6.1f} us', flush=True)
    finally:
        server.terminate()
    if "--json" in sys.argv:
        print(json.dumps(rows))


main()
