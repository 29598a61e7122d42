#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Images made by umoci and repacked by skopeo (gzip, zstd, docker-archive) are imported, their
layers mounted as one overlay, and compared entry by entry with what `umoci unpack` makes of them:
type, mode, owner, time, content, links, extended attributes.

usage: unpack_compare.py TEST_RUNTIME_UNPACK"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile

PROGRAM = os.path.abspath(sys.argv[1])


def skip(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(77)


def run(*args, **more):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, **more).stdout


def write(root, path, text, mode=0o644, uid=0, gid=0):
    full = os.path.join(root, path)
    with open(full, "w") as f:
        f.write(text)
    os.chown(full, uid, gid)
    os.chmod(full, mode)


def first(root):
    for folder in ("bin", "etc", "etc/deep", "var", "var/cache", "tmp", "gone"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    write(root, "bin/su", "setuid", 0o4755, 0, 7)
    os.link(os.path.join(root, "bin/su"), os.path.join(root, "bin/su-too"))
    write(root, "etc/passwd", "root:x:0:0\n")
    write(root, "etc/deep/file", "x" * 300000, 0o600, 1000, 1001)
    os.symlink("../etc/passwd", os.path.join(root, "bin/link"))
    os.symlink("/etc", os.path.join(root, "abs"))
    write(root, "var/cache/a", "a")
    write(root, "gone/b", "b")
    write(root, "etc/" + "long" * 60, "long name")
    os.mkfifo(os.path.join(root, "pipe"))
    os.setxattr(os.path.join(root, "etc/passwd"), "user.mime", b"text\0plain")


def second(root):
    os.unlink(os.path.join(root, "etc/passwd"))
    shutil.rmtree(os.path.join(root, "gone"))
    shutil.rmtree(os.path.join(root, "var/cache"))
    write(root, "var/cache", "now a file")
    os.unlink(os.path.join(root, "abs"))
    os.makedirs(os.path.join(root, "abs/folder"))
    write(root, "bin/new", "new", 0o755, 5, 6)
    write(root, "ünïcode", "name")


def third(root):
    os.unlink(os.path.join(root, "var/cache"))
    os.makedirs(os.path.join(root, "var/cache/again"))
    write(root, "etc/passwd", "new\n")
    write(root, "bin/new", "changed", 0o4711)


def make_layout(work):
    layout = os.path.join(work, "layout")
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", layout + ":v1")
    for i, change in enumerate((first, second, third)):
        bundle = os.path.join(work, f"bundle{i}")
        run("umoci", "unpack", "--image", layout + ":v1", bundle)
        change(os.path.join(bundle, "rootfs"))
        run("umoci", "repack", "--image", layout + ":v1", bundle)
    run("umoci", "unpack", "--image", layout + ":v1", os.path.join(work, "expected"))
    return layout


def entry(path):
    st = os.lstat(path)
    found = [stat.filemode(st.st_mode), st.st_uid, st.st_gid]
    if not stat.S_ISDIR(st.st_mode):
        found += [st.st_size, st.st_nlink]
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as f:
            found.append(f.read())
    if stat.S_ISLNK(st.st_mode):
        found.append(os.readlink(path))
    else:
        found.append(int(st.st_mtime))
        found.append({name: os.getxattr(path, name) for name in os.listxattr(path)
                      if not name.startswith("user.overlay.") and name.startswith("user.")})
    return found


def tree(root):
    found = {"": entry(root)}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = entry(path)
    return found


def compare(expected, found, what):
    wrong = [path for path in sorted(expected.keys() | found.keys())
             if expected.get(path) != found.get(path)]
    for path in wrong[:10]:
        print(f"# {what}: {path}\n#   umoci {str(expected.get(path))[:200]}\n"
              f"#   ours  {str(found.get(path))[:200]}")
    return not wrong


def import_and_mount(work, archive, expected):
    images = tempfile.mkdtemp(dir=work)
    layers = run(PROGRAM, "import", images, archive, "shop/test:1").split()
    at = os.path.join(images, "mnt")
    os.mkdir(at)
    # Overlay wants two lower folders, or an upper one; the last is the lowest.
    empty = os.path.join(images, "empty")
    os.mkdir(empty)
    lower = ":".join(list(reversed(layers)) + [empty])
    run("mount", "-t", "overlay", "overlay", "-o", f"ro,userxattr,lowerdir={lower}", at)
    try:
        return compare(expected, tree(at), os.path.basename(archive))
    finally:
        run("umount", at)


def archives(work, layout):
    plain = os.path.join(work, "umoci.tar")
    run("tar", "-C", layout, "-cf", plain, ".")
    yield plain
    run("gzip", "-k", plain)
    yield plain + ".gz"
    packed = os.path.join(work, "skopeo-oci.tar")
    run("skopeo", "copy", f"oci:{layout}:v1", f"oci-archive:{packed}:test")
    yield packed
    saved = os.path.join(work, "skopeo-docker.tar")
    run("skopeo", "copy", f"oci:{layout}:v1", f"docker-archive:{saved}:shop/test:1")
    yield saved
    # Decompressed first: otherwise skopeo keeps what is compressed already.
    plain_dir = os.path.join(work, "plain")
    run("skopeo", "copy", "--dest-decompress", f"oci:{layout}:v1", f"dir:{plain_dir}")
    zstd = os.path.join(work, "skopeo-zstd.tar")
    run("skopeo", "copy", "--dest-compress-format", "zstd", f"dir:{plain_dir}",
        f"oci-archive:{zstd}:test")
    yield zstd


def main():
    if os.geteuid() != 0:
        skip("owners and mounts need root")
    for tool in ("umoci", "skopeo", "tar", "gzip"):
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    if "IN_OWN_MOUNTS" not in os.environ:
        os.execvpe("unshare", ["unshare", "-m", sys.executable, *sys.argv],
                   {**os.environ, "IN_OWN_MOUNTS": "1"})
    work = tempfile.mkdtemp(dir=".")
    failed = 0
    count = 0
    try:
        layout = make_layout(work)
        expected = tree(os.path.join(work, "expected/rootfs"))
        for archive in archives(work, layout):
            count += 1
            ok = import_and_mount(work, archive, expected)
            failed += not ok
            print(f"{'ok' if ok else 'not ok'} {count} - {os.path.basename(archive)}")
        print(f"1..{count}")
    except subprocess.CalledProcessError as e:
        print(f"# {' '.join(e.cmd)}\n# {e.stdout}")
        failed += 1
    finally:
        shutil.rmtree(work)
    sys.exit(1 if failed else 0)


main()
