# SPDX-License-Identifier: Apache-2.0
"""tools/tally counts what meson's logs say: run on logs made here."""

import json
import os
import subprocess
import sys
import tempfile

TALLY = os.path.join(sys.argv[1], "tools", "tally")
GOOD = {"name": "unit / good", "result": "OK"}
KNOWN = {"name": "unit / known", "result": "EXPECTEDFAIL"}
SKIPPED = {"name": "net / kernel", "result": "SKIP"}
BAD = {"name": "e2e / bad", "result": "ERROR", "stdout": "ok 1 - one\n# why\nnot ok 2 - two\nok 3 - three\n", "stderr": "last words\n"}
LATE = {"name": "e2e / late", "result": "TIMEOUT"}


def tally(folder, *runs):
    """runs: name, tests or what stands in the place of a log, and meson's status when it is another than its tests'. Status, lines."""
    listing = os.path.join(folder, "results")
    with open(listing, "w") as f:
        for n, (name, tests, *ended) in enumerate(runs):
            path = "" if tests is None else os.path.join(folder, f"{n}.json")
            status = ended[0] if ended else int(tests in ([BAD, GOOD, LATE], None))
            f.write(f"{name}\t{path}\t{status}\n")
            if isinstance(tests, list):
                with open(path, "w") as log:
                    log.writelines(json.dumps(t) + "\n" for t in tests)
            elif tests is not None:
                with open(path, "w") as log:
                    log.write(tests)
    r = subprocess.run([TALLY, listing], capture_output=True, text=True, timeout=60)
    assert not r.stderr, r.stderr
    return r.returncode, r.stdout.splitlines()


def main():
    with tempfile.TemporaryDirectory() as folder:
        assert tally(folder, ("unit", [GOOD, KNOWN]), ("net", [GOOD])) == (0, ["3 passed, 0 failed"])
        assert tally(folder, ("unit", [GOOD]), ("net", [SKIPPED])) == \
            (0, ["skipped: net / kernel", "1 passed, 0 failed, 1 skipped"])
        status, lines = tally(folder, ("e2e", [BAD, GOOD, LATE]))
        assert (status, lines[-1]) == (1, "1 passed, 2 failed"), lines
        assert lines[0] == "---- e2e / bad" and "not ok 2 - two" in lines and "last words" in lines, lines
        assert "ok 3 - three" not in lines and "FAILED: e2e / late (TIMEOUT)" in lines, lines
        # Nothing ran, or not all of it, or not to its end.
        assert tally(folder, ("net", [SKIPPED]))[0] == 1
        assert tally(folder)[0] == 1
        status, lines = tally(folder, ("unit", [GOOD]), ("prop fuzz", None))
        assert status == 1 and lines[-1] == "1 passed, 1 failed" and "prop fuzz" in lines[-2], lines
        status, lines = tally(folder, ("unit", [GOOD]), ("net", [GOOD], 2))
        assert status == 1 and "status 2" in lines[-2] and lines[-1] == "2 passed, 1 failed", lines
        status, lines = tally(folder, ("unit", [GOOD]), ("net", json.dumps(GOOD) + '\n{"name": "net'))
        assert status == 1 and lines[-1] == "1 passed, 1 failed", lines


main()
