/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading of edge.bpf.c, and what of it outlives this process: maps and programs are pinned, and
 * what a predecessor pinned is taken over before the programs are loaded, so that they begin with
 * its content. What stands on interfaces is not replaced.
 */
#include <dirent.h>
#include <errno.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataplane/lb_private.h"
#include "dataplane/needs.h"

struct named_map {
	const char *name;
	struct bpf_map *map;
};

enum { MAPS = 27 };

static void
list_maps(const struct lb *lb, struct named_map out[MAPS])
{
#define MAP(map)                         \
	{                                \
#map, lb->skel->maps.map \
	}
	const struct named_map all[MAPS] = {
		MAP(vips4),    MAP(vips6),        MAP(backends),  MAP(flows4),     MAP(flows6),
		MAP(notes),    MAP(fragments),    MAP(speakers4), MAP(speakers6),  MAP(config),
		MAP(registry), MAP(counts),       MAP(drops),     MAP(services),   MAP(leaving),
		MAP(backs),    MAP(ports),        MAP(denied),    MAP(allowed),    MAP(tables_big),
		MAP(chain),    MAP(tables_small), MAP(steps),     MAP(endpoints4), MAP(endpoints6),
		MAP(replies),  MAP(asked),
	};
#undef MAP
	memcpy(out, all, sizeof(all));
}

static void
pin_path(const struct lb *lb, const char *name, char out[LB_PIN_BYTES])
{
	text_format(out, LB_PIN_BYTES, "%s/" LB_PREFIX "%s", lb->folder, name);
}

static bool
has_values_of(int fd, size_t value_bytes)
{
	struct bpf_map_info info = {0};
	uint32_t bytes = sizeof(info);

	return libbpf.bpf_obj_get_info_by_fd(fd, &info, &bytes) == 0 &&
	       info.value_size == value_bytes;
}

/* A map of another size than is asked for now is left behind, and pins of flows with it; so are
 * fragments that an earlier version noted, what it was asked for, and its counters. */
static bool
fits(int fd, const struct bpf_map *map, uint32_t max_flows, const struct lb *lb)
{
	struct bpf_map_info info = {0};
	uint32_t bytes = sizeof(info);

	if (map == lb->skel->maps.fragments)
		return has_values_of(fd, sizeof(struct edge_pin));
	if (map == lb->skel->maps.services)
		return has_values_of(fd, sizeof(struct edge_service_count));
	if (map == lb->skel->maps.asked)
		return has_values_of(fd, sizeof(struct edge_asked));
	if (map != lb->skel->maps.flows4 && map != lb->skel->maps.flows6 &&
	    map != lb->skel->maps.notes)
		return true;
	return libbpf.bpf_obj_get_info_by_fd(fd, &info, &bytes) == 0 &&
	       info.max_entries == max_flows;
}

static int
adopt_map(struct lb *lb, const struct named_map *m, uint32_t max_flows, struct err *err)
{
	char path[LB_PIN_BYTES];

	pin_path(lb, m->name, path);
	defer_close int fd = libbpf.bpf_obj_get(path);
	if (fd < 0)
		return 0;
	if (!fits(fd, m->map, max_flows, lb)) {
		unlink(path);
		return 0;
	}
	int rc = libbpf.bpf_map__reuse_fd(m->map, fd);
	lb->adopted |= m->map == lb->skel->maps.chain;
	return rc < 0 ? lb_fail(err, rc, "cannot take over a pinned map of the balancer") : 0;
}

static int
pin(int fd, const char *path, struct err *err)
{
	int rc = libbpf.bpf_obj_pin(fd, path);

	if (rc < 0 && rc != -EEXIST)
		return lb_fail(err, rc, "cannot pin a part of the balancer");
	return 0;
}

static int
pin_program(struct lb *lb, const char *name, const struct bpf_program *program, struct err *err)
{
	char path[LB_PIN_BYTES];

	text_format(path, sizeof(path), "%s/%s", lb->folder, name);
	unlink(path);
	return pin(libbpf.bpf_program__fd(program), path, err);
}

/* The one that stands on interfaces is not replaced: it calls the map that was taken over, and
 * what it has taken of time goes on. */
static int
keep_root(struct lb *lb, struct err *err)
{
	char path[LB_PIN_BYTES];

	text_format(path, sizeof(path), "%s/" LB_PIN_ROOT, lb->folder);
	lb->root = lb->adopted ? libbpf.bpf_obj_get(path) : -1;
	if (lb->root >= 0)
		return 0;
	return pin_program(lb, LB_PIN_ROOT, lb->skel->progs.xdp_root, err);
}

static int
pin_all(struct lb *lb, const struct named_map *maps, struct err *err)
{
	char path[LB_PIN_BYTES];

	for (size_t i = 0; i < MAPS; i++) {
		pin_path(lb, maps[i].name, path);
		if (pin(libbpf.bpf_map__fd(maps[i].map), path, err) < 0)
			return -1;
	}
	if (keep_root(lb, err) < 0)
		return -1;
	return pin_program(lb, LB_PIN_UPLINK, lb->skel->progs.tc_uplink, err);
}

static int
chain_put(const struct lb *lb, uint32_t slot, int program, struct err *err)
{
	return lb_write(lb->skel->maps.chain, &slot, &program, err);
}

/* What is called stands before what calls it. */
static int
chain_all(struct lb *lb, struct err *err)
{
	enum { STAGE_EDGE, STAGE_ICMP, STAGE_DENIED };
	uint32_t zero = 0;
	int back = libbpf.bpf_program__fd(lb->skel->progs.tc_back);
	int edge = libbpf.bpf_program__fd(lb->skel->progs.xdp_edge);
	int icmp = libbpf.bpf_program__fd(lb->skel->progs.xdp_icmp);

	if (lb->calls.denied >= 0 && chain_put(lb, STAGE_DENIED, lb->calls.denied, err) < 0)
		return -1;
	if (chain_put(lb, STAGE_ICMP, icmp, err) < 0 || chain_put(lb, STAGE_EDGE, edge, err) < 0)
		return -1;
	if (lb->calls.back < 0)
		return 0;
	int rc = libbpf.bpf_map_update_elem(lb->calls.back, &zero, &back, BPF_ANY);
	return rc < 0 ? lb_fail(err, rc, "cannot put the way back into its place") : 0;
}

/* The kernel lets programs call each other by a map when their types of attachment are the same,
 * and one under libxdp's dispatcher has none. */
static int
be_alike(struct lb *lb)
{
	struct bpf_program *all[] = {lb->skel->progs.xdp_root, lb->skel->progs.xdp_edge,
				     lb->skel->progs.xdp_icmp};
	int rc = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++)
		rc = libbpf.bpf_program__set_expected_attach_type(all[i], (enum bpf_attach_type)0);
	return rc;
}

static int
load(struct lb *lb, uint32_t max_flows, struct err *err)
{
	struct named_map maps[MAPS];

	lb->skel = edge__open();
	if (!lb->skel)
		return lb_fail(err, -errno, "cannot open the balancer's programs");
	list_maps(lb, maps);
	libbpf.bpf_map__set_max_entries(lb->skel->maps.flows4, max_flows);
	libbpf.bpf_map__set_max_entries(lb->skel->maps.flows6, max_flows);
	libbpf.bpf_map__set_max_entries(lb->skel->maps.notes, max_flows);
	for (size_t i = 0; i < MAPS; i++)
		if (adopt_map(lb, &maps[i], max_flows, err) < 0)
			return -1;
	int rc = be_alike(lb);
	if (rc == 0)
		rc = edge__load(lb->skel);
	if (rc < 0) {
		lb_fail(err, rc, "the kernel refuses the balancer's programs");
		needs_tell(err);
		return -1;
	}
	if (pin_all(lb, maps, err) < 0)
		return -1;
	return chain_all(lb, err);
}

int
lb_open(const char *folder, uint32_t max_flows, const struct lb_calls *calls, struct lb **out,
	struct err *err)
{
	struct lb *lb = mem_zalloc(MEM_DATAPLANE, sizeof(*lb));

	if (!lb)
		return err_set(err, ERR_NO_MEMORY, "no memory for the balancer");
	text_copy(lb->folder, sizeof(lb->folder), folder);
	lb->calls = *calls;
	lb->root = -1;
	lb->cpus = libbpf.libbpf_num_possible_cpus();
	if (lb->cpus > 0)
		lb->per_cpu = mem_array(MEM_DATAPLANE, (size_t)lb->cpus,
					sizeof(struct edge_service_count));
	if (!lb->per_cpu)
		err_set(err, ERR_NO_MEMORY, "no memory for the balancer's counters");
	if (!lb->per_cpu || load(lb, max_flows, err) < 0) {
		lb_close(lb);
		return -1;
	}
	*out = lb;
	return 0;
}

void
lb_close(struct lb *lb)
{
	if (!lb)
		return;
	if (lb->skel)
		edge__destroy(lb->skel);
	fd_close(&lb->root);
	mem_free(lb->per_cpu);
	mem_free(lb);
}

void
lb_remove(struct lb *lb)
{
	uint32_t zero = 0;
	DIR *dir = opendir(lb->folder);
	struct dirent *entry;

	if (lb->calls.back >= 0)
		(void)libbpf.bpf_map_delete_elem(lb->calls.back, &zero);
	while (dir && (entry = readdir(dir)) != NULL)
		if (text_starts(entry->d_name, LB_PREFIX))
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	lb_close(lb);
}

bool
lb_stands(const char *folder)
{
	char path[LB_PIN_BYTES];

	text_format(path, sizeof(path), "%s/" LB_PIN_ROOT, folder);
	return access(path, F_OK) == 0;
}
