# SPDX-License-Identifier: Apache-2.0
# Shared by the commands of this folder: packages, builds, messages. Sourced, not run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '==> %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"
	elif command -v sudo >/dev/null; then sudo "$@"
	else die "needs root: run it as root, or install sudo"
	fi
}

# Names of all packages of the given purposes.
package_names() {
	local purpose
	for purpose in "$@"; do
		awk -v p="$purpose" '$1 == p { for (i = 2; i <= NF; i++) print $i }' "$top/tools/packages"
	done
}

# need PURPOSE ...: installs what is missing. Daemons that a package brings are not started: a
# policy-rc.d that says no stands in while dpkg runs, and only if there is none already.
need() {
	local missing=() name policy=/usr/sbin/policy-rc.d ours=0 rc=0 log
	for name in $(package_names "$@"); do
		dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
	done
	[ ${#missing[@]} -eq 0 ] && return 0
	say "installing ${#missing[@]} packages: ${missing[*]}"
	log=$(mktemp)
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
		ours=1
		trap 'as_root rm -f /usr/sbin/policy-rc.d; exit 130' INT TERM
	fi
	{
		as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
			as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
				--no-install-recommends "${missing[@]}"
	} >"$log" 2>&1 || rc=$?
	if [ "$ours" = 1 ]; then
		as_root rm -f "$policy"
		trap - INT TERM
	fi
	if [ "$rc" != 0 ]; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		die "apt-get could not install the packages above"
	fi
	rm -f "$log"
}

# configure FOLDER [meson options]: once; again when what it was made from has changed.
configure() {
	local folder=$1
	shift
	if [ -f "$folder/build.ninja" ]; then
		compile "$folder" build.ninja
		return 0
	fi
	meson setup "$folder" "$top" "$@" >"$folder.setup.log" 2>&1 ||
		{ tail -n 30 "$folder.setup.log" >&2; die "meson setup failed"; }
	rm -f "$folder.setup.log"
}

# compile FOLDER [TARGET ...]: these, or everything.
compile() {
	local folder=$1
	shift
	ninja -C "$folder" "$@" >"$folder/build.log" 2>&1 ||
		{ grep -A 12 -E 'error|FAILED' "$folder/build.log" | head -n 60 >&2; die "the build failed: $folder/build.log"; }
}

# build FOLDER [meson options]: sets up once, then compiles.
build() {
	configure "$@"
	compile "$1"
}

# Names of the targets that the tests of the given suites need.
targets_of() {
	/usr/bin/python3 -c '
import json, os, sys
folder, suites = sys.argv[1], set(sys.argv[2:])
read = lambda what: json.load(open(f"{folder}/meson-info/intro-{what}.json"))
needed = {d for t in read("tests") if suites & {s.split(":")[-1] for s in t["suite"]} for d in t["depends"]}
for t in read("targets"):
    if t["id"] in needed:
        print(*(os.path.relpath(f, os.path.abspath(folder)) for f in t["filename"]), sep="\n")' "$@"
}

# Names of all targets that are built by default, but those that only the tests of the given suites need.
targets_without() {
	/usr/bin/python3 -c '
import json, os, sys
folder, suites = sys.argv[1], set(sys.argv[2:])
read = lambda what: json.load(open(f"{folder}/meson-info/intro-{what}.json"))
needed, others = set(), set()
for t in read("tests"):
    (needed if suites & {s.split(":")[-1] for s in t["suite"]} else others).update(t["depends"])
for t in read("targets"):
    if t["build_by_default"] and t["id"] not in needed - others:
        print(*(os.path.relpath(f, os.path.abspath(folder)) for f in t["filename"]), sep="\n")' "$@"
}
