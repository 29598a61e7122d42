# SPDX-License-Identifier: Apache-2.0
"""tools/bench overlay [--json] [--seconds 3] [--rounds 3] [--mtu 1420,8900] [--streams 1,4] [--ways plain,vxlan,...]
                    [--congestion cubic]

TCP from one node to another in the ways of overlay_way.py: over the bare cable, and between two containers by the
kernel's VXLAN, our programs with the same device, wireguard-go as Debian has it, the kernel's WireGuard where there is
one, and our engine, with OpenSSL's cipher and with the best of our own. Each round goes through all of them; what is said is the median of the rounds, and at the
end whether it is what is wanted. What counts is CPU time (user and system) for each GB that arrived: of the two
processes that carry, and of all that take part, the streams' ends and the kernel's threads among them: those for
softirqs, and the workers in which its WireGuard computes.
Gb/s say how many cores the machine has, and who else uses them. It takes some minutes, and never ten.
"""

import glob
import json
import os
import signal
import statistics
import subprocess
import sys

from overlay_way import ALL, BUILD, END, House, inside, run

PORT, RTTS, LONGEST_S, HANDSHAKES = 5001, 200, 580, 3000


def option(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


CONGESTION = option("--congestion", "cubic")  # Linux's own choice, whatever this machine's administrator has chosen


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kernel_threads():
    """Of each: what it has spent. Workers come and go."""
    spent = {}
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="ascii", errors="replace") as f:
                if f.read().startswith(("ksoftirqd/", "kworker/")):
                    pid = int(path.split("/")[2])
                    spent[pid] = cpu_s(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return spent


def send(way, server, streams, seconds):
    def spent():
        return sum(cpu_s(p.pid) for p in way.carriers), cpu_s(server.pid), kernel_threads()
    before = spent()
    sender = subprocess.Popen(inside(way.ends[0], END, "send", way.address, str(PORT), str(seconds), str(streams),
                                     CONGESTION), text=True, stdout=subprocess.PIPE)
    text = sender.stdout.read()
    _, status, used = os.wait4(sender.pid, 0)
    sender.returncode = os.waitstatus_to_exitcode(status)
    if sender.returncode:
        sys.exit(f"{way.name}: the streams broke")
    size, took = text.split()
    after = spent()
    carried, rest = (after[i] - before[i] for i in (0, 1))
    rest += sum(s - before[2].get(pid, 0) for pid, s in after[2].items())
    gb = int(size) / 1e9
    return {"gbit_s": gb * 8 / float(took), "carrier_s_per_gb": carried / gb if way.carriers else None,
            "all_s_per_gb": (carried + rest + used.ru_utime + used.ru_stime) / gb}


def measure(kind, house, mtu, streams, seconds):
    house.lay(mtu)
    way = kind(house, mtu)
    try:
        way.prepare()
        with subprocess.Popen(inside(way.ends[1], END, "serve", str(PORT)), text=True, stdout=subprocess.PIPE) as server:
            server.stdout.readline()
            try:
                rtt = float(run(way.ends[0], END, "rtt", way.address, str(PORT), str(RTTS), timeout=60))
                send(way, server, 1, 1)
                for n in streams:
                    yield {"way": way.name, "mtu": mtu, "streams": n, "rtt_us": rtt, **send(way, server, n, seconds)}
            finally:
                server.terminate()
    finally:
        way.end()


def medians(rows):
    """One row for each case, in the order in which they came."""
    cases = {}
    for row in rows:
        cases.setdefault((row["mtu"], row["way"], row["streams"]), []).append(row)
    return [{**same[0], **{what: statistics.median(row[what] for row in same)
                           for what in ("rtt_us", "gbit_s", "all_s_per_gb", "carrier_s_per_gb")
                           if same[0][what] is not None}} for same in cases.values()]


def show(row):
    carriers = "-" if row["carrier_s_per_gb"] is None else f'{row["carrier_s_per_gb"]:.2f}'
    return (f'{row["way"]:16} mtu {row["mtu"]:5} streams {row["streams"]:2}  {row["gbit_s"]:6.2f} Gb/s  '
            f'{carriers:>6} CPU s/GB carrying  {row["all_s_per_gb"]:6.2f} in all  rtt {row["rtt_us"]:6.1f} us')


WANTED = [  # what, of which way, beside which other one, the bound, whether it is the most (or the least)
    ("carrier_s_per_gb", "engine", "wireguard-go", 0.2, True),
    ("gbit_s", "engine", "wireguard-go", 1.6, False),
    ("rtt_us", "engine", "wireguard-go", 1.0, True),
    ("all_s_per_gb", "ours", "vxlan", 1.05, True),
]


def judge(rows):
    """Ratios of the medians of one case."""
    by_case = {(row["way"], row["mtu"], row["streams"]): row for row in rows}
    for what, way, other, bound, most in WANTED:
        for row in rows:
            beside = by_case.get((other, row["mtu"], row["streams"]))
            if row["way"] != way or not beside:
                continue
            ratio = row[what] / beside[what] if beside[what] else float("inf")
            yield {"what": f'{what} of {way} beside {other}, mtu {row["mtu"]}, streams {row["streams"]}',
                   "value": round(ratio, 3), "wanted": bound, "most": most,
                   "met": ratio <= bound if most else ratio >= bound}


def handshakes():
    text = subprocess.run([os.path.join(BUILD, "bench", "bench-wg"), "--json", "--handshakes", str(HANDSHAKES)], check=True,
                          text=True, stdout=subprocess.PIPE, timeout=120).stdout
    row = next(r for r in map(json.loads, text.splitlines()) if r["row"] == "rate")
    return {"what": "handshakes/s answered by one core", "value": round(row["ours"]), "wanted": round(row["peer"]),
            "most": False, "met": row["ours"] >= row["peer"]}


def too_long(*_):
    sys.exit(f"the bench took more than {LONGEST_S} s: fewer --rounds, --seconds or --ways")


def measured(say):
    seconds, rounds = int(option("--seconds", "3")), int(option("--rounds", "3"))
    mtus = [int(n) for n in option("--mtu", "1420,8900").split(",")]
    streams = [int(n) for n in option("--streams", "1,4").split(",")]
    wanted = option("--ways", ",".join(way.name for way in ALL)).split(",")
    house, rows = House(), []
    kinds = [kind for kind in ALL if kind.name in wanted]
    skipped = {kind.name: kind.lacks() for kind in kinds if kind.lacks()}
    for name, why in skipped.items():
        say(f"skipped: {name}: {why}")
    for i in range(rounds):
        for mtu in mtus:
            for kind in kinds:
                if kind.name in skipped:
                    continue
                for row in measure(kind, house, mtu, streams, seconds):
                    rows.append(row)
                    say(f"{i + 1}/{rounds}  {show(row)}")
    return medians(rows), skipped


def main():
    as_json = "--json" in sys.argv

    def say(text):
        if not as_json:
            print(text, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LONGEST_S)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    os.makedirs("/run/bench")
    rows, skipped = measured(say)
    verdicts = [*judge(rows), handshakes()]
    if as_json:
        print(json.dumps({"rows": rows, "skipped": skipped, "wanted": verdicts}))
        return
    say("\nmedians")
    for row in rows:
        say(show(row))
    say("\nwanted")
    for v in verdicts:
        say(f'{"met   " if v["met"] else "MISSED"}  {v["value"]:>8}  {"at most" if v["most"] else "at least"} {v["wanted"]:<6}'
            f'  {v["what"]}')


main()
