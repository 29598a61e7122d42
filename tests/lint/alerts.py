#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Alerts and the dashboard: promtool takes the rules and they fire as alerts_test.yml says; every
metric that they name is one of ring/metrics.h; every alert stands in the test and in
docs/operations.md."""

import json
import re
import shutil
import subprocess

import tree

RULES = "observability/prometheus/alerts.yml"
TESTS = "tests/lint/alerts_test.yml"
DASHBOARD = "observability/grafana/zlayer.json"
SUFFIXES = {"HISTOGRAM": ("_bucket", "_sum", "_count"), "COUNTER": ("",), "GAUGE": ("",)}


def known():
    text = tree.read("ring/metrics.h").replace("\\\n", " ")
    rows = re.findall(r'\bX\(\d+,\s*[A-Z0-9_]+,\s*"([a-z0-9_]+)",\s*([A-Z]+)', text)
    return {name + suffix for name, kind in rows for suffix in SUFFIXES[kind]}


def unknown(text, names):
    return sorted(set(re.findall(r"\b(?:zlayer|process)_[a-z0-9_]+\b(?=[{\[) ,]|$)", text)) - names)


def main():
    report = tree.Report()
    names, rules, tests = known(), tree.read(RULES), tree.read(TESTS)
    expressions = "\n".join(line.partition("#")[0] for line in rules.splitlines())
    expressions = re.sub(r'"(?:\\.|[^"\\])*"', '""', re.sub(r"(summary|fix|name): .*", "", expressions))
    for name in unknown(expressions, names):
        report.add(RULES, 1, f"{name} is no metric of ring/metrics.h")
    panels = json.loads(tree.read(DASHBOARD))["panels"]
    for panel in panels:
        for target in panel["targets"]:
            for name in unknown(re.sub(r'"[^"]*"', '""', target["expr"]), names):
                report.add(DASHBOARD, 1, f"{name} is no metric of ring/metrics.h")
    operations = tree.read("docs/operations.md")
    for alert in re.findall(r"- alert: (\w+)", rules):
        if f'alertname="{alert}"' not in tests:
            report.add(TESTS, 1, f"{alert} is not tried")
        if f"`{alert}`" not in operations:
            report.add("docs/operations.md", 1, f"{alert} is not explained")
    if shutil.which("promtool"):
        for command in (["promtool", "check", "rules", RULES], ["promtool", "test", "rules", TESTS]):
            r = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True)
            if r.returncode != 0:
                report.add(command[-1], 1, (r.stdout + r.stderr).strip())
    report.finish()


main()
