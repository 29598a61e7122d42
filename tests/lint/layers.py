#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Includes go down, never up or sideways; base stands on libc, the kernel's headers and uv.h."""

import re

import tree

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
# Made by the build from BPF objects; they belong to the folder that includes them.
GENERATED = re.compile(r"\.skel\.h$")

LIBC = set("""
alloca.h assert.h ctype.h dirent.h dlfcn.h elf.h endian.h err.h errno.h fcntl.h features.h fenv.h
float.h fnmatch.h getopt.h glob.h grp.h ifaddrs.h inttypes.h iso646.h limits.h link.h locale.h
malloc.h math.h netdb.h poll.h pthread.h pwd.h regex.h sched.h search.h semaphore.h setjmp.h
signal.h spawn.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h
stdnoreturn.h string.h strings.h syscall.h syslog.h termios.h threads.h time.h uchar.h unistd.h
wchar.h wctype.h uv.h
""".split())
LIBC_FOLDERS = {"arpa", "asm", "asm-generic", "bits", "linux", "net", "netinet", "sys"}
LIBC_FOLDERS |= {"sanitizer"}  # the compiler's own, in builds that ask for it


def check_project(report, path, number, name):
    here = path.split("/")[0]
    there = name.split("/")[0] if "/" in name else None
    if GENERATED.search(name):
        return
    if there is None:
        report.add(path, number, f'"{name}": write project headers from the root, '
                                 f'"{here}/{name}"')
    elif there not in tree.LAYERS:
        report.add(path, number, f'"{name}": no such layer; system headers stand in <>, test '
                                 "headers are not for the product")
    elif there != here and tree.LAYERS[there] == tree.LAYERS[here]:
        report.add(path, number, f'"{name}": {here} and {there} are siblings: meet through ring/, '
                                 "or move what both need down")
    elif tree.LAYERS[there] > tree.LAYERS[here]:
        report.add(path, number, f'"{name}": {there} is above {here}: give it what it needs as an '
                                 "argument or a callback, or move the noun down")


def check_base(report, path, number, name):
    if name not in LIBC and name.split("/")[0] not in LIBC_FOLDERS:
        report.add(path, number, f"<{name}>: base includes libc, kernel headers and uv.h only: "
                                 "move this file up to the layer that has the library")


def main():
    report = tree.Report()
    for path in tree.c_files(product=True):
        for number, line in enumerate(tree.read(path).split("\n"), 1):
            match = INCLUDE.match(line)
            if match is None:
                continue
            quote, name = match.groups()
            if quote == '"':
                check_project(report, path, number, name)
            elif path.startswith("base/"):
                check_base(report, path, number, name)
    report.finish()


main()
