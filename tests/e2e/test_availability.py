# SPDX-License-Identifier: Apache-2.0
"""Five nodes under load on the address of one of them, while others die: what clients see."""

import zl
from cluster import Cluster
from test_placing import answer, images, ready
from wreck import Load
from zl import check, service, wait_for


def test_two_of_five_die():
    with Cluster(5) as c:
        images(c)
        c[2].deploy(service(replicas=5))
        ready(c[3], 5)
        wait_for(lambda: answer(c[3]) == "200", "edge-4 serves")
        with Load(c[3]) as load:
            load.more(200)
            for victim in (c[1], c[4]):
                c.kill(victim)
                wait_for(lambda: victim.label not in {r[1] for r in c[3].replicas()}, f"{victim.label} is known to be dead",
                         seconds=60)
                ready(c[3], 5)
                load.more(200)
            # What changes the store is alive: any survivor takes a deploy.
            c[3].deploy(service(replicas=4))
            ready(c[2], 4)
            load.more(200)
        load.judge()


def test_the_writer_dies():
    """What runs goes on without the node that takes changes, and what it had comes up on others."""
    with Cluster(3) as c:
        images(c)
        c[1].deploy(service(replicas=3))
        ready(c[2], 3)
        wait_for(lambda: answer(c[2]) == "200", "edge-3 serves")
        with Load(c[2]) as load:
            load.more(200)
            c.kill(c[0])
            wait_for(lambda: "edge-1" not in {r[1] for r in c[2].replicas()}, "it is known", seconds=60)
            ready(c[2], 3, {"edge-2", "edge-3"})
            load.more(200)
            r = c[2].cli("scale", "shop/web=4", "--force", status=None)
            check(r.returncode == 8 and "edge-1" in r.stderr, r.returncode, r.stdout, r.stderr)
            c.start(c[0])
            c.wait_all_ready()
            ready(c[2], 3)
            wait_for(lambda: c[2].cli("scale", "shop/web=4", "--force", status=None).returncode == 0, "changes are taken again")
            ready(c[0], 4)
            load.more(200)
        load.judge()


if __name__ == "__main__":
    zl.main(globals())
