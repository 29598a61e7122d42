# SPDX-License-Identifier: Apache-2.0
"""The ways from one node to another that overlay.py measures, and what stands around them.

    ca                        fa                     a       b                     fb                        cb
    eth0 10.200.1.2/32 ---- c0, tunnel ............ eth0 --- eth0 ............ tunnel, c0 ---- 10.200.2.2/32 eth0
    container               fabric                  host 10.8.0.1, .2          fabric                 container

As on a node: containers and what carries between nodes are in the fabric, only the outer packets are in the host's
namespace. Between a container's link and a tunnel stand the programs of the product, except for the kernel's VXLAN,
which is what one would set up by hand: routes.
"""

import base64
import contextlib
import os
import socket
import subprocess
import sys

BUILD = os.path.abspath(sys.argv[1])
END = os.path.join(BUILD, "bench", "overlay-end")
FABRIC = os.path.join(BUILD, "bench", "overlay-fabric")
RUN = "/run/bench"
SIDES = {1: "a", 2: "b"}
OUTER = 80  # bytes of the largest overhead: all ways carry packets of the same size over the same cable
GATEWAY = "169.254.1.1"
UDP_MAX, TCP_RESERVES = 65507, 257


def inside(space, *argv):
    return ["nsenter", f"--net={RUN}/{space}", *argv]


def run(space, *argv, **more):
    return subprocess.run(inside(space, *argv), check=True, text=True, stdout=subprocess.PIPE, **more).stdout


def ip(space, line):
    run(space, "ip", *line.split())


def make_space(name):
    """Its name is a mount: below a /run of this program's own."""
    with open(f"{RUN}/{name}", "w", encoding="ascii"):
        pass
    subprocess.run(["unshare", f"--net={RUN}/{name}", "true"], check=True)
    ip(name, "link set lo up")


def gso_max(mtu):
    """As runtime/net_gso.c has it for the link of a container that sends sealed: what one UDP_SEGMENT holds."""
    count = min(UDP_MAX // (mtu + 32), 64)
    return min(count * (mtu - 40), (count + 1) * (mtu - 72) - 1) + TCP_RESERVES


def set_link(space, device, kind, size):
    """One attribute of 32 bits of a link: iproute2 of Debian 12 has no word for it."""
    code = ("import socket,struct,sys;i=socket.if_nametoindex(sys.argv[1]);k,n=int(sys.argv[2]),int(sys.argv[3]);"
            "s=socket.socket(socket.AF_NETLINK,socket.SOCK_RAW,0);"
            "s.send(struct.pack('=IHHIIBBHiIIHHI',40,16,5,1,0,0,0,0,i,0,0,8,k,n));"
            "sys.exit(struct.unpack_from('=i',s.recv(4096),16)[0]!=0)")
    run(space, sys.executable, "-c", code, device, str(kind), str(size))


def set_gro(space, device):
    """Receive offload, as the product has it on for containers' links."""
    code = ("import array,fcntl,socket,struct,sys;v=array.array('B',struct.pack('II',0x2c,1));"
            "fcntl.ioctl(socket.socket(),0x8946,struct.pack('16sP',sys.argv[1].encode(),v.buffer_info()[0]))")
    run(space, sys.executable, "-c", code, device)


class House:
    """Namespaces, the cable, and a container on each side."""

    def __init__(self):
        for side, name in SIDES.items():
            for space in (name, "f" + name, "c" + name):
                make_space(space)
            os.makedirs(f"{RUN}/bpf{side}")
            subprocess.run(["mount", "-t", "bpf", "bpf", f"{RUN}/bpf{side}"], check=True)
        run("a", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", f"{RUN}/b")
        for side, name in SIDES.items():
            ip(name, f"addr add 10.8.0.{side}/24 dev eth0")

    def lay(self, mtu):
        """The cable and new containers, for packets of this size inside."""
        for side, name in SIDES.items():
            ip(name, f"link set eth0 mtu {mtu + OUTER} up")
            subprocess.run(inside("f" + name, "ip", "link", "del", "c0"), stderr=subprocess.DEVNULL, check=False)
            ip("f" + name, f"link add c0 mtu {mtu} type veth peer name eth0 mtu {mtu} netns {RUN}/c{name}")
            set_gro("c" + name, "eth0")
            ip("f" + name, "link set c0 up")
            ip("c" + name, "link set eth0 up")
            ip("c" + name, f"addr add 10.200.{side}.2/32 dev eth0")
            ip("c" + name, f"neigh add {GATEWAY} lladdr {self.mac('f' + name, 'c0')} dev eth0 nud permanent")
            ip("c" + name, f"route add default via {GATEWAY} dev eth0 onlink")
            ip("f" + name, f"neigh add 10.200.{side}.2 lladdr {self.mac('c' + name, 'eth0')} dev c0 nud permanent")
            ip("f" + name, f"route add 10.200.{side}.2 dev c0")
            run("f" + name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    @staticmethod
    def mac(space, device):
        return run(space, "ip", "-o", "link", "show", device).split("link/ether ")[1].split()[0]


class Plain:
    """The cable alone, between its two ends. Others build on it: prepare(), where the two ends of streams are, and
    the processes that carry."""
    name, ends, address = "plain", ("a", "b"), "10.8.0.2"

    @staticmethod
    def lacks():
        """Why it cannot be measured here."""
        return ""

    def __init__(self, house, mtu):
        self.house, self.mtu, self.carriers, self.stack = house, mtu, [], contextlib.ExitStack()

    def prepare(self):
        for name in SIDES.values():
            ip(name, f"link set eth0 mtu {self.mtu}")

    def start(self, space, *argv, ready=True, **more):
        """Until the end of all: its input is closed then."""
        path = f"{RUN}/{space}.log"
        with open(path, "w", encoding="utf-8") as log:
            p = subprocess.Popen(inside(space, *argv), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                 **more)
        self.stack.callback(self.finish, p)
        if ready and not p.stdout.readline().startswith("ready"):
            with open(path, encoding="utf-8") as log:
                sys.exit(f"{argv[0]} does not begin: {log.read()}")
        return p

    @staticmethod
    def finish(p):
        p.stdin.close()
        p.stdout.close()
        p.wait(30)

    def gone(self, space, device):
        self.stack.callback(subprocess.run, inside(space, "ip", "link", "del", device), stderr=subprocess.DEVNULL)

    def end(self):
        self.stack.close()


class Tunnel(Plain):
    """Containers at the ends."""
    ends, address, sealed = ("ca", "cb"), "10.200.2.2", True

    def to_fabric(self, name, device):
        """A device of the host's namespace goes where containers are; its socket stays."""
        ip(name, f"link set {device} netns {RUN}/f{name}")
        self.gone("f" + name, device)
        ip("f" + name, f"link set {device} mtu {self.mtu} up")

    def hook(self, device):
        for side, name in SIDES.items():
            if self.sealed:
                set_link("c" + name, "eth0", 41, gso_max(self.mtu))  # IFLA_GSO_MAX_SIZE
            self.start("f" + name, FABRIC, str(side), "sealed" if self.sealed else "plain", "c0", device.format(side),
                       str(self.mtu), self.house.mac("c" + name, "eth0"), cwd=f"{RUN}/bpf{side}")


class Vxlan(Tunnel):
    name = "vxlan"

    def prepare(self):
        for side, name in SIDES.items():
            ip(name, f"link add vx type vxlan id 7 dstport 4789 local 10.8.0.{side} remote 10.8.0.{3 - side} dev eth0")
            self.to_fabric(name, "vx")
            ip("f" + name, f"addr add 10.9.0.{side}/24 dev vx")
            ip("f" + name, f"route add 10.200.{3 - side}.0/24 via 10.9.0.{3 - side} dev vx")


class Ours(Tunnel):
    name, sealed = "ours", False

    def prepare(self):
        for name in SIDES.values():
            ip(name, "link add vx type vxlan external dstport 4789 nolearning")
            self.to_fabric(name, "vx")
        self.hook("vx")


class Wireguard(Tunnel):
    """Of others, set up with wg(8). make(): its devices, in the host's namespaces."""

    def make(self, side, name):
        raise NotImplementedError

    def prepare(self):
        public = {}
        for side, name in SIDES.items():
            self.make(side, name)
            with open(f"{RUN}/key{side}", "w", encoding="ascii") as f:
                f.write(base64.b64encode(bytes([side]) * 32).decode())
            run(name, "wg", "set", f"wg{side}", "private-key", f"{RUN}/key{side}", "listen-port", "51820")
            public[side] = run(name, "wg", "show", f"wg{side}", "public-key").strip()
        for side, name in SIDES.items():
            run(name, "wg", "set", f"wg{side}", "peer", public[3 - side], "endpoint", f"10.8.0.{3 - side}:51820",
                "allowed-ips", "0.0.0.0/0")
            self.to_fabric(name, f"wg{side}")
        self.hook("wg{}")


class WireguardKernel(Wireguard):
    name = "wireguard-kernel"

    @staticmethod
    def lacks():
        made = subprocess.run(inside("a", "ip", "link", "add", "probe0", "type", "wireguard"), stderr=subprocess.DEVNULL, check=False)
        if made.returncode != 0:
            return "this kernel has no WireGuard"
        ip("a", "link del probe0")
        return ""

    def make(self, side, name):
        ip(name, f"link add wg{side} type wireguard")


class WireguardGo(Wireguard):
    name = "wireguard-go"

    def make(self, side, name):
        """Its socket for `wg` is there before it is: who asks waits for the answer."""
        os.makedirs("/run/wireguard", exist_ok=True)
        path = f"/run/wireguard/wg{side}.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self.stack.callback(lambda: os.path.exists(path) and os.unlink(path))
            p = self.start(name, "wireguard-go", "-f", f"wg{side}", ready=False, pass_fds=[listener.fileno()],
                           env={**os.environ, "WG_UAPI_FD": str(listener.fileno())})
        self.stack.callback(p.terminate)
        self.carriers.append(p)


class Engine(Tunnel):
    name, aead = "engine-evp", "evp"

    def prepare(self):
        for side, name in SIDES.items():
            self.carriers.append(self.start(name, END, "engine", str(side), str(self.mtu), self.aead, f"{RUN}/f{name}"))
            ip("f" + name, "link set wg0 up")
        self.hook("wg0")


class EngineBest(Engine):
    name, aead = "engine", "best"


ALL = [Plain, Vxlan, Ours, WireguardGo, WireguardKernel, Engine, EngineBest]
