# SPDX-License-Identifier: Apache-2.0
"""tools/bench gossip [--json] [--agents 30,100] [--seconds 20] [--no-peer]

As many agents of ours as of serf, one after the other, on the loopback of a network namespace of
their own: CPU, memory and traffic of an idle agent, the time until an event has reached all, and
the time until all know that three were killed at once. Times are taken when this program reads the
agents' lines, for both in the same way.
"""

import json
import os
import selectors
import signal
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(sys.argv[1])
EVENTS, KILLED, PORT = 20, 3, 20000


def option(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


class Agents:
    """Processes whose lines are read as they come: line(n) -> what it means, by subclass."""

    def __init__(self, count, folder):
        self.count, self.folder = count, folder
        self.processes, self.selector = {}, selectors.DefaultSelector()
        self.rest = {}

    def add(self, n, argv):
        p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             cwd=self.folder)
        os.set_blocking(p.stdout.fileno(), False)
        self.processes[n], self.rest[n] = p, b""
        self.selector.register(p.stdout, selectors.EVENT_READ, n)

    def lines(self, until):
        """(agent, line, time) until the deadline."""
        while time.monotonic() < until:
            for key, _ in self.selector.select(max(0, min(0.5, until - time.monotonic()))):
                data = key.fileobj.read()
                now = time.monotonic()
                if not data:
                    self.selector.unregister(key.fileobj)
                    continue
                *whole, self.rest[key.data] = (self.rest[key.data] + data).split(b"\n")
                for line in whole:
                    yield key.data, line.decode(errors="replace"), now

    def wait(self, seconds, want):
        """Times of the first line of each agent for which want(agent, line) holds; ends when all have one."""
        times = {}
        for n, line, now in self.lines(time.monotonic() + seconds):
            if n not in times and want(n, line):
                times[n] = now
                if len(times) == len(self.alive()):
                    break
        return times

    def alive(self):
        return [n for n, p in self.processes.items() if p.poll() is None]

    def drain(self, seconds):
        for _ in self.lines(time.monotonic() + seconds):
            pass

    def kill(self, names):
        for n in names:
            self.processes[n].send_signal(signal.SIGKILL)
            self.processes[n].wait()

    def end(self):
        self.kill(self.alive())


class Ours(Agents):
    name = "zlayer"

    def start(self):
        agent = os.path.join(BUILD, "bench", "gossip-agent")
        subprocess.run([agent, self.folder, "prepare", str(self.count), str(PORT)], check=True)
        for n in range(1, self.count + 1):
            self.add(n, [agent, self.folder, str(n)])

    def ask(self, n, text):
        self.processes[n].stdin.write(text.encode() + b"\n")
        self.processes[n].stdin.flush()

    def settle(self):
        """Until everybody sees everybody."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for n in self.alive():
                self.ask(n, "members")
            counts = {}
            for n, line, _ in self.lines(time.monotonic() + 2):
                if line.startswith("members "):
                    counts[n] = int(line.split()[1])
                    if len(counts) == self.count:
                        break
            if len(counts) == self.count and set(counts.values()) == {self.count}:
                return
        raise SystemExit("gossip: the agents do not see each other")

    def event(self, n, text):
        self.ask(n, "put " + text)

    def is_event(self, line, text):
        return line.startswith("entry ") and line.endswith(" " + text)

    def event_misses_sender(self):
        return True

    def is_death(self, line):
        return int(line.split()[1]) if line.startswith("member ") and line.endswith(" dead") else None


class Serf(Agents):
    name = "serf"

    def start(self):
        for n in range(1, self.count + 1):
            argv = ["serf", "agent", f"-node=n{n}", f"-bind=127.0.0.1:{PORT + n}",
                    f"-rpc-addr=127.0.0.1:{PORT + 5000 + n}", "-log-level=debug"]
            if n > 1:
                argv.append(f"-retry-join=127.0.0.1:{PORT + 1}")
                argv.append("-retry-interval=1s")
            self.add(n, argv)
            if n % 10 == 1:
                self.drain(0.3)

    def settle(self):
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            self.drain(2)
            short = 0
            for n in self.alive():
                out = subprocess.run(["serf", "members", "-status=alive", f"-rpc-addr=127.0.0.1:{PORT + 5000 + n}"],
                                     capture_output=True, text=True)
                short += len(out.stdout.splitlines()) != self.count
            if short == 0:
                self.drain(5)
                return
        raise SystemExit("gossip: serf's agents do not see each other")

    def event(self, n, text):
        subprocess.run(["serf", "event", "-coalesce=false", f"-rpc-addr=127.0.0.1:{PORT + 5000 + n}", text],
                       check=True, stdout=subprocess.DEVNULL)

    def is_event(self, line, text):
        return "user-event: " + text in line

    def event_misses_sender(self):
        return False

    def is_death(self, line):
        if "EventMemberFailed: n" not in line:
            return None
        return int(line.split("EventMemberFailed: n")[1].split()[0])


def cpu_ns(pid):
    """Of all threads: finer than the ticks of stat."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
    return total


def pss_kib(pid):
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def loopback():
    for line in open("/proc/net/dev"):
        if line.strip().startswith("lo:"):
            fields = line.split(":")[1].split()
            return int(fields[0]), int(fields[1])
    return 0, 0


def idle(agents, seconds):
    pids = [agents.processes[n].pid for n in agents.alive()]
    before, (bytes_before, packets_before) = [cpu_ns(p) for p in pids], loopback()
    start = time.monotonic()
    agents.drain(seconds)
    took = time.monotonic() - start
    bytes_after, packets_after = loopback()
    cpu = sum(cpu_ns(p) for p in pids) - sum(before)
    return {
        "cpu_percent": cpu / 1e9 / took / len(pids) * 100,
        "pss_mib": sum(pss_kib(p) for p in pids) / 1024 / len(pids),
        "bytes_per_second": (bytes_after - bytes_before) / took / len(pids),
        "packets_per_second": (packets_after - packets_before) / took / len(pids),
    }


def events(agents):
    """Latencies to every agent, of all events together."""
    delays, last = [], []
    for i in range(EVENTS):
        sender = 1 + i * 7 % agents.count
        text = f"news-{i}"
        start = time.monotonic()
        agents.event(sender, text)
        skip = sender if agents.event_misses_sender() else None
        times = {}
        for n, line, now in agents.lines(start + 20):
            if n != skip and n not in times and agents.is_event(line, text):
                times[n] = now - start
                if len(times) == agents.count - (skip is not None):
                    break
        else:
            raise SystemExit(f"gossip: an event of {agents.name} did not reach all")
        delays += times.values()
        last.append(max(times.values()))
        agents.drain(0.3)
    delays.sort()
    return {"event_p50_ms": delays[len(delays) // 2] * 1e3, "event_p99_ms": delays[len(delays) * 99 // 100] * 1e3,
            "event_all_ms": statistics.median(last) * 1e3}


def deaths(agents):
    victims = {agents.count // 4, agents.count // 2, agents.count - 1}
    agents.kill(victims)
    start = time.monotonic()
    known = {n: {} for n in agents.alive()}
    for n, line, now in agents.lines(start + 60):
        dead = agents.is_death(line)
        if dead is None or n not in known:
            continue
        if dead not in victims:
            raise SystemExit(f"gossip: {agents.name} took a living agent for dead")
        known[n].setdefault(dead, now - start)
        if all(len(k) == KILLED for k in known.values()):
            break
    else:
        raise SystemExit(f"gossip: not all of {agents.name} know who died")
    return {"crash_first_s": min(max(k.values()) for k in known.values()),
            "crash_all_s": max(max(k.values()) for k in known.values())}


def measure(kind, count, seconds):
    with tempfile.TemporaryDirectory(prefix="zlayer-gossip-") as folder:
        agents = kind(count, folder)
        try:
            agents.start()
            agents.settle()
            agents.drain(3)
            row = {"agents": count, "program": kind.name}
            row.update(idle(agents, seconds))
            row.update(events(agents))
            row.update(deaths(agents))
            return row
        finally:
            agents.end()


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    seconds = float(option("--seconds", 20))
    kinds = [Ours] if "--no-peer" in sys.argv else [Ours, Serf]
    rows = [measure(kind, int(count), seconds)
            for count in option("--agents", "30,100").split(",") for kind in kinds]
    if "--json" in sys.argv:
        print(json.dumps(rows))
        return
    columns = [c for c in rows[0] if c not in ("agents", "program")]
    print(f"{'agents':>6} {'program':8}" + "".join(f"{c:>20}" for c in columns))
    for row in rows:
        print(f"{row['agents']:>6} {row['program']:8}" + "".join(f"{row[c]:>20.3f}" for c in columns))


main()
