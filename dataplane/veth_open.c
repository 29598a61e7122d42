/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading of tc_veth.bpf.c, and what of it outlives this process: maps are pinned under the number
 * of what is in them (TC_VETH_ABI). A predecessor's maps of the same number are taken over before
 * the programs are loaded; those of another number go when all devices have programs of this one.
 * Links of devices have no number: they are taken over as they are, and given the new program.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "dataplane/bpf/tc_event.h"
#include "dataplane/needs.h"
#include "dataplane/veth_private.h"

#define PIN "tc7-"

_Static_assert(TC_VETH_ABI == 7, "the pins are named by it");
_Static_assert(TC_COUNTS == 147 && TC_STAGES == 6, "slots of pinned maps: others are another ABI");

enum { MAPS = 17 };

static int
quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char line[512];

	if (level == LIBBPF_DEBUG)
		return 0;
	int n = vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = 0;
	if (n > 0 && line[0])
		log_event(LOG_DEBUG, "libbpf", log_s("text", line), LOG_END);
	return n;
}

int
veth_fail(struct err *err, int rc, const char *what)
{
	err_sys(err, rc < 0 ? -rc : errno, "%s", what);
	return err_fix(err, "BPF programs need CAP_BPF and CAP_NET_ADMIN, and a kernel with BPF; "
			    "zlayer works without them through the kernel's routes");
}

static void
map_path(const struct veth *v, const char *name, char *out, size_t cap)
{
	text_format(out, cap, "%s/" PIN "%s", v->folder, name);
}

struct named_map {
	const char *name;
	struct bpf_map *map;
};

static void
list_maps(const struct veth *v, struct named_map out[MAPS])
{
#define MAP(map)                        \
	{                               \
#map, v->skel->maps.map \
	}
	const struct named_map all[MAPS] = {
		MAP(local4), MAP(local6),       MAP(sources),     MAP(counts),     MAP(chain),
		MAP(stages), MAP(identities4),  MAP(identities6), MAP(scene),      MAP(allowances),
		MAP(seen),   MAP(overlay_self), MAP(remotes),     MAP(peer_bytes), MAP(peers4),
		MAP(peers6), MAP(events),
	};
#undef MAP
	memcpy(out, all, sizeof(all));
}

/* A predecessor's map serves on, contents and all. */
static int
adopt_maps(struct veth *v, struct err *err)
{
	struct named_map maps[MAPS];
	char path[64];

	list_maps(v, maps);
	for (size_t i = 0; i < MAPS; i++) {
		map_path(v, maps[i].name, path, sizeof(path));
		int fd = libbpf.bpf_obj_get(path);
		if (fd < 0)
			continue;
		int rc = libbpf.bpf_map__reuse_fd(maps[i].map, fd);
		fd_close(&fd);
		if (rc < 0)
			return veth_fail(err, rc, "cannot take over a pinned map");
	}
	return 0;
}

static int
pin_maps(struct veth *v, struct err *err)
{
	struct named_map maps[MAPS];
	char path[64];

	list_maps(v, maps);
	for (size_t i = 0; i < MAPS; i++) {
		map_path(v, maps[i].name, path, sizeof(path));
		int rc = libbpf.bpf_obj_pin(libbpf.bpf_map__fd(maps[i].map), path);
		if (rc < 0 && rc != -EEXIST)
			return veth_fail(err, rc, "cannot pin a map");
	}
	return 0;
}

/* What is gone on with; who observes puts tc_seen. A predecessor's are replaced: the ones that call
 * them are, device by device. */
static int
set_stages(struct veth *v, struct err *err)
{
	const struct bpf_program *const stages[TC_STAGES] = {
		[TC_STAGE_AWAY] = v->skel->progs.tc_away,
		[TC_STAGE_DROPPED] = v->skel->progs.tc_dropped,
		[TC_STAGE_TOO_LARGE] = v->skel->progs.tc_too_large,
	};

	for (uint32_t i = 0; i < TC_STAGES; i++) {
		int rc = stages[i] ? veth_stage(v, i, libbpf.bpf_program__fd(stages[i])) : 0;

		if (rc < 0)
			return veth_fail(err, rc, "cannot put a program into its place");
	}
	return 0;
}

static int
load(struct veth *v, uid_t owner, struct err *err)
{
	if (mkdir(v->folder, 0700) < 0 && errno != EEXIST)
		return veth_fail(err, -errno, "cannot make the folder for BPF pins");
	if (chown(v->folder, owner, (gid_t)-1) < 0)
		return veth_fail(err, -errno, "cannot hand over the folder for BPF pins");
	v->skel = tc_veth__open();
	if (!v->skel)
		return veth_fail(err, -errno, "cannot open the program for containers' devices");
	if (adopt_maps(v, err) < 0)
		return -1;
	/* As the balancer's programs, which go on with it (lb_open.c). */
	int rc = libbpf.bpf_program__set_expected_attach_type(v->skel->progs.xdp_denied,
							      (enum bpf_attach_type)0);
	if (rc == 0)
		rc = tc_veth__load(v->skel);
	if (rc < 0) {
		veth_fail(err, rc, "the kernel refuses the program for containers' devices");
		needs_tell(err);
		return -1;
	}
	return set_stages(v, err) < 0 ? -1 : pin_maps(v, err);
}

int
veth_open(uid_t owner, struct veth **out, struct err *err)
{
	struct veth *v;

	if (dl_load_libbpf(err) < 0)
		return -1;
	libbpf.libbpf_set_print(quiet);
	v = mem_zalloc(MEM_DATAPLANE, sizeof(*v));
	if (!v)
		return err_set(err, ERR_NO_MEMORY, "no memory for the data path");
	map_init(&v->ports, MEM_DATAPLANE);
	text_format(v->folder, sizeof(v->folder), "%d", TC_VETH_FOLDER);
	v->cpus = libbpf.libbpf_num_possible_cpus();
	v->per_cpu =
		v->cpus > 0 ? mem_array(MEM_DATAPLANE, (size_t)v->cpus, sizeof(uint64_t)) : NULL;
	if (!v->per_cpu)
		err_set(err, ERR_NO_MEMORY, "no memory for the data path");
	if (!v->per_cpu || load(v, owner, err) < 0) {
		veth_close(v);
		return -1;
	}
	*out = v;
	return 0;
}

/* ---- what others left ---- */

static bool
is_older(const char *name)
{
	/* Of the first number, which no name had. */
	static const char *const first[] = {
		"local4", "local6",  "sources",    "counts",       "chain",         "peers4",
		"peers6", "remotes", "peer_bytes", "overlay_self", "overlay_counts"};

	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
		if (text_equal(name, first[i]))
			return true;
	return text_starts(name, "tc") && !text_starts(name, PIN);
}

void
veth_forget_older(const struct veth *v)
{
	DIR *dir = opendir(v->folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)) != NULL)
		if (is_older(entry->d_name))
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
}

/* ---- descriptors ---- */

int
veth_stage(struct veth *v, uint32_t stage, int program)
{
	int stages = libbpf.bpf_map__fd(v->skel->maps.stages);

	return program < 0 ? libbpf.bpf_map_delete_elem(stages, &stage)
			   : libbpf.bpf_map_update_elem(stages, &stage, &program, BPF_ANY);
}

int
veth_program(const struct veth *v)
{
	return libbpf.bpf_program__fd(v->skel->progs.tc_veth_in);
}

int
veth_denied(const struct veth *v)
{
	return libbpf.bpf_program__fd(v->skel->progs.xdp_denied);
}

int
veth_chain(const struct veth *v)
{
	return libbpf.bpf_map__fd(v->skel->maps.chain);
}

struct tc_veth *
veth_loaded(const struct veth *v)
{
	return v->skel;
}

const char *
veth_folder(const struct veth *v)
{
	return v->folder;
}
