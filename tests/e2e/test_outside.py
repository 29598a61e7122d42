# SPDX-License-Identifier: Apache-2.0
"""A cluster whose store is in an etcd that somebody else keeps: one with TLS, client certificates and users, beside the nodes."""

import base64
import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request

import zl
from cluster import Cluster
from test_placing import answer, images, ready
from zl import Skip, check, equal, run, service, wait_for

ADDRESS = "10.77.0.254"  # of the test itself
URL = f"https://{ADDRESS}:2379"
SECTION = ("store: {{ etcd: {{ endpoints: [\"https://10.77.0.253:2379\", \"" + URL + "\"], ca: {folder}/ca.crt, cert: {folder}/client.crt, "
           "key: {folder}/client.key, user: edge, password_file: {folder}/password, prefix: /edge/ }} }}\n")


class Outside:
    """An etcd of one member; its user edge may read and write below /edge/, and nothing else."""

    def __enter__(self):
        if not shutil.which("etcd"):
            raise Skip("there is no etcd on this machine")
        self.folder = tempfile.mkdtemp(prefix="zl-outside-")
        self.process = None
        self.authority("ca")
        self.authority("other")
        self.leaf("server", "/CN=server", f"IP:{ADDRESS}")
        self.leaf("client", "/O=nodes", "DNS:nodes")  # with users etcd takes none that has a CN
        self.leaf("named", "/CN=nodes", "DNS:nodes")
        self.put("password", "open sesame\n")
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def put(self, name, text):
        with open(os.path.join(self.folder, name + ".new"), "w") as f:
            f.write(text)
        os.replace(f.name, os.path.join(self.folder, name))

    def read(self, name):
        with open(os.path.join(self.folder, name)) as f:
            return f.read()

    def openssl(self, *args):
        run("openssl", *args, cwd=self.folder)

    def authority(self, name):
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                     f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")

    def leaf(self, name, subject, names):
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject, "-keyout",
                     f"{name}.key", "-out", f"{name}.csr")
        self.put(f"{name}.names", f"subjectAltName={names}\n")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                     "-extfile", f"{name}.names", "-out", f"{name}.crt")

    def start(self):
        with open(os.path.join(self.folder, "log"), "a") as log:
            self.process = subprocess.Popen(
                ["etcd", "--name", "one", "--data-dir", f"{self.folder}/data", "--listen-client-urls", URL,
                 "--advertise-client-urls", URL, "--listen-peer-urls", "http://127.0.0.1:2380",
                 "--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "one=http://127.0.0.1:2380",
                 "--cert-file", f"{self.folder}/server.crt", "--key-file", f"{self.folder}/server.key", "--client-cert-auth",
                 "--trusted-ca-file", f"{self.folder}/ca.crt"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "ETCD_UNSUPPORTED_ARCH": os.uname().machine, "GOMAXPROCS": "1"})
        wait_for(self.answers, "etcd answers")

    def answers(self):
        check(self.process.poll() is None, "etcd ended", self.read("log")[-2000:])
        try:
            self.ask("/v3/maintenance/status", {})
        except urllib.error.HTTPError:
            return True  # it has users
        except OSError:
            return False
        return True

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None

    def ask(self, path, body):
        context = ssl.create_default_context(cafile=f"{self.folder}/ca.crt")
        context.load_cert_chain(f"{self.folder}/client.crt", f"{self.folder}/client.key")
        q = urllib.request.Request(URL + path, data=json.dumps(body).encode())
        with urllib.request.urlopen(q, context=context, timeout=20) as r:
            return json.load(r)

    def users(self):
        """root, whom etcd wants, and edge."""
        b64 = lambda text: base64.b64encode(text.encode()).decode()
        self.ask("/v3/auth/role/add", {"name": "root"})
        self.ask("/v3/auth/role/add", {"name": "edge"})
        self.ask("/v3/auth/role/grant", {"name": "edge", "perm": {"permType": "READWRITE", "key": b64("/edge/"), "range_end": b64("/edge0")}})
        for name, password in (("root", "keep out"), ("edge", "open sesame")):
            self.ask("/v3/auth/user/add", {"name": name, "password": password})
            self.ask("/v3/auth/user/grant", {"user": name, "role": name})
        self.ask("/v3/auth/enable", {})


def store(node):
    with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
        return node.cluster()["store"]
    return {}


def outside(node):
    s = store(node)
    return s.get("engine") == "etcd" and s["writable"] and s["voters"] == 0 and "10.77.0.25" in (s["outside"] or "")


def until_outside(*nodes):
    for node in nodes:
        wait_for(lambda node=node: outside(node), f"{node.label}: the store is outside", seconds=60)


def refused(node, words):
    """It takes no change, and says why."""
    def says():
        s = store(node)
        return s.get("writable") is False and words in json.dumps(s["why"])
    wait_for(says, f"{node.label} says: {words}", seconds=60)


def takes_changes(node, value):
    """As its metrics say it; there is no member of etcd here to be seen."""
    lines = node.space.run("curl", "-s", "http://127.0.0.1:9883/metrics").stdout.splitlines()
    check(not any(line.startswith("zlayer_etcd_") for line in lines), lines)
    return f"zlayer_store_writable {value}" in lines


def reload(node):
    node.process.send_signal(signal.SIGHUP)


def label(node, key):
    wait_for(lambda: node.cli("node", "label", "edge-1", f"{key}=1", status=None).returncode == 0, f"a change through {node.label}")


def labelled(nodes, *keys):
    for node in nodes:
        wait_for(lambda node=node: set(keys) <= set(node.nodes()["edge-1"]["labels"]), f"{node.label} has {keys}")


def test_it_moves_there_and_lives_with_it():
    with Outside() as etcd:
        with Cluster(3, join=False, extra=SECTION.format(folder=etcd.folder)) as c:
            a, b, late = c.nodes
            c.off.add(late)
            etcd.start()
            etcd.users()
            etcd.kill()
            # Alone it is not used yet. Without etcd nothing is sealed: changes are taken as before.
            trouble = a.cluster()["trouble"]
            check(trouble and "is not used yet" in trouble["what"] and "zlayer invite" in trouble["fix"], trouble)
            images(c)
            c.join(b)
            c.wait_all_ready()
            wait_for(lambda: "none of the store's members" in json.dumps(a.cluster()["trouble"]), "edge-1 says why it does not move",
                     seconds=60)
            label(b, "before")
            etcd.start()
            until_outside(a, b)
            text = b.cli("cluster", "show").stdout
            check("etcd at https://10.77.0.253:2379 and 1 more, as node.yaml says" in text, text)
            labelled((a, b), "before")
            b.deploy(service(replicas=1))
            ready(a, 1)
            wait_for(lambda: answer(a) == "200", "edge-1 serves")
            # It is away: what runs goes on, changes are refused at once with the reason; then it is back.
            etcd.kill()
            refused(a, "no quorum")
            refused(b, "no quorum")
            wait_for(lambda: takes_changes(b, 0), "the metric says so")
            r = b.deploy(service(replicas=2), status=8)
            check("no quorum" in r.stderr, r.stderr)
            equal(answer(a), "200")
            etcd.start()
            until_outside(a, b)
            label(a, "back")
            wait_for(lambda: takes_changes(b, 1), "the metric says so")
            # One more node, and what goes wrong on one only.
            c.off.discard(late)
            c.join(late, by=b)
            until_outside(late)
            label(late, "late")
            labelled(c.nodes, "before", "back", "late")
            r = a.cli("recover", "--force-single", "--yes", status=None)
            check(r.returncode != 0 and "reaches the etcd" in r.stderr, r.returncode, r.stderr)
            goes_wrong(c, etcd, late)
            label(late, "again")
            labelled(c.nodes, "again")
            equal(len({store(n)["sequence"] for n in c.nodes if store(n)}), 1)


def goes_wrong(c, etcd, node):
    """Its own files; the other nodes read theirs later, and what is right then."""
    own = tempfile.mkdtemp(dir=etcd.folder)
    for name in ("ca.crt", "client.crt", "client.key", "password"):
        shutil.copy(os.path.join(etcd.folder, name), own)
    config = zl_config(node)
    good = config.replace(etcd.folder + "/", own + "/")
    for name, wrong, words in (("password", "open barley\n", "does not let this node in"),
                               ("client.crt", etcd.read("named.crt"), "common name"),
                               ("ca.crt", etcd.read("other.crt"), "do not trust each other")):
        right = etcd.read(name)
        with open(os.path.join(own, name), "w") as f:
            f.write(wrong)
        if name == "client.crt":
            shutil.copy(os.path.join(etcd.folder, "named.key"), os.path.join(own, "client.key"))
        put_config(node, good)
        refused(node, words)
        with open(os.path.join(own, name), "w") as f:
            f.write(right)
        shutil.copy(os.path.join(etcd.folder, "client.key"), own)
        reload(node)
        until_outside(node)
    # Another prefix: nothing is made where nothing is. No section at all.
    put_config(node, good.replace("/edge/", "/edge/two/"))
    refused(node, "not the one that this node has a copy of")
    put_config(node, "\n".join(line for line in good.split("\n") if not line.startswith("store:")))
    refused(node, "does not say where the etcd is")
    r = node.cli("recover", "--force-single", "--yes", status=None)
    check(r.returncode != 0, r.stdout)
    put_config(node, config)
    until_outside(node)
    until_outside(*c.nodes)


def zl_config(node):
    with open(node.config) as f:
        return f.read()


def put_config(node, text):
    with open(node.config, "w") as f:
        f.write(text)
    reload(node)


if __name__ == "__main__":
    zl.main(globals())
