# SPDX-License-Identifier: Apache-2.0
"""/metrics: clean for promtool and the strict OpenMetrics parser, and counting what was sent."""

import contextlib
import gzip
import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import zl
from zl import Node, check, equal, service, wait_for

OPENMETRICS = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
               "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")


def scrape(accept="text/plain"):
    request = urllib.request.Request("http://127.0.0.1:9883/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as r:
        return r.read().decode(), r.headers["Content-Type"]


def total(text, name, **labels):
    sum_ = 0.0
    for line in text.splitlines():
        m = re.match(r"^(\w+)(?:\{(.*)\})? (\S+)$", line)
        if m and m[1] == name and all(f'{k}="{v}"' in (m[2] or "") for k, v in labels.items()):
            sum_ += float(m[3])
    return sum_


def test_formats_and_counts():
    with Node() as node:
        node.import_image()
        node.deploy(service(replicas=2))
        # Every kind of endpoint, and a service that is off.
        more = service("more", host="more.test", deployment="other").replace(
            "    scale:", "      - { name: raw, protocol: tcp, port: 7000, target_port: 8080, expose: public }\n"
            "      - { name: dgram, protocol: udp, port: 7001, target_port: 8080, expose: public }\n    scale:")
        node.deploy(more)
        node.cli("stop", "other/more")
        before, _ = scrape()
        sent = 200
        for _ in range(4):
            r = subprocess.run(["h2load", "-n", str(sent // 4), "-c", "2", "-m", "10", "--connect-to=127.0.0.1:8443",
                                "https://web.test/bytes/100"], capture_output=True, text=True, timeout=60)
            check(f"{sent // 4} succeeded" in r.stdout, r.stdout)
        name, labels = "zlayer_http_requests_total", {"service": "shop/web", "code": "200"}
        wait_for(lambda: total(scrape()[0], name, **labels) - total(before, name, **labels) == sent,
                 "requests are counted exactly")
        text, kind = scrape()
        check(kind.startswith("text/plain"), kind)
        r = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        equal((r.returncode, r.stdout + r.stderr), (0, ""), "promtool")
        text, kind = scrape(OPENMETRICS)
        check(kind.startswith("application/openmetrics-text"), kind)
        from prometheus_client.openmetrics.parser import text_string_to_metric_families
        families = {f.name for f in text_string_to_metric_families(text)}
        for family in ("zlayer_http_requests", "zlayer_http_request_duration_seconds", "zlayer_tls_handshakes",
                       "zlayer_service_replicas", "zlayer_container_starts", "zlayer_health_checks", "zlayer_process_up",
                       "zlayer_build_info", "zlayer_node_info", "zlayer_connections_accepted",
                       "zlayer_tls_certificate_not_after_timestamp_seconds", "process_cpu_seconds"):
            check(family in families, family, "is not in", sorted(families))


def ask(expression):
    """One instant query of the Prometheus that runs: [(labels, value)]."""
    url = "http://127.0.0.1:9090/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(url, timeout=30) as r:
        return [(row["metric"], float(row["value"][1])) for row in json.load(r)["data"]["result"]]


@contextlib.contextmanager
def prometheus(folder):
    config = os.path.join(folder, "prometheus.yml")
    with open(config, "w") as f:
        f.write("global: { scrape_interval: 1s, evaluation_interval: 1s }\n"
                f"rule_files: [ {zl.SOURCE}/observability/prometheus/alerts.yml ]\n"
                "scrape_configs: [ { job_name: zlayer, static_configs: [ { targets: ['127.0.0.1:9883'] } ] } ]\n")
    with open(os.path.join(folder, "prometheus.log"), "w") as log:
        process = subprocess.Popen(
            ["prometheus", "--config.file", config, "--storage.tsdb.path", os.path.join(folder, "tsdb"),
             "--web.listen-address", "127.0.0.1:9090", "--enable-feature=exemplar-storage"], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def panels():
    """(title, expression) of the dashboard, its variables filled in."""
    with open(os.path.join(zl.SOURCE, "observability/grafana/zlayer.json")) as f:
        dashboard = json.load(f)
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "1m")
            for name in ("service", "instance"):
                text = text.replace(f"${name}", ".*")
            check("$" not in text, text)
            yield panel["title"], text


def test_alerts_and_dashboard():
    """Prometheus takes the rules and finds nothing wrong; each panel has something to show."""
    with Node() as node:
        node.import_image()
        node.deploy(service(replicas=2))
        with prometheus(node.folder):
            def answers(expression):
                try:
                    return ask(expression)
                except urllib.error.HTTPError as e:
                    if e.code == 503:  # it starts
                        return []
                    raise zl.Failure(f"{expression}: {e.read().decode()}") from e
                except OSError:
                    return []
            wait_for(lambda: answers('up{job="zlayer"} == 1'), "Prometheus takes what the node serves")
            for path in ("/health", "/status/500", "/bytes/1000"):
                node.curl(path, "web.test", "-o", "/dev/null")
            for title, expression in panels():
                wait_for(lambda: answers(expression), f"{title} has something to show: {expression}")
            with urllib.request.urlopen("http://127.0.0.1:9090/api/v1/rules", timeout=30) as r:
                rules = [rule for group in json.load(r)["data"]["groups"] for rule in group["rules"]]
            check(len(rules) >= 17, rules)
            for rule in rules:
                equal((rule["name"], rule["health"]), (rule["name"], "ok"))
                if not rule["name"].startswith("ZlayerErrors"):  # one of three answers is a 500
                    equal(answers(rule["query"]), [], f"{rule['name']} on a node that is well")


def test_hostile_names_make_no_series():
    with Node() as node:
        node.import_image()
        node.deploy(service())
        node.curl("/health", "web.test", "-o", "/dev/null")

        def ask_many(names):
            with zl.socket.create_connection(("127.0.0.1", 8080), timeout=30) as s, s.makefile("rb") as f:
                for i, name in enumerate(names):
                    s.sendall(f"{'GET' if i % 2 else 'PURGE'} /{name} HTTP/1.1\r\nhost: {name}.test\r\n"
                              f"user-agent: {name}\r\n\r\n".encode())
                    length, line = 0, b"x"
                    while line.strip():
                        line = f.readline()
                        check(line, "the connection was closed")
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                    f.read(length)
        ask_many(f"first{i}" for i in range(10))
        wait_for(lambda: total(scrape()[0], "zlayer_http_unrouted_total") >= 10, "the first are counted")
        # Figures of the processes and of the container are taken every few seconds.
        wait_for(lambda: total(scrape()[0], "process_max_fds", component="node") and total(scrape()[0], "zlayer_container_memory_working_set_bytes"),
                 "figures of processes and containers are told")
        before = len(samples(scrape()[0], "counter", "gauge", "histogram"))
        ask_many(f"x{i:x}" for i in range(5000))
        wait_for(lambda: total(scrape()[0], "zlayer_http_unrouted_total") >= 5010, "all are counted")
        after = samples(scrape()[0], "counter", "gauge", "histogram")
        check(len(after) <= before + 5, "series:", before, len(after))


def test_prometheus_scrapes():
    with Node() as node:
        node.import_image()
        node.deploy(service(replicas=2))
        with prometheus(node.folder):
            def answers(expression):
                with contextlib.suppress(OSError):
                    return ask(expression)
                return []
            wait_for(lambda: answers('up{job="zlayer"} == 1'), "Prometheus takes what the node serves")
            sent = 300
            r = subprocess.run(["h2load", "-n", str(sent), "-c", "3", "--connect-to=127.0.0.1:8443",
                                "https://web.test/bytes/100"], capture_output=True, text=True, timeout=60)
            check(f"{sent} succeeded" in r.stdout, r.stdout)
            wait_for(lambda: [v for _, v in ask('sum(zlayer_http_requests_total{service="shop/web",code="200"})')] == [sent],
                     "Prometheus knows each request")
            (_, p99), = ask('histogram_quantile(0.99, sum by (le) (zlayer_http_request_duration_seconds_bucket))')
            check(0 < p99 <= 10, p99)
            equal(ask('scrape_samples_post_metric_relabeling{job="zlayer"} == 0'), [], "samples were kept")
            equal(sorted(m["state"] for m, v in ask('zlayer_service_replicas{service="shop/web"} > 0')), ["ready"], "states")


def test_counters_survive_a_worker():
    with Node() as node:
        node.import_image()
        node.deploy(service())
        for _ in range(20):
            node.curl("/health", "web.test", "-o", "/dev/null")
        name = "zlayer_http_requests_total"
        wait_for(lambda: total(scrape()[0], name, service="shop/web") == 20, "20 requests")
        for _ in range(2):
            pids = {k: v for k, v in node.processes().items() if k[0] == "proxy"}
            for pid in pids.values():
                zl.os.kill(pid, 9)
            wait_for(lambda: node.ready() and not set(pids.values()) & set(node.processes().values()), "workers are back")
        wait_for(lambda: total(scrape()[0], name, service="shop/web") == 20, "still 20")


def samples(text, *kinds):
    """(sample, labels) -> value of the families of these kinds in a classic text."""
    kind_of = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    found = {}
    for line in text.splitlines():
        m = re.match(r"^(\w+)(?:\{(.*)\})? (\S+)$", line)
        if m and (kind_of.get(m[1]) or kind_of.get(re.sub("_(bucket|sum|count)$", "", m[1]))) in kinds:
            found[m[1], m[2] or ""] = float(m[3])
    return found


# These go on by themselves.
MOVING = re.compile(r"process_cpu|zlayer_container_cpu|zlayer_health_checks|zlayer_process_restarts|zlayer_ring_messages|"
                    r"zlayer_dataplane|zlayer_tls_handshake|zlayer_connections_accepted|zlayer_storage|zlayer_http_rejected")


def check_counters(before, after, what):
    """Nothing went back, and what stood still was not counted a second time."""
    for key, value in before.items():
        check(key in after, what, key, "is gone")
        check(after[key] >= value, what, key, "went back:", value, after[key])
        if key[0].startswith("zlayer_dataplane_packets") and value > 10000:
            check(after[key] < 2 * value, what, key, "was counted twice:", value, after[key])
        if not MOVING.match(key[0]):
            equal(after[key], value, f"{what}: {key}")


def again():
    with contextlib.suppress(OSError):
        return scrape()[0]
    return None


def total_of(counters, prefix):
    return sum(v for (name, _), v in counters.items() if name.startswith(prefix))


def upgraded(node, before):
    with contextlib.suppress(OSError, zl.http.client.HTTPException, ValueError):
        return node.ready() and not before & set(node.processes().values())
    return False


def took_over(what, before):
    """The successor's counters of what goes on by itself come with its first look at it."""
    def text():
        text = again()
        if text and total(text, "zlayer_container_cpu_seconds_total") >= total_of(before, "zlayer_container_cpu"):
            return text
        return None
    after = wait_for(text, f"metrics after {what}")
    check_counters(before, samples(after, "counter", "histogram"), what)


def test_counters_survive_every_process():
    with Node() as node:
        node.import_image()
        node.deploy(service(replicas=2))
        r = subprocess.run(["h2load", "-n", "20000", "-c", "4", "--connect-to=127.0.0.1:8443", "https://web.test/bytes/1000"],
                           capture_output=True, text=True, timeout=120)
        check("20000 succeeded" in r.stdout, r.stdout)
        name, labels = "zlayer_http_requests_total", {"service": "shop/web", "code": "200"}
        wait_for(lambda: total(scrape()[0], name, **labels) == 20000, "all requests are counted")
        wait_for(lambda: total(scrape()[0], "zlayer_container_cpu_seconds_total") > 0, "CPU time is counted")
        wait_for(lambda: total(scrape()[0], "zlayer_log_lines_total") >= 2, "what replicas write is counted")
        roles = sorted({role for role, _ in node.processes()} - {"node"})
        check(len(roles) >= 8, roles)
        for role in roles:
            before = samples(scrape()[0], "counter", "histogram")
            pids = {v for k, v in node.processes().items() if k[0] == role}
            for pid in pids:
                os.kill(pid, 9)
            wait_for(lambda: upgraded(node, pids), f"{role} is back")
            took_over(role, before)
        before = samples(scrape()[0], "counter", "histogram")
        pids = set(node.processes().values())
        node.process.send_signal(zl.signal.SIGUSR2)
        wait_for(lambda: upgraded(node, pids), "every process was replaced")
        took_over("upgrade", before)
        counted = total(scrape()[0], "zlayer_container_cpu_seconds_total")

        def cpu():
            rows = [r["container"]["cpu_seconds"] for r in node.cli_json("ps")["items"]]
            return all(rows) and sum(rows)
        used = wait_for(cpu, "CPU time of the containers")
        check(counted <= 1.3 * used + 0.2, "CPU time was counted twice:", counted, used)


def put_certificate(node, name="web"):
    """A new one in the node's folder, as a renewal would put it there."""
    base = os.path.join(node.folder, "tls", name)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "30", "-subj", "/CN=web.test", "-addext", "subjectAltName=DNS:web.test",
                    "-keyout", base + ".key.new", "-out", base + ".crt.new"], check=True, capture_output=True)
    for kind in (".key", ".crt"):
        os.rename(base + kind + ".new", base + kind)


def test_renewals_of_certificates():
    name = "zlayer_tls_certificate_renewals_total"

    def renewals(result, source="file"):
        return total(scrape()[0], name, source=source, result=result)

    def serial(node):
        return next((c["serial"] for c in node.get("/v1/certificates")["items"] if c["source"] == "file"), None)
    with Node() as node:
        text = wait_for(lambda: name in scrape()[0] and scrape()[0], "the family is there")
        for source in ("file", "local"):
            for result in ("ok", "failed"):
                check(f'{name}{{source="{source}",result="{result}"}} 0' in text, source, result, text)
        put_certificate(node)
        first = wait_for(lambda: serial(node), "the first one serves")
        equal(renewals("ok"), 0, "the first of a name is no renewal")
        put_certificate(node)
        wait_for(lambda: serial(node) not in (None, first), "the second one serves")
        wait_for(lambda: renewals("ok") == 1, "it is counted")
        failed = renewals("failed")  # the folder may have been read between the two renames
        second = serial(node)
        with open(os.path.join(node.folder, "tls", "web.crt"), "w") as f:
            f.write("nothing\n")
        wait_for(lambda: renewals("failed") > failed, "a wrong one is counted")
        equal((serial(node), renewals("ok")), (second, 1), "what served serves on")
        failed = renewals("failed")
        put_certificate(node, "other")  # the folder is read again: the wrong one is still the same wrong one
        wait_for(lambda: len([c for c in node.get("/v1/certificates")["items"] if c["source"] == "file"]) == 2,
                 "the other one serves")
        equal((renewals("failed"), renewals("ok")), (failed, 1), "each once")
        pid = node.processes()["signer", 0]
        os.kill(pid, 9)
        wait_for(lambda: upgraded(node, {pid}), "signer is back")
        wait_for(lambda: (renewals("ok"), renewals("failed")) == (1, failed), "counters survive it")


def test_limit_of_series():
    extra = "metrics: { max_series_per_service: 12, per_replica: false }\n"
    with Node(config=extra) as node:
        node.import_image()
        node.deploy(service(replicas=2))
        for code in range(400, 430):
            node.curl(f"/status/{code}", "web.test", "-o", "/dev/null")
        node.curl("/health", "web.test", "-o", "/dev/null")
        name = "zlayer_http_requests_total"
        wait_for(lambda: total(scrape()[0], name, service="shop/web") == 31, "every request is in the sum")
        text = scrape()[0]
        counters = [k for k in samples(text, "counter") if 'service="shop/web"' in k[1] and "," in k[1] and "other" not in k[1]]
        histograms = {(k[0][:-4], k[1]) for k in samples(text, "histogram")
                      if k[0].endswith("_sum") and 'service="shop/web"' in k[1] and "," in k[1] and "other" not in k[1]}
        equal(len(counters) + len(histograms), 12, "label sets of the service")
        check(total(text, name, service="shop/web", code="other") > 0, "the rest is under other")
        folded = total(text, "zlayer_metrics_series_folded_total", service="shop/web")
        check(folded >= 20, folded)
        check('replica="' not in text, "replicas are not shown")
        wait_for(lambda: total(scrape()[0], "zlayer_container_memory_working_set_bytes", service="shop/web") > 0, "their sum is")
        equal(total(text, "zlayer_upstream_up", service="shop/web"), 2, "replicas in balancing")
        node.kill("observability")
        wait_for(node.ready, "observability is back")
        text = wait_for(lambda: node.ready() and again(), "metrics are back")
        equal(total(text, "zlayer_metrics_series_folded_total", service="shop/web"), folded, "folded, not counted twice")
        equal(total(text, name, service="shop/web"), 31, "requests")


def test_what_is_gone_is_not_shown():
    names = ["zlayer_upstream_up", "zlayer_container_memory_working_set_bytes"]

    def lines():
        return [line for line in scrape()[0].splitlines() if line.split("{")[0] in names and 'service="shop/web"' in line]

    def shown():
        text = scrape()[0]
        return total(text, names[0], service="shop/web") >= 1 and total(text, names[1], service="shop/web") > 0
    with Node() as node:
        node.import_image()
        node.import_image("test:2", ("/bin/server", "-d", "1"))
        node.deploy(service())
        wait_for(shown, "it is up and has memory")
        # Its successor has the same name.
        node.deploy(service(image="test:2"))
        wait_for(shown, "so is its successor")
        node.cli("rm", "shop", "--yes")
        wait_for(lambda: not lines(), "nothing of it is shown any more")


def test_access_log():
    extra = "logs: { format: json, access: { exclude_paths: [/health] } }\n"
    with Node(config=extra) as node:
        node.import_image()
        node.deploy(service())
        node.curl("/health", "web.test", "-o", "/dev/null")
        node.curl("/who?token=hunter2", "web.test", "-H", "Authorization: Bearer hunter2", "-o", "/dev/null")
        line = wait_for(lambda: next((row for row in node.tail(200).splitlines() if '"path":"/who"' in row), None),
                        "the request is in the log")
        entry = json.loads(line)
        equal({k: entry[k] for k in ("msg", "method", "host", "status", "proto", "tls", "service")},
              {"msg": "request", "method": "GET", "host": "web.test:8443", "status": 200, "proto": "HTTP/2", "tls": True,
               "service": "shop/web"})
        check(entry["duration"] > 0 and entry["request_id"] and entry["upstream"], line)
        # What no replica answers has its words too: a redirect, a host that nobody has, a path that is refused.
        for url, host, status in (("http://web.test:8080/to-https?token=hunter2", "web.test:8080", "308"),
                                  ("http://nobody.test:8080/none?token=hunter2", "nobody.test:8080", "404"),
                                  ("http://web.test:8080/a%00b?token=hunter2", "web.test:8080", "400")):
            name = host.split(":")[0]
            equal(zl.run("curl", "-sS", "-o", "/dev/null", "-A", "me", "-w", "%{http_code}", "--resolve",
                         f"{name}:8080:127.0.0.1", url).stdout, status, url)
            path = url.split("8080")[1].split("?")[0]
            row = wait_for(lambda: next((row for row in node.tail(200).splitlines() if f'"path":"{path}"' in row), None),
                           f"{path} is in the log")
            entry = json.loads(row)
            equal((entry["host"], str(entry["status"]), entry["user_agent"], entry["service"]), (host, status, "me", ""),
                  row)
        log = node.tail(400)
        check("hunter2" not in log, "a secret is in the log")
        check('"path":"/health"' not in log, "an excluded path is in the log")


def requests_of(node):
    """The log's lines about requests: (format, path)."""
    found = []
    for row in node.tail(1000).splitlines():
        if row.startswith("{") and '"msg":"request"' in row:
            found.append(("json", json.loads(row)["path"]))
        elif " request " in row and " path=" in row:
            found.append(("text", row.split(" path=")[1].split()[0].strip('"')))
    return found


def test_log_follows_a_reload():
    """Format, level, sample and switch of the access log change while the processes run."""
    with Node(config="logs: { format: json }\n") as node:
        node.import_image()
        node.deploy(service())
        pids = node.processes()

        def reload(logs, mark, shown):
            node.write_config(f"logs: {logs}\n")
            before = total(scrape()[0], "zlayer_config_reloads_total", result="success")
            node.process.send_signal(zl.signal.SIGHUP)
            wait_for(lambda: total(scrape()[0], "zlayer_config_reloads_total", result="success") > before, "the reload")
            done = total(scrape()[0], "zlayer_http_requests_total", service="shop/web")
            read = total(scrape()[0], "zlayer_ring_messages_total", direction="read")
            node.curl(f"/status/200?{mark}", "web.test", "-o", "/dev/null")
            node.curl(f"/bytes/{mark}", "web.test", "-o", "/dev/null")
            wait_for(lambda: total(scrape()[0], "zlayer_http_requests_total", service="shop/web") >= done + 2, "two requests")
            wait_for(lambda: total(scrape()[0], "zlayer_ring_messages_total", direction="read") >= read + 2, "their records")
            if shown:
                wait_for(lambda: (shown, f"/bytes/{mark}") in requests_of(node), f"{logs}: the line as {shown}")
            else:
                check(f"/bytes/{mark}" not in [path for _, path in requests_of(node)], logs, "shows a request")
        reload("{ format: json }", 1, "json")
        reload("{ format: text }", 2, "text")
        reload("{ format: json, level: warn }", 3, None)
        reload("{ format: json, level: info, access: { enabled: false } }", 4, None)
        reload("{ format: json, access: { sample: 0 } }", 5, None)
        reload("{ format: json, access: { exclude_paths: [/bytes/6] } }", 6, None)
        reload("{ format: json, level: debug }", 7, "json")
        equal(node.processes(), pids, "processes")


def test_container_logs_are_bounded():
    size, files = 128 << 10, 3
    with Node(config=f"logs: {{ containers: {{ max_size: 128Ki, max_files: {files} }} }}\n") as node:
        node.import_image()
        node.deploy(service())
        for _ in range(4):
            node.curl("/print/512", "web.test", "-o", "/dev/null")
        wait_for(lambda: total(scrape()[0], "zlayer_log_lines_total", service="shop/web") >= 2048, "each line is counted")
        found = {p: os.stat(p).st_size for p in zl.glob.glob(node.data + "/**/logs/shop/web/*/log*", recursive=True)}
        equal(len(found), files, f"files {found}")
        check(all(s <= size + 4096 for s in found.values()), found)
        lines = [line for line in node.cli("logs", "shop/web", "-n", "20").stdout.splitlines() if "0000000000" in line]
        check(len(lines) >= 19, "the last lines are there", len(lines))
        check(lines[-1].endswith("00001"), lines[-1][-20:])


def test_compressed():
    with Node() as node:
        check(node.ready(), "ready")
        for encoding, want in (("gzip", "gzip"), ("gzip;q=0", None), ("identity", None)):
            request = urllib.request.Request("http://127.0.0.1:9883/metrics", headers={"Accept-Encoding": encoding})
            with urllib.request.urlopen(request, timeout=30) as r:
                data = r.read()
                equal(r.headers["Content-Encoding"], want, encoding)
            text = gzip.decompress(data) if want else data
            check(text.startswith(b"# HELP zlayer_build_info "), text[:100])
            check(not want or len(data) < len(text) / 4, "not much smaller", len(data), len(text))


if __name__ == "__main__":
    zl.main(globals())
