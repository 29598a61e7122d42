#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes image archives into a folder, good and hostile ones; a name of what is wrong is the file's
name. Used by test_unpack.c; nothing is fetched from anywhere."""

import gzip
import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tarfile

OUT = sys.argv[1]
MACHINE = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x",
           "riscv64": "riscv64"}[platform.machine()]
OCI = "application/vnd.oci.image."


def gz(data):
    return gzip.compress(data, 6, mtime=0)


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(*entries):
    """entries: (path, content bytes | None for a folder | ("sym" | "hard", target) | "char",
    pax headers, mode and owner)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, what, *more in entries:
            info = tarfile.TarInfo(path)
            info.mtime = 1000000000
            info.mode = 0o644
            info.pax_headers = dict(more[0]) if more else {}
            data = None
            if what is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                if len(more) > 1:
                    info.mode, info.uid = more[1]
            elif what == "char":
                info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3
            elif isinstance(what, tuple):
                info.type = tarfile.SYMTYPE if what[0] == "sym" else tarfile.LNKTYPE
                info.linkname = what[1]
            else:
                data, info.size = io.BytesIO(what), len(what)
            tar.addfile(info, data)
    return out.getvalue()


class Layout:
    def __init__(self):
        self.blobs = {}
        self.index = []

    def blob(self, data, kind, **more):
        digest = sha(data)
        self.blobs[digest] = data
        return {"mediaType": kind, "digest": digest, "size": len(data), **more}

    def document(self, value, kind, **more):
        return self.blob(json.dumps(value).encode(), kind, **more)

    def manifest(self, layers, arch=MACHINE, config=None, diff_ids=None, pack=gz):
        plain = [sha(data) for data in layers]
        value = {"architecture": arch, "os": "linux", "created": "2026-01-02T03:04:05Z",
                 "config": {"Entrypoint": ["/bin/web"], "Cmd": ["-p", "80"],
                            "Env": ["PATH=/bin", "EMPTY="], "WorkingDir": "/srv", "User": "33",
                            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}},
                            "StopSignal": "SIGQUIT", **(config or {})},
                 "rootfs": {"type": "layers", "diff_ids": diff_ids or plain}}
        blobs = [self.blob(pack(data), OCI + "layer.v1.tar") for data in layers]
        return self.document(
            {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
             "config": self.document(value, OCI + "config.v1+json"), "layers": blobs},
            OCI + "manifest.v1+json")

    def add(self, descriptor, name=None, arch=None):
        descriptor = dict(descriptor)
        if name:
            descriptor["annotations"] = {"org.opencontainers.image.ref.name": name}
        if arch:
            descriptor["platform"] = {"os": "linux", "architecture": arch}
        self.index.append(descriptor)
        return self

    def files(self):
        index = json.dumps({"schemaVersion": 2, "manifests": self.index}).encode()
        # The index last: blobs may stand in any order.
        files = {"blobs/sha256/" + d[7:]: data for d, data in self.blobs.items()}
        return {**files, "oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": index}

    def write(self, name, pack=lambda data: data, prefix=""):
        write(name, pack(archive(self.files(), prefix)))


def archive(files, prefix=""):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(prefix + path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write(name, data):
    with open(os.path.join(OUT, name + ".tar"), "wb") as f:
        f.write(data)


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE,
                          check=True).stdout


BASE = layer(("etc", None), ("etc/passwd", b"root\n"), ("bin", None), ("bin/web", b"#!web\n"),
             ("bin/w", ("hard", "bin/web")), ("var", None), ("var/old", b"old"))
TOP = layer(("etc/.wh.passwd", b""), ("var/.wh..wh..opq", b""), ("var/new", b"new"))


def one(*layers, **more):
    made = Layout()
    return made.add(made.manifest(list(layers), **more), "shop/web:1")


def good():
    one(BASE, TOP).write("good")
    one(BASE, TOP, pack=lambda d: d).write("plain", prefix="./")
    one(BASE, TOP).write("whole_gzip", gz)
    one(BASE, TOP, BASE).write("repeated")
    one(BASE, layer(("other", b"x"))).write("shares_base")
    one(layer()).write("empty_layer")
    try:
        one(BASE, TOP, pack=zstd).write("zstd")
        one(BASE, TOP).write("whole_zstd", zstd)
    except (OSError, subprocess.CalledProcessError):
        one(BASE, TOP).write("zstd")
        one(BASE, TOP).write("whole_zstd")
    # The same layer, which has no entry for srv, on two folders srv.
    inside = layer(("srv/page", b"page"))
    one(layer(("srv", None, {}, (0o777, 1234)), ("of", b"another")), inside).write("base_theirs")
    one(layer(("srv", None, {}, (0o750, 33)), ("of", b"us")), inside).write("base_ours")
    big = os.urandom(1 << 20) * 4
    one(BASE, layer(*[("big%d" % i, big) for i in range(4)]),
        pack=lambda d: gzip.compress(d, 1)).write("big")


def platforms():
    both = Layout()
    inner = {"schemaVersion": 2, "manifests": [
        {**both.manifest([TOP], "pdp11"), "platform": {"os": "linux", "architecture": "pdp11"}},
        {**both.manifest([TOP], "?"), "platform": {"os": "unknown", "architecture": "unknown"}},
        {**both.manifest([BASE]), "platform": {"os": "linux", "architecture": MACHINE}}]}
    both.add(both.document(inner, OCI + "index.v1+json"), "shop/multi:2").write("index")
    two = Layout()
    two.add(two.manifest([BASE]), "shop/a:1").add(two.manifest([BASE, TOP]), "shop/b:1")
    two.write("two_images")
    other = Layout()
    other.add(other.manifest([TOP], "pdp11"), arch="pdp11").write("other_machine")
    hidden = Layout()
    hidden.add(hidden.manifest([TOP], "vax")).write("other_machine_hidden")


def docker():
    config = json.dumps({"architecture": MACHINE, "os": "linux", "config": {"Cmd": ["x"]},
                         "rootfs": {"type": "layers", "diff_ids": [sha(BASE), sha(TOP)]}}).encode()
    manifest = [{"Config": "c.json", "RepoTags": ["saved:3"], "Layers": ["a/layer.tar", "b.tar"]}]
    files = {"a/layer.tar": BASE, "b.tar": TOP, "c.json": config}
    write("docker", archive({**files, "manifest.json": json.dumps(manifest).encode()}))
    files["b.tar"] = BASE
    write("bad_docker_layer", archive({**files, "manifest.json": json.dumps(manifest).encode()}))


def spoiled(name, change):
    made = one(BASE, TOP)
    change(made)
    made.write("bad_" + name)


def flip(data):
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def of_kind(made, text):
    return next(d for d, data in made.blobs.items() if text in data)


def damaged():
    spoiled("manifest", lambda m: m.blobs.update(
        {m.index[0]["digest"]: flip(m.blobs[m.index[0]["digest"]])}))
    spoiled("config", lambda m: m.blobs.update(
        {of_kind(m, b"diff_ids"): flip(m.blobs[of_kind(m, b"diff_ids")])}))
    spoiled("layer", lambda m: m.blobs.update(
        {sha(gz(BASE)): flip(m.blobs[sha(gz(BASE))])}))
    spoiled("missing", lambda m: m.blobs.pop(of_kind(m, b"diff_ids")))
    spoiled("size", lambda m: m.index[0].update(size=5))
    spoiled("digest_path", lambda m: m.index[0].update(digest="sha256:../../../etc/passwd"))
    spoiled("index_type", lambda m: m.index.__setitem__(0, ["no object"]))
    one(BASE, diff_ids=[sha(TOP)]).write("bad_diff_id")
    one(BASE, diff_ids=[sha(TOP), sha(BASE)]).write("bad_diff_count")
    one(BASE, diff_ids=["sha256:" + "../" * 21 + "x"]).write("bad_diff_path")
    one(BASE, config={"Env": "text"}).write("bad_env")
    one(BASE, config={"Env": [None]}).write("bad_env_null")
    made = one(BASE)
    write("bad_json", archive({**made.files(), "index.json": b"{"}))
    write("bad_deep", archive({**made.files(), "index.json": b"[" * 100000}))
    write("bad_large", archive({**made.files(), "index.json": b" " * (5 << 20)}))
    write("bad_no_index", archive({"x": b"y"}))
    write("bad_no_tar", b"hello" * 1000)
    write("bad_empty", b"")
    loop = Layout()
    inner = loop.document({"manifests": []}, OCI + "index.v1+json")
    for _ in range(10):
        inner = loop.document({"manifests": [inner]}, OCI + "index.v1+json")
    loop.add(inner).write("bad_nested")


def hostile():
    one(layer(("../../../../outside", b"x"))).write("evil_dots")
    one(layer(("out", ("sym", "../../../..")), ("out/outside", b"x"))).write("evil_symlink")
    one(layer(("out", ("sym", "/")), ("out/outside", b"x"))).write("evil_symlink_absolute")
    one(layer(("hard", ("hard", "../../../good.tar")))).write("evil_hardlink")
    one(layer(("hard", ("hard", "/etc/passwd")))).write("evil_hardlink_absolute")
    one(layer(("null", "char"))).write("evil_device")
    one(layer(("d", None, {"SCHILY.xattr.user.overlay.redirect": "/etc"}))).write("evil_xattr")
    one(layer((".wh...", b""))).write("evil_whiteout")
    one(layer(("a" * 300, b""))).write("evil_name")
    one(layer(("d/" * 200 + "x", b""))).write("evil_depth")
    # 300 MiB of zeros in well under a megabyte, packed twice.
    zeros = gzip.compress(bytes(300 << 20), 9)
    made = Layout()
    head = layer(("zeros", b""))
    info = tarfile.TarInfo("zeros")
    info.size = 300 << 20
    bomb = gzip.compress(info.tobuf()) + zeros + gzip.compress(bytes(1024))
    made.add({**made.document({
        "config": made.document({"architecture": MACHINE, "os": "linux", "rootfs": {
            "type": "layers", "diff_ids": [sha(head)]}}, OCI + "config.v1+json"),
        "layers": [made.blob(bomb, OCI + "layer.v1.tar+gzip")]}, OCI + "manifest.v1+json")})
    made.write("evil_bomb")
    write("evil_whole_bomb", zeros)


good()
platforms()
docker()
damaged()
hostile()
