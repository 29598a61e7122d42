#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md and docs/limits.md say what the sources say: they are written from them. docs/events.md names
the types that there are.

  tests/lint/documents.py SOURCE BUILD           finds where a document is no longer true
  tests/lint/documents.py SOURCE BUILD --write   writes them anew"""

import os
import re
import sys

import tree

COMMAND = "/usr/bin/python3 tests/lint/documents.py . build --write"

# ---- metrics ----

FAMILY = re.compile(r"\bX\((\d+),\s*([A-Z0-9_]+),\s*\"([a-z0-9_]+)\",\s*([A-Z]+),\s*([A-Z]+),"
                    r"\s*([A-Z_]+),\s*((?:\"(?:\\.|[^\"\\])*\"\s*)+)\)")


def producers():
    """Constant of a family -> folders whose code counts it; the ring's own runs in any process."""
    found = {}
    for path in tree.c_files(product=True):
        folder = path.split(os.sep)[0]
        if path.endswith(".c") and path != os.path.join("ring", "metrics.c"):
            for name in re.findall(r"\bMETRICS_([A-Z0-9_]+)\b", tree.read(path)):
                found.setdefault(name, set()).add("any" if folder == "ring" else folder)
    return found


def metrics():
    text = tree.read("ring/metrics.h").replace("\\\n", " ")
    made_by = producers()
    out = ["# Metrics", "",
           "Served at `/metrics` of the listener `listen.metrics`, as the text format 0.0.4 or as",
           "OpenMetrics 1.0, whatever the scraper asks for. All processes of the node are summed: a",
           "counter goes on when a process is replaced. Durations are in seconds, sizes in bytes.",
           "When a limit of series is reached, further label sets are counted under the label value",
           "`other`; `zlayer_metrics_series_folded_total` says how many.", "",
           f"Written from `ring/metrics.h` by `{COMMAND}`.", "",
           "| family | kind | what it says | process |", "|---|---|---|---|"]
    rows = FAMILY.findall(text)
    for _id, constant, name, kind, _scale, _bounds, help_text in rows:
        said = "".join(re.findall(r'"((?:\\.|[^"\\])*)"', help_text)).replace('\\"', '"')
        by = ", ".join(sorted(made_by.get(constant, ()))) or "nothing yet"
        out.append(f"| `{name}` | {kind.lower()} | {said} | {by} |")
    return rows, "\n".join(out) + "\n"


# ---- limits ----

ENUM = re.compile(r"\benum\s*\w*\s*\{(.*?)\}\s*;", re.S)
CONSTANT = re.compile(r"\b([A-Z][A-Z0-9_]*)\s*=\s*([^,{}]+?)\s*(?:,|$)", re.S)
WANTED = re.compile(r"(_MAX(_|$)|_MS$|_S$|_SLOTS$)")
ENOUGH = re.compile(r"[\s0-9a-fxA-FX()+*/<-]+")


def plain(path):
    return re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group(0)), tree.read(path),
                  flags=re.S)


def constants():
    """(path, name, expression, comment) of the enumerators of all headers."""
    for path in tree.c_files(product=True):
        if not path.endswith(".h"):
            continue
        text, source = plain(path), tree.read(path)
        for body in ENUM.finditer(text):
            for match in CONSTANT.finditer(body.group(1)):
                end = body.start(1) + match.end()
                line = source[end:].split("\n", 1)[0]
                comment = re.match(r"\s*/\*\s*(.*?)\s*(\*/|$)", line)
                yield path, match.group(1), match.group(2), comment.group(1) if comment else ""


def value_of(expression, known):
    """As a number, or None when it is not made of numbers."""
    for _ in range(8):
        expression = re.sub(r"\b[A-Z][A-Z0-9_]+\b",
                            lambda m: f"({known[m.group(0)]})" if m.group(0) in known else
                            m.group(0), expression)
    expression = re.sub(r"(?<=[0-9])[uUlL]+\b", "", expression)
    if not ENOUGH.fullmatch(expression):
        return None
    return eval(expression.replace("/", "//"), {"__builtins__": {}})  # digits and operators only


def shown(name, number):
    if number is None:
        return "see there"
    for unit, power in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if number >= 1 << power and number % (1 << power) == 0 and not name.endswith(("_MS", "_S")):
            return f"{number} ({number >> power} {unit})"
    return str(number)


def limits():
    found = list(constants())
    known = {name: expression for _, name, expression, _ in found}
    out = ["# Limits", "",
           "Everything that grows has an end: these are the limits and times that the headers name,",
           "with their values. What reaches one is refused, dropped or counted, as the header says;",
           "nothing is cut short unsaid. Limits of one file stand at its top.", "",
           f"Written from the headers by `{COMMAND}`.", ""]
    folder, count = None, 0
    for path, name, expression, comment in found:
        if not WANTED.search(name):
            continue
        if path.split(os.sep)[0] != folder:
            folder = path.split(os.sep)[0]
            out += [] if count == 0 else [""]
            out += [f"## {folder}", "", "| constant | value | header | |", "|---|---|---|---|"]
        number = shown(name, value_of(expression, known))
        out.append(f"| `{name}` | {number} | `{path}` | {comment.replace('|', chr(92) + '|')} |")
        count += 1
    return count, "\n".join(out) + "\n"


# ---- events ----


def events(report):
    """The list of ring/events.c, the page, and what the scheduler emits are the same."""
    known = set(re.findall(r'"([a-z]+\.[a-z_]+)"', tree.read("ring/events.c")))
    page = set()
    for line in tree.read("docs/events.md").splitlines():
        if line.startswith("| `"):
            page.update(re.findall(r"`([a-z]+\.[a-z_]+)`", line.split("|")[1]))
    groups = {name.split(".")[0] for name in known}
    emitted = set()
    for path in tree.c_files(product=True):
        if path.startswith("scheduler" + os.sep):
            emitted.update(name for name in re.findall(r'"([a-z]+\.[a-z_]+)"', tree.read(path))
                           if name.split(".")[0] in groups)
    for name in sorted(known ^ page):
        report.add("docs/events.md", 1, f"{name} is not in both, the page and ring/events.c")
    for name in sorted(known ^ emitted):
        report.add("ring/events.c", 1, f"{name} is not in both, the list and the scheduler")
    if len(known) < 30:
        report.add("tests/lint/documents.py", 1, "it no longer understands ring/events.c")


def main():
    report = tree.Report()
    events(report)
    rows, metrics_text = metrics()
    count, limits_text = limits()
    if len(rows) < 40 or count < 60 or len(rows) != tree.read("ring/metrics.h").count("\tX("):
        report.add("tests/lint/documents.py", 1, "it no longer understands the headers")
    for path, text in (("docs/metrics.md", metrics_text), ("docs/limits.md", limits_text)):
        whole = os.path.join(tree.ROOT, path)
        if "--write" in sys.argv:
            with open(whole, "w", encoding="utf-8") as f:
                f.write(text)
        elif not os.path.exists(whole) or tree.read(path) != text:
            is_there = tree.read(path).split("\n") if os.path.exists(whole) else []
            line = next((i for i, pair in enumerate(zip(is_there, text.split("\n")), 1)
                         if pair[0] != pair[1]), len(is_there) + 1)
            report.add(path, line, f"no longer what the sources say: run {COMMAND}")
    report.finish()


main()
