#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Protocol cores do no I/O and never ask for time or randomness: both come in as data. Nor does
anything in them depend on where memory lies: the same inputs give the same outputs in each run.

The files are listed in cores.txt. The object files are asked, so that nothing hides behind a
macro or an inline function."""

import os
import re

import objects
import tree

LIST = "tests/lint/cores.txt"
FORBIDDEN = re.compile(r"""^(
    time|clock|clock_gettime|clock_nanosleep|gettimeofday|nanosleep|usleep|sleep|localtime|
    rand|rand_r|srand|random|srandom|random_r|drand48|lrand48|getrandom|getentropy|arc4random\w*|
    world_real|world_mono_ns|world_wall_ns|RAND_\w+|
    socket|socketpair|connect|bind|listen|accept4?|shutdown|getaddrinfo|
    send|sendto|sendmsg|sendmmsg|recv|recvfrom|recvmsg|recvmmsg|[gs]etsockopt|
    open|open64|openat|openat64|creat|read|pread|pread64|readv|write|pwrite|pwrite64|writev|
    poll|ppoll|select|epoll_\w+|ioctl|syscall|fork|vfork|clone|execve|posix_spawnp?|
    pthread_create|fopen|fopen64|fread|fwrite|fd_\w+|uv_\w+
)$""", re.X)


# Addresses as numbers or as text: what is ordered, hashed or printed by them differs in each run.
ADDRESS = [(re.compile(r"%[-+ #0]*[0-9.*]*p"), "%p"), (re.compile(r"\bu?intptr_t\b"), "uintptr_t")]
LITERAL = re.compile(r'"(?:\\.|[^"\\\n])*"')


def plain(name):
    """Without the decoration of _FORTIFY_SOURCE."""
    match = re.match(r"__(\w+?)_chk$", name)
    return match.group(1) if match else name


def listed():
    for number, line in enumerate(tree.read(LIST).split("\n"), 1):
        path = line.split("#")[0].strip()
        if path:
            yield number, path


def check_addresses(report, source):
    text = tree.read(source).split("\n")
    for number, line in tree.code_lines(source):
        for shape, name in ADDRESS:
            # The insides of literals are blanked in `line`, and %p stands nowhere else.
            where = " ".join(LITERAL.findall(text[number - 1])) if name == "%p" else line
            if shape.search(where):
                report.add(source, number, f"{name} in a core: an address differs in each run; "
                                           "use an id or an index")


def check_maps(report, source, names):
    """Only where the same seed must give the same trace: other cores keep maps against floods."""
    if source.startswith("scheduler/") and {"map_init", "map_next"} <= names:
        report.add(source, objects.line_of(source, "map_next"),
                   "map_next() over a map of map_init() in a core: its order differs in each "
                   "process; use map_init_seeded(), or a sorted array")


def main():
    report = tree.Report()
    by_source = {}
    for path, source in objects.objects():
        by_source.setdefault(source, []).append(path)
    for number, source in listed():
        if not os.path.exists(os.path.join(tree.ROOT, source)):
            report.add(LIST, number, f"{source} does not exist: correct or remove the line")
            continue
        if source not in by_source:
            report.add(LIST, number, f"{source} is in no library: add it to its meson.build")
        check_addresses(report, source)
        for path in by_source.get(source, ()):
            undefined = list(objects.symbols(path, "--undefined-only"))
            check_maps(report, source, {name for kind, name in undefined})
            for kind, name in undefined:
                if FORBIDDEN.match(plain(name)):
                    report.add(source, objects.line_of(source, plain(name)),
                               f"{plain(name)}() in a core: take it as an argument (struct world, "
                               "bytes) or give it out as an effect")
    report.finish()


main()
