# SPDX-License-Identifier: Apache-2.0
"""Bad input: each has its message with what, why and fix, its exit code, and nothing is half-applied."""

import json
import os
import shutil
import signal
import socket
import subprocess

import zl
from zl import Node, PROGRAM, check, equal, service, wait_for


def refused(r, status, *words):
    equal(r.returncode, status, r.stdout + r.stderr)
    text = r.stdout + r.stderr
    for word in words:
        check(word in text, f"{word!r} is not in:\n{text}")


def test_documents():
    with Node() as node:
        node.import_image()
        good = service()
        refused(node.deploy(good.replace("image:", "imagee:"), status=None), 2, "imagee", "did you mean", ":5:")
        refused(node.deploy(good.replace("replicas: 1", "replicas: many"), status=None), 2, "replicas")
        refused(node.deploy("version: v1\ndeployment: d\nservices:\n"
                            "  a: { image: { name: a }, depends: [ { service: b } ] }\n"
                            "  b: { image: { name: b }, depends: [ { service: a } ] }\n", status=None), 2, "a", "b", "cycle")
        refused(node.deploy("version: v1\ndeployment: d\ntunnels: { t: { from: a, to: b, local_port: 1, remote_port: 2, "
                            "protocol: tcp } }\nservices: { a: { image: { name: a } } }\n", status=None), 2,
                "`tunnels` is not available in this version")
        refused(node.cli("deploy", "/nonexistent/zlayer.yaml", status=None), 4, "/nonexistent/zlayer.yaml")
        equal(node.cli_json("status")["deployments"], [], "nothing was deployed")


def test_images():
    with Node() as node:
        layout = node.import_image()
        refused(node.deploy(service(image="absent:1"), status=None), 1, "absent:1", "cannot pull", "zlayer image import")
        # What was served before a failed deploy serves on; the failed one says so (exit 6).
        node.deploy(service())
        refused(node.deploy(service(image="absent:1"), status=None), 6, "absent:1", "rolled back")
        equal(node.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}"), "200")
        # A wrong digest: one byte of a layer that the node does not have yet.
        root = os.path.join(node.folder, "root")
        with open(os.path.join(root, "new"), "w") as f:
            f.write("something new")
        layout = os.path.join(node.folder, "damaged")
        subprocess.run([os.path.join(zl.SOURCE, "tools", "busybox-image"), layout, "bad:1", "--root", root], check=True)
        blobs = os.path.join(layout, "blobs", "sha256")
        largest = max((os.path.join(blobs, b) for b in os.listdir(blobs)), key=os.path.getsize)
        data = bytearray(open(largest, "rb").read())
        whole, images = bytes(data), node.cli_json("image", "ls")
        data[-8] ^= 1  # of gzip's checksum: nothing but the checks can see it
        open(largest, "wb").write(data)
        refused(node.cli("image", "import", layout, "--name", "bad:1", status=None), 1, "damaged", "sha256:")
        # One byte in the middle: what is seen first depends on the byte, the layer is named all the same.
        data = bytearray(whole)
        data[len(data) // 2] ^= 1
        open(largest, "wb").write(data)
        refused(node.cli("image", "import", layout, "--name", "bad:1", status=None), 1, "layer 1 of 1", "sha256:")
        equal(node.cli_json("image", "ls"), images, "images after a failed import")
        # Another CPU.
        other = os.path.join(node.folder, "other")
        subprocess.run([os.path.join(zl.SOURCE, "tools", "busybox-image"), other, "other:1"], check=True)
        index = json.load(open(os.path.join(other, "index.json")))
        entry = index["manifests"][0]
        entry["platform"]["architecture"] = "s390x"
        json.dump(index, open(os.path.join(other, "index.json"), "w"))
        refused(node.cli("image", "import", other, "--name", "other:1", status=None), 1, "s390x")


def test_errors_as_json():
    with Node() as node:
        def problem(*args, status):
            r = node.cli("-o", "json", *args, status=status)
            error = json.loads(r.stderr)  # one object, nothing else
            equal(error["exit"], status)
            check(error["code"] and error["title"] and error["detail"] and isinstance(error["why"], list), error)
            return r.stdout, error
        wrong = os.path.join(node.folder, "wrong.zlayer.yaml")
        with open(wrong, "w") as f:
            f.write(service().replace("image:", "imagee:"))
        out, error = problem("deploy", wrong, status=2)
        equal(out, "")
        equal(error["code"], "invalid")
        equal(error["diagnostics"][0]["line"], 4)
        equal(problem("nosuch", status=2)[1]["code"], "usage")
        equal(problem("status", "nosuch", status=4)[1]["code"], "not_found")
        r = zl.run(PROGRAM, "--socket", "/nonexistent.sock", "ps", "-o", "json", check=False)
        equal((r.returncode, json.loads(r.stderr)["code"]), (8, "unreachable"))
        # What `validate` is asked for are the errors.
        r = node.cli("validate", wrong, "-o", "json", status=2)
        equal(json.loads(r.stdout)[0]["line"], 4)
        # A deploy that fails: events on standard output, one line each; the error after them.
        node.import_image("crash:1", ("/bin/server", "-x", "0:3"))
        text = os.path.join(node.folder, "crash.zlayer.yaml")
        with open(text, "w") as f:
            f.write(service(image="crash:1"))
        out, error = problem("deploy", text, status=1)
        equal(json.loads(out.strip().splitlines()[-1])["state"], "failed")
        check("status 3" in error["why"][0] and "zlayer logs" in error["fix"] and isinstance(error["log"], list), error)
        with open("/dev/full", "w") as full:
            r = subprocess.run([PROGRAM, "completion", "bash"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        check(r.returncode == 1 and "standard output" in r.stderr, r.returncode, r.stderr)


def test_filters_that_find_nothing():
    """A filter for something that there is not is an error, never silence."""
    with Node() as node:
        node.import_image()
        node.deploy(service())
        refused(node.cli("events", "--type", "nosuch", status=None), 2, "nosuch", "replica", "operation")
        refused(node.cli("events", "-f", "--type", "replica.redy", status=None), 2, 'did you mean "replica.ready"')
        check("shop/web.1" in node.cli("events", "--type", "replica").stdout, "what there is is found")
        refused(node.cli("events", "--since", "yesterday", status=None), 2, "not a time")
        for command in ("ps", "status", "logs", "explain", "stop", "exec", "job ls"):
            refused(node.cli(*command.split(), "shop/wbe", status=None), 4 if command != "exec" else 125, "no service",
                    'did you mean "shop/web"')
            refused(node.cli(*command.split(), "shpo", status=None), 4 if command != "exec" else 125, '"shpo"',
                    'did you mean "shop"')
        for command in ("ps", "logs", "logs -f", "stop", "explain", "exec"):
            refused(node.cli(*command.split(), "shop/web.9", status=None), 4 if command != "exec" else 125,
                    "no replica shop/web.9", "zlayer ps -a shop/web")
        refused(node.cli("logs", "shop", "--since", "1m", "--until", "1h", status=None), 2, "--since", "--until")
        refused(node.cli("logs", "shop", "-n", "many", status=None), 2, "many")
        # What does not end by itself ends with --timeout, all of it, after what there was to show.
        for command in ("logs -f shop/web", "events -f", "observe -f"):
            refused(node.cli(*command.split(), "--timeout", "1s", status=None), 5, "--timeout")
        # Who is not known yet may come: it is said, and waited for.
        for name, meant in (("--peer edge-0", 'no node "edge-0"'), ("--service wep", 'did you mean "web"'),
                            ("--service shpo/web", 'no service "web"')):
            refused(node.cli("observe", "-f", *name.split(), "--timeout", "1s", status=None), 5, "--timeout", meant)
            check(meant in node.cli("observe", *name.split()).stderr, "without following, too")
        check("is known" not in node.cli("observe", "--peer", "edge-1", "--service", "shop/web").stderr, "what there is")
        refused(node.cli("observe", "-f", "--node", "edge-0", status=None), 4, "edge-0")
        refused(node.cli("completion", "nosh", status=None), 2, "nosh", "bash")
        refused(node.cli("ps", "-o", "jason", status=None), 2, "jason", "json")


def test_wrong_configuration_changes_nothing():
    """Neither a reload nor an upgrade may end what runs."""
    with Node() as node:
        good = open(node.config).read()
        pid = node.process.pid
        for number in (signal.SIGHUP, signal.SIGUSR2):
            with open(node.config, "w") as f:
                f.write(good + "nonsense: 1\n")
            before = node.processes()
            os.kill(pid, number)
            error = wait_for(lambda: node.cli_json("status")["node"]["config_error"], "status says so")
            check("nonsense" in json.dumps(error), error)
            check("the last reload was refused" in node.cli("status").stdout, node.cli("status").stdout)
            equal(node.processes(), before, "processes")
            with open(node.config, "w") as f:
                f.write(good)
            os.kill(pid, signal.SIGHUP)
            wait_for(lambda: not node.cli_json("status")["node"]["config_error"], "and that it is mended")
        metrics = node.curl("/metrics", "127.0.0.1", port=9883, scheme="http", http="--http1.1")
        check('zlayer_config_reloads_total{result="failure"} 2' in metrics, metrics)
        told = [json.loads(line) for line in open(node.log)]  # an event each, nothing else
        told = [e for e in told if e["msg"] == "an error of the configuration"]
        check(told and all(e["path"] == "nonsense" and e["line"] > 1 for e in told), told)


def test_prefixes_are_not_changed_at_work():
    """A reload with another prefix is refused, and says what is to be done; a start takes it."""
    with Node() as node:
        def said():
            return node.cli_json("status")["node"]["config_error"]

        def prefix():
            return (node.cli_json("status")["overlay"] or {}).get("prefix4")  # a process that came back says it late

        def address():
            return node.cli_json("ps", "shop")["items"][0]["container"]["address"]

        def reload(text):
            with open(node.config, "w") as f:
                f.write(text)
            os.kill(node.process.pid, signal.SIGHUP)

        node.import_image()
        node.deploy(service())
        good, was, there = open(node.config).read(), prefix(), address()
        for key, value in (("prefix4", "10.201.9.0/24"), ("prefix6", '"fd00:aa:9::/64"')):
            reload(good + f"overlay: {{ {key}: {value} }}\n")
            error = wait_for(said, "status says so")
            check(f"overlay.{key}" in error["what"] and "zlayer restart" in error["fix"], error)
            check(error["fix"] in node.cli("status").stdout, node.cli("status").stdout)
            reload(good)
            wait_for(lambda: not said(), "and that it is mended")
        reload(good + f"overlay: {{ prefix4: {was} }}\n")
        wait_for(lambda: 'zlayer_config_reloads_total{result="success"} 3' in
                 node.curl("/metrics", "127.0.0.1", port=9883, scheme="http", http="--http1.1"), "the one that it has is taken")
        # A process that is replaced takes nothing else.
        reload(good + "overlay: { prefix4: 10.201.9.0/24 }\n")
        wait_for(said, "it is refused")
        pid = node.processes()["overlay", 0]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: node.processes().get(("overlay", 0)) not in (None, pid) and prefix() == was, "the prefix stays")
        equal(address(), there)
        node.stop()
        node.start()
        wait_for(lambda: prefix() == "10.201.9.0/24", "the start takes it")
        wait_for(lambda: "replace it: zlayer restart shop/web.1" in open(node.log).read(), "the log says what is left to do")
        node.cli("restart", "shop")
        wait_for(lambda: address().startswith("10.201.9."), "the replica has an address of it")
        equal(node.curl("/status/200", http="--http1.1"), "status\n", "the page")


def test_failed_first_deploy():
    with Node("deploy: { monitor: 1s, health_timeout: 5s }\n") as node:
        node.import_image("crash:1", ("/bin/server", "-x", "300:3"))
        node.import_image("loopback:1", ("/bin/server", "-a", "127.0.0.1"))
        node.import_image("port:1", ("/bin/server", "-p", "9999"))
        for image, words in (("crash:1", ["status 3"]), ("loopback:1", ["127.0.0.1:8080", "0.0.0.0"]), ("port:1", ["9999"])):
            r = node.deploy(service(image=image), "--timeout", "60s", status=None)
            equal(r.returncode, 1, r.stdout + r.stderr)
            for word in words:
                check(word in r.stdout + r.stderr, image, word, r.stdout, r.stderr)
            node.cli("rm", "shop", "--yes")


def test_full_disk():
    """Nothing is half-applied, what serves serves on, and all goes on when there is room again."""
    node = Node()
    os.mkdir(node.data)
    zl.run("mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", node.data)
    try:
        node.start()
        node.import_image()
        node.import_image("test:2", ("/bin/server", "-d", "1"))
        node.deploy(service())
        code = ("-o", "/dev/null", "-w", "%{http_code}")
        wait_for(lambda: node.curl("/health", "web.test", *code, status=None) == "200", "it serves")
        before = {r["id"] for r in node.cli_json("ps")["items"]}
        filler = os.path.join(node.data, "filler")
        with open(filler, "wb") as f:
            try:
                while True:
                    os.write(f.fileno(), b"x" * 4096)
            except OSError:
                pass
        # Each writes to the store, or its journal has no room left.
        r = wait_for(lambda: next((r for r in [node.deploy(service(image="test:2"), "--timeout", "60s", status=None)]
                                   if r.returncode != 0), None), "a deploy is refused")
        refused(r, 1, "no space left", "make room")
        refused(node.cli("image", "import", node.make_layout("test:3"), "--name", "test:3", status=None), 1, "space")
        refused(node.cli("stop", "shop", status=None), 1, "no space left")
        equal(node.curl("/health", "web.test", *code), "200")
        equal({r["id"] for r in node.cli_json("ps")["items"]}, before, "replicas")
        equal(node.cli_json("status")["deployments"][0]["revision"], 1)
        os.unlink(filler)
        node.deploy(service(image="test:2"))
        equal(node.curl("/health", "web.test", *code), "200")
        node.cli("rm", "shop", "--yes")
    finally:
        node.destroy()
        zl.run("umount", "-l", node.data, check=False)


def test_port_in_use():
    s = socket.socket()
    s.bind(("127.0.0.1", 8443))
    s.listen()
    node = Node()
    try:
        node.start(wait=False)
        wait_for(lambda: "127.0.0.1:8443" in node.tail(), "the log names the address")
        check("python" in node.tail(), "and who has it", node.tail())
        s.close()
        wait_for(node.ready, "the node is ready")
        node.import_image()
        node.deploy(service())
        wait_for(lambda: node.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}", status=None) == "200",
                 "the listener is opened when the port is free")
    finally:
        node.destroy()


def test_second_node_on_the_same_folder():
    with Node() as node:
        r = subprocess.run([PROGRAM, "serve", "--instance", node.name + "x", "--data-dir", node.data, "--config",
                            node.config], capture_output=True, text=True, timeout=60)
        check(r.returncode != 0 and str(node.process.pid) in r.stderr, r.stderr)


def test_not_root():
    r = subprocess.run(["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", PROGRAM, "serve", "--instance",
                        "nobody", "--data-dir", "/tmp/zlayer-nobody"], capture_output=True, text=True, timeout=60)
    check(r.returncode != 0, r.returncode)
    check("CAP_SYS_ADMIN" in r.stderr and "root" in r.stderr, r.stderr)
    r = subprocess.run([PROGRAM, "--socket", "/nonexistent.sock", "status"], capture_output=True, text=True, timeout=60)
    equal(r.returncode, 8)
    check("/nonexistent.sock" in r.stderr and "zlayer serve" in r.stderr, r.stderr)


def test_image_on_a_full_disk():
    """What a large image leaves no room for."""
    node = Node()
    try:
        os.makedirs(node.data)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", node.data], check=True)
        node.start()
        node.import_image()
        node.deploy(service())
        with open(os.path.join(node.folder, "root", "filler"), "wb") as f:
            f.write(os.urandom(40 << 20))
        layout = os.path.join(node.folder, "big")
        subprocess.run([os.path.join(zl.SOURCE, "tools", "busybox-image"), layout, "big:1", "--root",
                        os.path.join(node.folder, "root")], check=True)
        images = node.cli_json("image", "ls")
        refused(node.cli("image", "import", layout, "--name", "big:1", status=None), 1, "space")
        equal(node.cli_json("image", "ls"), images, "images after a full disk")
        equal(node.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}"), "200", "what served serves on")
        subprocess.run(["mount", "-o", "remount,size=400m", node.data], check=True)
        node.cli("image", "import", layout, "--name", "big:1")
    finally:
        node.destroy()
        subprocess.run(["umount", "-l", node.data], capture_output=True)
        shutil.rmtree(node.folder, ignore_errors=True)


def test_without_bpf():
    with Node(config="dataplane: { mode: off, uplink: off, interfaces: [] }\n") as node:
        node.import_image()
        node.deploy(service(replicas=2))
        equal(len({node.curl("/who") for _ in range(20)}), 2, "replicas that answered")


if __name__ == "__main__":
    zl.main(globals())
