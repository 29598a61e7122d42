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
import time
import urllib.error
import urllib.request

import zl
from cluster import Cluster
from test_placing import answer, images, ready
from zl import Skip, check, equal, run, service, wait_for

ADDRESS = "10.77.0.254"  # of the test itself
URL = f"https://{ADDRESS}:2379"
NOBODY = f"https://{ADDRESS}:2378"
SECTION = ("store: {{ etcd: {{ endpoints: [\"" + NOBODY + "\", \"" + URL + "\"], ca: {folder}/ca.crt, cert: {folder}/client.crt, "
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
                 "--trusted-ca-file", f"{self.folder}/ca.crt", "--heartbeat-interval", "50", "--election-timeout", "500",
                 "--bcrypt-cost", "4"],  # passwords are for free: this machine may be slow
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

    def ask(self, path, body, token=None):
        context = ssl.create_default_context(cafile=f"{self.folder}/ca.crt")
        context.load_cert_chain(f"{self.folder}/client.crt", f"{self.folder}/client.key")
        q = urllib.request.Request(URL + path, data=json.dumps(body).encode(), headers={"Authorization": token} if token else {})
        with urllib.request.urlopen(q, context=context, timeout=20) as r:
            return json.load(r)

    def give_up(self, key):
        """As its operator does it."""
        token = self.ask("/v3/auth/authenticate", {"name": "root", "password": "keep out"})["token"]
        gone = self.ask("/v3/kv/deleterange", {"key": base64.b64encode(key.encode()).decode()}, token)
        equal(gone["deleted"], "1")

    def forget(self):
        """The tokens of edge: a change of its password does that, also to what it is."""
        token = self.ask("/v3/auth/authenticate", {"name": "root", "password": "keep out"})["token"]
        self.ask("/v3/auth/user/changepw", {"name": "edge", "password": "open sesame"}, token)

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
    return s.get("engine") == "etcd" and s["writable"] and s["voters"] == 0 and ADDRESS in (s["outside"] or "")


def until_outside(*nodes):
    for node in nodes:
        wait_for(lambda node=node: outside(node), f"{node.label}: the store is outside", seconds=60)


def refused(node, words, meanwhile=lambda: None):
    """It takes no change, and says why."""
    due = 0

    def says():
        nonlocal due
        if time.monotonic() >= due:
            meanwhile()
            due = time.monotonic() + 5  # a password costs etcd so much that on a slow machine it does nothing else
        s = store(node)
        return s.get("writable") is False and words in json.dumps(s["why"])
    wait_for(says, lambda: f"{node.label} says: {words}: {store(node)}", seconds=60)


def takes_changes(node, value):
    """As its metrics say it; there is no member of etcd here to be seen."""
    lines = node.space.run("curl", "-s", "http://127.0.0.1:9883/metrics").stdout.splitlines()
    check(not any(line.startswith("zlayer_etcd_") for line in lines), lines)
    return f"zlayer_store_writable {value}" in lines


def reload(node):
    node.process.send_signal(signal.SIGHUP)


def label(node, key, name="edge-1"):
    wait_for(lambda: node.cli("node", "label", name, f"{key}=1", status=None).returncode == 0, f"a change through {node.label}")


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
            alone_there(etcd, late)
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
            # The prefix is that other cluster's, until somebody who may says that it is gone.
            etcd.start()
            wait_for(lambda: "is another cluster's" in json.dumps(a.cluster()["trouble"]), "edge-1 says whose it is", seconds=60)
            text = a.cli("status").stdout
            check("etcdctl del /edge/cluster" in text, text)
            check("is another cluster's" in a.cli("explain", "edge-1").stdout)
            etcd.give_up("/edge/cluster")
            until_outside(a, b)
            check("in the etcd at https://" in a.cli("explain", "edge-1").stdout)
            text = b.cli("cluster", "show").stdout
            check(f"etcd at {NOBODY} and 1 more, as node.yaml says" in text, text)
            labelled((a, b), "before")
            b.deploy(service(replicas=1))
            ready(a, 1)
            wait_for(lambda: answer(a) == "200", "edge-1 serves")
            # It is away: what runs goes on, changes are refused at once with the reason; then it is back.
            etcd.kill()
            refused(a, "no quorum")
            refused(b, "no quorum")
            for command in (("status",), ("explain", "edge-2"), ("cluster", "show")):
                check("no quorum" in b.cli(*command, status=None).stdout, command)
            wait_for(lambda: takes_changes(b, 0), "the metric says so")
            r = b.deploy(service(replicas=2), status=8)
            check("no quorum" in r.stderr, r.stderr)
            equal(answer(a), "200")
            etcd.start()
            until_outside(a, b)
            label(a, "back")
            wait_for(lambda: takes_changes(b, 1), "the metric says so")
            # One more node, and what goes wrong on one only.
            comes_back(c)
            c.off.discard(late)
            joins(c, late, b)
            label(late, "late")
            labelled(c.nodes, "before", "back", "late")
            wait_for(lambda: "the etcd that keeps the store" in not_recovered(a), "edge-1 hears that the others reach it")
            goes_wrong(c, etcd, late)
            label(late, "again")
            labelled(c.nodes, "again")
            equal(len({store(n)["sequence"] for n in c.nodes if store(n)}), 1)
            is_left(c)


def alone_there(etcd, node):
    """A cluster of one that has its store there; then a node like any other again. What it was keeps its prefix, until somebody says
    that it is gone."""
    node.cli("invite")
    until_outside(node)
    label(node, "alone", name=node.label)
    check(f"store: etcd at {NOBODY}" in node.cli("status").stdout)
    node.cli("leave", "--force")
    wait_for(lambda: node.cluster()["self"] is None, f"{node.label} is in no cluster")


def joins(c, node, by):
    """With another prefix first: nothing is made where nothing is."""
    config = zl_config(node)
    put_config(node, config.replace("/edge/", "/edge/two/"))
    c.join(node, by=by)
    refused(node, "etcd has no store of this cluster")
    put_config(node, config)
    until_outside(node)


def goes_wrong(c, etcd, node):
    """Its own files; the other nodes read theirs later, and what is right then."""
    own = tempfile.mkdtemp(dir=etcd.folder)
    for name in ("ca.crt", "client.crt", "client.key", "password"):
        shutil.copy(os.path.join(etcd.folder, name), own)
    config = zl_config(node)
    good = config.replace(etcd.folder + "/", own + "/")
    put_config(node, good)
    right = {name: etcd.read(name) for name in os.listdir(own)}
    for wrong, words in (({"password": "open barley\n"}, "does not let this node in"),
                         ({"client.crt": etcd.read("named.crt"), "client.key": etcd.read("named.key")}, "common name"),
                         ({"ca.crt": etcd.read("other.crt")}, "do not trust each other")):
        for name, text in {**right, **wrong}.items():
            with open(os.path.join(own, name), "w") as f:
                f.write(text)
        reload(node)
        refused(node, words, etcd.forget)  # with a token it would go on
    # No section at all: what was open is closed, too.
    put_config(node, without(config))
    refused(node, "does not say where the etcd is")
    label(c.nodes[0], "unseen")
    labelled(c.nodes[1:2], "unseen")
    check("unseen" not in node.nodes()["edge-1"]["labels"], node.nodes())
    not_recovered(node)
    put_config(node, config)
    until_outside(node)
    labelled((node,), "unseen")


def not_recovered(node):
    """Refused each time. A process that has begun anew, or has not heard the others for a moment, gives another reason first."""
    r = node.cli("recover", "--force-single", "--yes", status=None)
    check(r.returncode in (7, 8), r.returncode, r.stdout, r.stderr)
    return r.stderr


def comes_back(c):
    """A backup is restored where the store is, from any node."""
    b = c.nodes[1]
    path = os.path.join(b.folder, "backup")
    b.cli("backup", path)
    b.cli("restore", "--replace", path)
    until_outside(*c.running())


def is_left(c):
    """Out of every node.yaml: one node's copy is the store from then on, and the others follow it."""
    a = c.nodes[0]
    for node in c.nodes:
        put_config(node, without(zl_config(node)))
    for node in c.nodes:
        refused(node, "does not say where the etcd is")
    wait_for(lambda: a.cli("recover", "--force-single", "--yes", status=None).returncode == 0, "edge-1's copy is the store", seconds=60)
    for node in c.nodes:
        wait_for(lambda node=node: store(node).get("engine") in ("writer", "follower") and store(node)["writable"] and
                 not store(node)["outside"], f"{node.label} has left etcd", seconds=60)
    label(c.nodes[1], "left")
    labelled(c.nodes, "left", "again")
    equal(answer(a), "200")


def without(config):
    return "\n".join(line for line in config.split("\n") if not line.startswith("store:"))


def zl_config(node):
    with open(node.config) as f:
        return f.read()


def put_config(node, text):
    with open(node.config, "w") as f:
        f.write(text)
    reload(node)


if __name__ == "__main__":
    zl.main(globals())
