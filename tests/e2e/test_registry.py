#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Images from registries: a real docker-registry on the namespace's loopback, filled by skopeo, and a faulty server
before it where a registry has to misbehave."""

import base64
import glob
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import zl
from registry import Faulty, Registry, free_port
from zl import check, equal, run, wait_for

QUICK = "deploy: { monitor: 0s, health_timeout: 20s }\n"


def noise(size, seed=1):
    r = random.Random(seed)
    return b"".join(r.randbytes(1 << 20) for _ in range(size >> 20)) + r.randbytes(size & (1 << 20) - 1)


def one(image, policy=None, deployment="shop", replicas=1):
    """A document with one service."""
    text = zl.service(image=image, deployment=deployment, replicas=replicas, host=f"{deployment}.test")
    return text.replace(f'name: "{image}"', f'name: "{image}", pull_policy: {policy}') if policy else text


def images(node):
    return {i["name"]: i for i in node.cli_json("image", "ls")["items"]}


def leftovers(node):
    return glob.glob(node.data + "/images/tmp/*")


def layers(node):
    return len(glob.glob(node.data + "/images/layers/*"))


def condition(node, name="shop"):
    """What `ImageReady` of a replica says."""
    for r in node.get(f"/v1/replicas?deployment={name}")["items"]:
        for c in r["conditions"]:
            if c["type"] == "ImageReady":
                return c
    return None


def fails(node, text, *words, status=1, flags=()):
    r = node.deploy(text, *flags, status=status)
    for word in words:
        check(word in r.stderr, f"{word!r} is not said:\n{r.stderr}")
    return r.stderr


# ---- pulling


def test_pull_over_http_on_loopback():
    with Registry() as reg, zl.Node(QUICK) as node:
        reg.push("team/app:1", node, files={"srv/data": noise(3 << 20)})
        r = node.deploy(one(f"{reg.host}/team/app:1", replicas=2))
        check("web.1 pulled 4." in r.stderr and "MiB (0 of 1 layers were here)" in r.stderr, "no progress:", r.stderr)
        node.curl("/health", "shop.test")
        image = images(node)[f"{reg.host}/team/app:1"]
        equal(image["digest"], reg.digest("team/app:1"), "the digest of the tag")
        check(image["in_use"] == 2 and image["kept"], image)
        equal(reg.count("blobs"), image["layers"] + 1, "each blob is fetched once, for both replicas")
        for replica in node.get("/v1/replicas")["items"]:
            equal(replica["container"]["image_digest"], image["digest"], "what runs")
        pins = node.get("/v1/deployments/shop/revisions")["items"][0]
        check(image["digest"] in json.dumps(pins), "the revision does not say its digest:", pins)
        equal(leftovers(node), [], "tmp/")
        # What is shared is not fetched again.
        before = reg.count("blobs")
        reg.push("team/app:2", node, files={"srv/data": noise(3 << 20), "srv/more": b"x"})
        out = node.cli("image", "pull", f"{reg.host}/team/app:2").stdout
        check(f"{reg.host}/team/app:2" in out, out)
        check(reg.count("blobs") > before, "nothing was fetched")
        node.cli("image", "pull", f"{reg.host}/team/app:2")


def test_the_first_document_to_the_letter():
    """nginx:latest is docker.io/library/nginx:latest, which a mirror has."""
    with Registry() as reg, zl.Node(QUICK + f'runtime: {{ mirrors: {{ docker.io: ["http://{reg.host}"] }} }}\n') as node:
        reg.push("library/nginx:latest", node, command=("/bin/server", "-p", "80"))
        path = os.path.join(node.folder, "deployment.yaml")
        with open(path, "w") as f:
            f.write("""version: v1
deployment: my-app
services:
  web:
    rtype: service
    image: { name: nginx:latest }
    endpoints:
      - { name: http, protocol: http, port: 80, expose: public }
    scale: { mode: adaptive, min: 1, max: 5 }
    health: { check: { type: http, url: /health, expect_status: 200 } }
""")
        node.cli("deploy", path)
        out = node.cli("status", "my-app").stdout
        check("1/1" in out and "nginx" in json.dumps(node.cli_json("status", "my-app")), out)
        equal(list(images(node)), ["docker.io/library/nginx:latest"])
        r = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8080/health"],
                           capture_output=True, text=True)
        equal(r.stdout, "200", "the page")


def test_pull_policies():
    with Registry() as reg, zl.Node(QUICK) as node:
        ref = f"{reg.host}/app:1"
        asked = lambda: len([r for r in reg.requests() if "/manifests/" in r[1]])
        reg.push("app:1", node)
        node.deploy(one(ref))  # if_not_present: asked once for the digest, then its documents
        first, before = images(node)[ref]["digest"], asked()
        node.deploy(one(ref))
        equal(asked(), before, "if_not_present asks nobody when it is here")
        reg.push("app:1", node, files={"etc/version": b"2"})
        node.deploy(one(ref))
        equal(asked(), before, "if_not_present does not see that the tag has moved")
        equal(images(node)[ref]["digest"], first)
        node.deploy(one(ref, "always"))
        second = images(node)[ref]["digest"]
        check(second != first, "always takes what the tag is now")
        before = asked()
        r = node.deploy(one(ref, "always"))
        equal(asked(), before + 1, "always asks once when nothing changed")
        check("unchanged" in r.stdout + r.stderr or "no change" in (r.stdout + r.stderr).lower(), r.stdout, r.stderr)
        before = asked()
        node.deploy(one(ref, "newer"))
        equal(asked(), before + 1, "newer asks once")
        before = len(reg.requests())
        node.deploy(one(ref, "never"))
        equal(len(reg.requests()), before, "never asks nobody")
        fails(node, one(f"{reg.host}/other:1", "never"), "is not on this node", "pull_policy is never", status=6)
        equal(len(reg.requests()), before, "never asks nobody")
        reg.stop()
        node.deploy(one(ref, "newer"))  # what is here will do
        fails(node, one(ref, "always"), "cannot be reached", status=6)
        reg.start()
        equal(node.get("/v1/deployments/shop")["state"], "stable")


def test_index_by_platform_and_zstd():
    with Registry() as reg, zl.Node(QUICK) as node:
        layout = reg.push("app:1", node)
        machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        run("skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", "--dest-compress-format", "zstd",
            f"oci:{layout}", f"docker://{reg.host}/zstd:1")
        node.deploy(one(f"{reg.host}/zstd:1", deployment="zstd"))
        put_index(reg, "multi", {machine: "app:1", "s390x": "app:1"})
        node.deploy(one(f"{reg.host}/multi:1", deployment="multi"))
        put_index(reg, "foreign", {"s390x": "app:1"})
        fails(node, one(f"{reg.host}/foreign:1", deployment="foreign"), "another CPU", "s390x")
        put_manifest(reg, "artifact", "application/vnd.oci.image.manifest.v1+json", json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.example.thing+json", "size": 2,
                       "digest": put_blob(reg, "artifact", b"{}")}, "layers": []}).encode())
        fails(node, one(f"{reg.host}/artifact:1", deployment="artifact"), "application/vnd.example.thing+json")
        equal(leftovers(node), [])


def put_blob(reg, name, data):
    import hashlib
    import http.client
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    c = http.client.HTTPConnection("127.0.0.1", reg.port, timeout=30)
    c.request("POST", f"/v2/{name}/blobs/uploads/", headers={"Content-Length": "0"})
    r = c.getresponse()
    r.read()
    place = r.getheader("Location")
    place = place[place.index("/v2/"):]
    c.request("PUT", f"{place}&digest={digest}", body=data, headers={"Content-Type": "application/octet-stream"})
    r = c.getresponse()
    r.read()
    equal(r.status, 201, "upload of a blob")
    return digest


def get_manifest(reg, name, tag):
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", reg.port, timeout=30)
    c.request("GET", f"/v2/{name}/manifests/{tag}",
              headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
    r = c.getresponse()
    return r.read(), r.getheader("Docker-Content-Digest")


def put_manifest(reg, name, kind, data, tag="1"):
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", reg.port, timeout=30)
    c.request("PUT", f"/v2/{name}/manifests/{tag}", body=data, headers={"Content-Type": kind})
    r = c.getresponse()
    body = r.read()
    equal(r.status, 201, f"upload of a manifest ({body[:200]})")


def put_index(reg, name, platforms):
    rows = []
    for architecture, image in platforms.items():
        source, tag = image.split(":")
        run("skopeo", "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
            f"docker://{reg.host}/{image}", f"docker://{reg.host}/{name}:part")
        data, digest = get_manifest(reg, source, tag)
        rows.append({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": len(data), "digest": digest,
                     "platform": {"os": "linux", "architecture": architecture}})
    put_manifest(reg, name, "application/vnd.oci.image.index.v1+json", json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": rows}).encode())


def put_image(reg, name, *layers):
    """An image of plain tars."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    kind = "application/vnd.oci.image."
    part = lambda data, what: {"mediaType": kind + what, "size": len(data), "digest": put_blob(reg, name, data)}
    rows = [part(data, "layer.v1.tar") for data in layers]
    config = json.dumps({"architecture": machine, "os": "linux", "config": {"Cmd": ["/bin/server"]}, "rootfs": {
        "type": "layers", "diff_ids": [r["digest"] for r in rows]}}).encode()
    put_manifest(reg, name, kind + "manifest.v1+json", json.dumps({
        "schemaVersion": 2, "mediaType": kind + "manifest.v1+json", "config": part(config, "config.v1+json"),
        "layers": rows}).encode())


def tar_of(*entries):
    """(path, bytes or None for a folder, mode, owner)"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, data, mode, uid in entries:
            info = tarfile.TarInfo(path)
            info.mode, info.uid, info.size = mode, uid, len(data or b"")
            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(data or b""))
    return out.getvalue()


def test_a_layer_on_another_base():
    """Two images with the same upper layers, which have no entries of their own for a folder: each sees it as its own base
    has it, whichever was pulled first. What an image has twice works, too."""
    with Registry() as reg, zl.Node(QUICK) as node, open(zl.SERVER, "rb") as f:
        program = ("bin/server", f.read(), 0o755, 0)
        page = tar_of(("srv/page", b"page", 0o644, 0))
        base = lambda mode, uid: tar_of(program, ("srv", None, mode, uid))
        put_image(reg, "theirs", base(0o777, 1234), page, page)
        put_image(reg, "ours", base(0o750, 33), page, page)
        for name in ("theirs", "ours"):
            r = json.loads(node.cli("-o", "json", "image", "pull", f"{reg.host}/{name}:1").stdout)
            equal((r["layers"], r["layers_new"]), (3, 3), "layers of its own")
        equal(layers(node), 6, "layers")
        modes = sorted((os.stat(p).st_mode & 0o7777, os.stat(p).st_uid)
                       for p in glob.glob(node.data + "/images/layers/*/fs/srv"))
        equal(modes, [(0o750, 33)] * 3 + [(0o777, 1234)] * 3, "the folder without an entry")
        node.deploy(one(f"{reg.host}/ours:1"))
        node.curl("/health", "shop.test")


# ---- trust and logins


def authority(folder, host):
    """A certificate authority and a certificate of it for the host."""
    def openssl(*args):
        run("openssl", *args, cwd=folder)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={host}", "-keyout",
            "server.key", "-out", "server.csr")
    with open(os.path.join(folder, "ext"), "w") as f:
        f.write(f"subjectAltName=DNS:{host},DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "server.crt")
    return [os.path.join(folder, n) for n in ("ca.crt", "server.crt", "server.key")]


def with_registries(extra=""):
    return QUICK + f"runtime: {{ registries: FOLDER/registries{extra} }}\n"


def trust(node, host, ca):
    folder = os.path.join(node.folder, "registries", "certs.d", host)
    os.makedirs(folder, exist_ok=True)
    run("cp", ca, os.path.join(folder, "ca.crt"))


def login(node, **auths):
    os.makedirs(os.path.join(node.folder, "registries"), exist_ok=True)
    with open(os.path.join(node.folder, "registries", "config.json"), "w") as f:
        json.dump({"auths": {host: {"auth": base64.b64encode(pair.encode()).decode()} for host, pair in auths.items()}}, f)


def test_https_needs_trust():
    with zl.Node(with_registries()) as node:
        ca, certificate, key = authority(node.folder, "registry.test")
        with Registry(tls=(certificate, key)) as reg:
            reg.push("app:1", node)
            with open("/etc/hosts") as f:
                hosts = f.read()
            path = os.path.join(node.folder, "hosts")
            with open(path, "w") as f:
                f.write(hosts + "\n127.0.0.1 registry.test\n")
            run("mount", "--bind", path, "/etc/hosts")
            name = f"registry.test:{reg.port}"
            try:
                fails(node, one(f"{name}/app:1"), "is not trusted", "certs.d")
                node.cli("rm", "shop", "--yes")
                trust(node, name, ca)
                node.deploy(one(f"{name}/app:1"))
                node.deploy(one(f"{reg.host}/app:1", deployment="other"), status=1)  # another name, no trust
            finally:
                run("umount", "/etc/hosts")


def test_basic_login():
    with zl.Node(with_registries()) as node:
        users = os.path.join(node.folder, "users")
        with open(users, "w") as f:  # htpasswd -nbB me secret
            f.write("me:" + bcrypt("secret") + "\n")
        with Registry(users=users) as reg:
            reg.push("app:1", node, login="me:secret")
            fails(node, one(f"{reg.host}/app:1"), "wants a login", "(401)", "docker login")
            node.cli("rm", "shop", "--yes")
            login(node, **{reg.host: "me:wrong"})
            fails(node, one(f"{reg.host}/app:1"), "refuses the login")
            node.cli("rm", "shop", "--yes")
            login(node, **{reg.host: "me:secret"})
            node.deploy(one(f"{reg.host}/app:1"))
            # What is taken away counts at the next pull, though the registry took it a moment ago.
            pull = lambda: node.cli("image", "pull", f"{reg.host}/app:1", status=1).stderr
            login(node, **{reg.host: "me:wrong"})
            check("refuses the login" in pull(), "a login that was replaced is used")
            login(node)
            check("wants a login" in pull(), "a login that was taken away is used")
            text = open(node.log).read()
            check("secret" not in text and base64.b64encode(b"me:secret").decode() not in text, "a password in the log")


def config_json(node, value):
    os.makedirs(os.path.join(node.folder, "registries"), exist_ok=True)
    with open(os.path.join(node.folder, "registries", "config.json"), "w") as f:
        json.dump(value, f)


def helper(folder, name, text):
    path = os.path.join(folder, f"docker-credential-{name}")
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def test_logins_that_a_program_keeps():
    programs = tempfile.mkdtemp(prefix="zlayer-programs-")
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{programs}:{before}"
    try:
        with zl.Node(with_registries()) as node:
            users = os.path.join(node.folder, "users")
            with open(users, "w") as f:
                f.write("me:" + bcrypt("hidden-word") + "\n")
            with Registry(users=users) as reg:
                reg.push("app:1", node, login="me:hidden-word")
                keep_logins_in_programs(node, reg, programs)
            text = open(node.log).read()
            check("hidden-word" not in text, "a password in the log")
    finally:
        os.environ["PATH"] = before
        shutil.rmtree(programs)


def keep_logins_in_programs(node, reg, programs):
    pull = lambda status=0: node.cli("image", "pull", f"{reg.host}/app:1", status=status).stderr
    config_json(node, {"auths": {reg.host: {}}, "credsStore": "vault"})
    text = pull(1)
    check("docker-credential-vault is not there" in text and "wants a login" in text and "fix" in text, text)
    helper(programs, "vault", "echo it is sealed; exit 2\n")
    text = pull(1)
    check("it says: it is sealed" in text and "docker-credential-vault get" in text, text)
    helper(programs, "vault", "echo credentials not found in native keychain; exit 1\n")
    text = pull(1)
    check("docker-credential-vault has no login for" in text and "docker login" in text, text)
    give = lambda password: f"""read server
echo "$1 $server" >>{programs}/asked
echo "{{\\"ServerURL\\": \\"$server\\", \\"Username\\": \\"me\\", \\"Secret\\": \\"{password}\\"}}"
"""
    helper(programs, "vault", give("wrong"))
    check("refuses the login" in pull(1), "a wrong login")
    helper(programs, "vault", give("hidden-word"))
    config_json(node, {"credHelpers": {reg.host: "vault"}, "credsStore": "nobody"})
    node.deploy(one(f"{reg.host}/app:1"))
    node.curl("/health", "shop.test")
    asked = open(f"{programs}/asked").read().splitlines()
    equal(set(asked), {f"get {reg.host}"}, "what the program was asked")
    # A public image does not need the program.
    with Registry() as public:
        public.push("app:1", node)
        node.cli("image", "pull", f"{public.host}/app:1")
    equal(len(open(f"{programs}/asked").read().splitlines()), len(asked), "asked for a public image")


def bcrypt(password):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import crypt
    return crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)).replace("$2b$", "$2y$")


# ---- what goes wrong


def mirrored(proxy):
    return QUICK + f'runtime: {{ mirrors: {{ registry.invalid: ["{proxy.url}"] }} }}\n'


def test_tokens():
    """A token server, asked once per repository; its tokens are not carried along a redirect to another host."""
    with Registry() as reg, Faulty(reg) as blobs, Faulty(reg) as proxy:
        tokens = []

        def rule(request):
            if request["path"].startswith("/token"):
                tokens.append(request)
                return ("status", 200, {})
            if request["authorization"] != "Bearer good":
                return ("status", 401, {"WWW-Authenticate":
                        f'Bearer realm="{proxy.url}/token",service="test",scope="repository:app:pull"'})
            if "/blobs/" in request["path"]:
                return ("status", 307, {"Location": blobs.url + request["path"]})
            return None

        def serve(handler, before=proxy.serve):
            if handler.path.startswith("/token"):
                tokens.append(handler.path)
                body = b'{"token": "good", "expires_in": 300}'
                handler.send_response(200)
                handler.send_header("Content-Length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)
            else:
                before(handler)

        proxy.serve = serve
        proxy.rule = rule
        with zl.Node(mirrored(proxy)) as node:
            reg.push("app:1", node)
            node.deploy(one("registry.invalid/app:1"))
            equal(len(tokens), 1, "tokens asked for")
            check("scope=repository%3Aapp%3Apull" in tokens[0] and "service=test" in tokens[0], tokens)
            check(blobs.seen, "the redirect was not followed")
            check(all(not r["authorization"] for r in blobs.seen), "a token went to another host")


def test_resume_after_a_cut():
    with Registry() as reg, Faulty(reg) as proxy, zl.Node(mirrored(proxy)) as node:
        cuts = []

        def rule(request):
            if "/blobs/" in request["path"] and len(cuts) < 3:
                cuts.append(request)
                return ("cut", 1 << 20)
            return None

        reg.push("app:1", node, files={"srv/data": noise(6 << 20)})
        # A mirror is not patient, the registry itself is: it stands on this machine.
        proxy.rule = rule
        node.deploy(one(f"{proxy.host}/app:1"))
        ranges = [r["range"] for r in proxy.seen if r["range"]]
        check(len(ranges) >= 1 and all(r != "bytes=0-" for r in ranges), "it was not resumed:", proxy.seen)
        equal(leftovers(node), [])


def test_cut_behind_the_last_byte():
    """All of a blob has come, and the connection ends before the server could say so."""
    with Registry() as reg, Faulty(reg) as proxy, zl.Node(QUICK) as node:
        reg.push("app:1", node, files={"srv/data": noise(1 << 20)})
        proxy.rule = lambda r: ("unfinished",) if "/blobs/" in r["path"] and not r["range"] else None
        node.deploy(one(f"{proxy.host}/app:1"))
        node.curl("/health", "shop.test")
        check(any(r["range"] for r in proxy.seen), "nothing was asked for again:", proxy.seen)
        equal(leftovers(node), [])


def test_failures_have_names():
    with Registry() as reg, Faulty(reg) as proxy, zl.Node(QUICK) as node:
        reg.push("app:1", node, files={"srv/data": noise(1 << 20)})

        def fail(rule, *words, image=f"{proxy.host}/app:1"):
            proxy.rule = rule
            text = fails(node, one(image), *words, flags=("--no-rollback",))
            state = condition(node)
            check(state and not state["status"] and state.get("reason") and state.get("message"), "ImageReady:", state)
            check("ImageReady=false: " in node.cli("-o", "wide", "ps", "shop").stdout, "ps does not say it")
            node.cli("rm", "shop", "--yes")
            wait_for(lambda: not node.get("/v1/deployments")["items"], "the deployment is gone")
            wait_for(lambda: leftovers(node) == [], "tmp/ is empty")
            equal((images(node), layers(node)), ({}, 0), "what is left of it")
            return text

        blob = lambda what: (lambda r: what if "/blobs/" in r["path"] else None)
        every = lambda what: (lambda r: what)
        fail(every(("status", 403, {})), "refuses access", "(403)")
        fail(every(("status", 401, {"WWW-Authenticate": 'Basic realm="x"'})), "wants a login")
        fail(every(("status", 429, {"Retry-After": "3600"})), "too many requests", "3600 s")
        fail(every(("status", 302, {"Location": "ftp://x/"})), "redirect")
        fail(lambda r: ("change",) if "/manifests/" in r["path"] and r["method"] == "GET" else None, "damaged")
        fail(blob(("change",)), "damaged")
        manifest = lambda what: (lambda r: what if "/manifests/" in r["path"] else None)
        fail(manifest(("endless", 404)), "(404)")
        fail(manifest(("endless", 200)), "larger than 4 MiB")
        fail(blob(("status", 404, {})), "(404)")
        fail(lambda r: None, "(404)", "app:nothing", image=f"{proxy.host}/app:nothing")
        fail(lambda r: None, "cannot be reached", "refused", image=f"127.0.0.1:{free_port()}/app:1")
        fail(lambda r: None, "cannot be resolved", image="no-such-host.invalid/app:1")
        # And the same node can do it still.
        proxy.rule = lambda r: None
        node.deploy(one(f"{proxy.host}/app:1"))


def test_a_running_service_outlives_a_bad_image():
    with Registry() as reg, zl.Node(QUICK) as node:
        reg.push("app:1", node)
        node.deploy(one(f"{reg.host}/app:1"))
        fails(node, one(f"{reg.host}/app:2"), "(404)", "was rolled back", status=6)
        node.curl("/health", "shop.test")
        equal(list(images(node)), [f"{reg.host}/app:1"])


def test_disk_full():
    with Registry() as reg, zl.Node(QUICK) as node:
        reg.push("app:1", node, files={"srv/data": noise(24 << 20)})
        node.stop()
        folder = os.path.join(node.data, "images")
        run("mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "none", folder)
        os.chown(folder, *owner(node))
        try:
            node.start()
            fails(node, one(f"{reg.host}/app:1"), "No space left")
            node.cli("rm", "shop", "--yes")
            wait_for(lambda: leftovers(node) == [], "tmp/ is empty")
            run("mount", "-o", "remount,size=128m", folder)
            node.deploy(one(f"{reg.host}/app:1"))
            node.cli("rm", "shop", "--yes")
        finally:
            node.stop()
            run("umount", "-l", folder)
            node.start()


def owner(node):
    s = os.stat(os.path.join(node.data, "images"))
    return s.st_uid, s.st_gid


def test_kill_roles_during_a_pull():
    with Registry() as reg, Faulty(reg) as proxy, zl.Node(QUICK) as node:
        reg.push("app:1", node, files={f"srv/{i}": noise(4 << 20, i) for i in range(2)})
        for role in ("fetch", "unpack", "runtime"):
            slow = [True]
            proxy.rule = lambda r: ("slow", 4 << 20) if slow[0] and "/blobs/" in r["path"] else None
            begun = len(proxy.seen)
            path = os.path.join(node.folder, "test.zlayer.yaml")
            with open(path, "w") as f:
                f.write(one(f"{proxy.host}/app:1"))
            deploy = subprocess.Popen([zl.PROGRAM, "--socket", node.socket, "deploy", path], stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True)
            wait_for(lambda: any("/blobs/" in r["path"] for r in proxy.seen[begun:]), "the pull has begun")
            wait_for(lambda: pulled_bytes(node) > 0, "bytes have come")
            node.kill(role)
            slow[0] = False
            out, _ = deploy.communicate(timeout=120)
            equal(deploy.returncode, 0, f"deploy while {role} was killed:\n{out}")
            node.curl("/health", "shop.test")
            equal(leftovers(node), [], f"tmp/ after {role} was killed")
            node.cli("rm", "shop", "--yes")
            wait_for(lambda: not node.get("/v1/deployments")["items"], "the deployment is gone")

            def pruned():  # its replica may only just be gone
                node.cli("image", "prune")
                return (images(node), layers(node)) == ({}, 0)
            wait_for(pruned, lambda: f"what prune leaves: {images(node)} {layers(node)}")


def pulled_bytes(node):
    for r in node.get("/v1/replicas")["items"]:
        pull = (r.get("container") or {}).get("pull")
        if pull and pull["bytes"]:
            return pull["bytes"]
    return 0


def test_memory_of_a_large_layer():
    with Registry() as reg, zl.Node(QUICK) as node:
        reg.push("big:1", node, files={"srv/data": noise(160 << 20)})
        node.cli("image", "pull", f"{reg.host}/big:1")
        for (role, _), pid in node.processes().items():
            if role not in ("fetch", "unpack", "runtime"):
                continue
            peak = int(next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM")).split()[1])
            print(f"# {role}: {peak} KiB at most")
            check(zl.SANITIZED or peak < 64 << 10, f"{role} took {peak} KiB")


# ---- keeping and removing


def test_prune_keeps_what_a_revision_needs():
    with Registry() as reg, zl.Node(QUICK) as node:
        for n in range(3):
            reg.push("app:1", node, files={"etc/n": str(n).encode()})
            if n < 2:
                node.deploy(one(f"{reg.host}/app:1", "always"))
        first, second = [r for r in node.get("/v1/deployments/shop/revisions")["items"]][-2:]
        node.cli("image", "pull", f"{reg.host}/app:1")  # the third: nothing uses it
        equal(len(node.cli_json("image", "ls")["items"]), 3, "images")
        would = json.loads(node.cli("-o", "json", "image", "prune", "--dry-run").stdout)
        equal(would["images"], 1, "would remove")
        equal(json.loads(node.cli("-o", "json", "image", "prune").stdout), would, "removed")
        left = {i["digest"] for i in node.cli_json("image", "ls")["items"]}
        equal(len(left), 2, "kept for the revision that serves and the one before")
        reg.stop()  # the one before can be had without the registry
        for digest in left:
            node.deploy(one(f"{reg.host}/app@{digest}", deployment="again"))
        node.cli("rm", "again", "--yes")
        node.cli("rm", "shop", "--yes")
        wait_for(lambda: not node.get("/v1/deployments")["items"], "the deployments are gone")
        wait_for(lambda: json.loads(node.cli("-o", "json", "image", "prune").stdout) is not None
                 and images(node) == {}, "all of it can go")
        equal(layers(node), 0, "layers")


def test_an_image_that_is_needed_is_not_removed():
    with Registry() as reg, zl.Node(QUICK) as node:
        for n in (1, 2):
            reg.push(f"app:{n}", node, files={"etc/n": str(n).encode()})
        name = lambda n: f"{reg.host}/app:{n}"
        kept = lambda n: node.cli("image", "rm", name(n), status=7).stderr
        node.deploy(one(name(1)))
        text = kept(1)
        check("is in use" in text and "1 container of this node runs it" in text, text)
        check("revision 1 of shop serves with it" in text and "zlayer rm shop" in text, text)
        node.deploy(one(name(2)))
        wait_for(lambda: images(node)[name(1)]["in_use"] == 0, "the first container is gone")
        text = kept(1)
        check("shop can be rolled back with it to revision 1" in text and "image prune" in text, text)
        check("container" not in text, text)
        reg.stop()
        node.cli("rollback", "shop")
        node.curl("/health", "shop.test")
        node.cli("rm", "shop", "--yes")
        wait_for(lambda: not node.get("/v1/deployments")["items"], "the deployment is gone")
        for n in (1, 2):
            wait_for(lambda: node.cli("image", "rm", name(n), status=None).returncode == 0, "it is not needed any more")
        equal((images(node), layers(node)), ({}, 0), "what is left")


if __name__ == "__main__":
    zl.main(globals())
