/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading of tc_veth and its bookkeeping. The kernel's maps are the truth that survives; what is
 * kept here is only which replica has which hook and addresses, and is made again from the veth
 * table after a restart.
 */
#include "dataplane/veth.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/map.h"
#include "base/text.h"
#include "dataplane/bpf/tc_veth.h"
#include "dataplane/hook.h"
#include "dataplane/skel.h"

struct port {
	uint64_t replica;
	struct hook hook;
	uint32_t addr4;
	struct tc_veth_key6 addr6;
	bool has4, has6;
};

struct veth {
	struct tc_veth *skel;
	struct map ports; /* replica -> struct port */
	char folder[16];
	uint64_t *per_cpu;
	int cpus;
};

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

static int
fail(struct err *err, int rc, const char *what)
{
	err_sys(err, rc < 0 ? -rc : errno, "%s", what);
	return err_fix(err, "BPF programs need CAP_BPF and CAP_NET_ADMIN, and a kernel with BPF; "
			    "zlayer works without them through the kernel's routes");
}

static void
map_path(const struct veth *v, const char *name, char *out, size_t cap)
{
	text_format(out, cap, "%s/%s", v->folder, name);
}

struct named_map {
	const char *name;
	struct bpf_map *map;
};

enum { MAPS = 11, FORGET_KEYS = 512 };

static void
list_maps(const struct veth *v, struct named_map out[MAPS])
{
	out[0] = (struct named_map){"local4", v->skel->maps.local4};
	out[1] = (struct named_map){"local6", v->skel->maps.local6};
	out[2] = (struct named_map){"sources", v->skel->maps.sources};
	out[3] = (struct named_map){"counts", v->skel->maps.counts};
	out[4] = (struct named_map){"chain", v->skel->maps.chain};
	out[5] = (struct named_map){"peers4", v->skel->maps.peers4};
	out[6] = (struct named_map){"peers6", v->skel->maps.peers6};
	out[7] = (struct named_map){"remotes", v->skel->maps.remotes};
	out[8] = (struct named_map){"peer_bytes", v->skel->maps.peer_bytes};
	out[9] = (struct named_map){"overlay_self", v->skel->maps.overlay_self};
	out[10] = (struct named_map){"overlay_counts", v->skel->maps.overlay_counts};
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
			return fail(err, rc, "cannot take over a pinned map");
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
			return fail(err, rc, "cannot pin a map");
	}
	return 0;
}

static int
load(struct veth *v, uid_t owner, struct err *err)
{
	if (mkdir(v->folder, 0700) < 0 && errno != EEXIST)
		return fail(err, -errno, "cannot make the folder for BPF pins");
	if (chown(v->folder, owner, (gid_t)-1) < 0)
		return fail(err, -errno, "cannot hand over the folder for BPF pins");
	v->skel = tc_veth__open();
	if (!v->skel)
		return fail(err, -errno, "cannot open the program for containers' devices");
	if (adopt_maps(v, err) < 0)
		return -1;
	int rc = tc_veth__load(v->skel);
	if (rc < 0)
		return fail(err, rc, "the kernel refuses the program for containers' devices");
	return pin_maps(v, err);
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
	text_format(v->folder, sizeof(v->folder), "%d", TC_VETH_ABI);
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

static void
port_free(struct port *p)
{
	fd_close(&p->hook.link_fd);
	mem_free(p);
}

void
veth_close(struct veth *v)
{
	struct map_iter it = {0};

	if (!v)
		return;
	while (map_next(&v->ports, &it))
		port_free(it.value);
	map_fini(&v->ports);
	if (v->skel)
		tc_veth__destroy(v->skel);
	mem_free(v->per_cpu);
	mem_free(v);
}

/* ---- ports ---- */

static int
put(struct bpf_map *map, const void *key, const void *value, struct err *err)
{
	int rc = libbpf.bpf_map_update_elem(libbpf.bpf_map__fd(map), key, value, BPF_ANY);

	if (rc == -E2BIG || rc == -ENOSPC)
		return err_set(err, ERR_LIMIT, "a map of the data path is full");
	return rc < 0 ? fail(err, rc, "cannot write a map of the data path") : 0;
}

static void
drop(struct bpf_map *map, const void *key)
{
	(void)libbpf.bpf_map_delete_elem(libbpf.bpf_map__fd(map), key);
}

/* An address may have gone over to another container before this one is removed. */
static void
drop_local(struct bpf_map *map, const void *key, uint32_t link)
{
	struct tc_veth_local local;

	if (libbpf.bpf_map_lookup_elem(libbpf.bpf_map__fd(map), key, &local) == 0 &&
	    local.ifindex == link)
		drop(map, key);
}

static int
put_addresses(struct veth *v, struct port *p, const struct msg_veth *row, struct err *err)
{
	struct tc_veth_local local = {.ifindex = row->ifindex};
	struct tc_veth_source source = {0};
	struct port old = *p;

	memcpy(local.mac, row->mac, sizeof(local.mac));
	p->has4 = !addr_is_zero(&row->addr4) && addr_is_v4(&row->addr4);
	p->has6 = !addr_is_zero(&row->addr6) && !addr_is_v4(&row->addr6);
	if (p->has4)
		p->addr4 = source.addr4 = addr_v4_be(&row->addr4);
	memcpy(p->addr6.addr, row->addr6.ip, sizeof(p->addr6.addr));
	memcpy(source.addr6, row->addr6.ip, sizeof(source.addr6));
	source.has6 = p->has6;
	if (put(v->skel->maps.sources, &row->ifindex, &source, err) < 0)
		return -1;
	if (p->has4 && put(v->skel->maps.local4, &p->addr4, &local, err) < 0)
		return -1;
	if (p->has6 && put(v->skel->maps.local6, &p->addr6, &local, err) < 0)
		return -1;
	if (old.has4 && (!p->has4 || old.addr4 != p->addr4))
		drop_local(v->skel->maps.local4, &old.addr4, row->ifindex);
	if (old.has6 && (!p->has6 || memcmp(&old.addr6, &p->addr6, sizeof(old.addr6)) != 0))
		drop_local(v->skel->maps.local6, &old.addr6, row->ifindex);
	return 0;
}

static void
drop_addresses(struct veth *v, const struct port *p)
{
	uint32_t link = (uint32_t)p->hook.ifindex;

	if (p->has4)
		drop_local(v->skel->maps.local4, &p->addr4, link);
	if (p->has6)
		drop_local(v->skel->maps.local6, &p->addr6, link);
	drop(v->skel->maps.sources, &link);
}

int
veth_add(struct veth *v, const struct msg_veth *row, enum msg_hook *hook_out, struct err *err)
{
	struct port *p = map_get_u64(&v->ports, row->replica);
	char pin[64];

	if (p && p->hook.ifindex != (int)row->ifindex) {
		veth_remove(v, row->replica);
		p = NULL;
	}
	if (!p) {
		p = mem_zalloc(MEM_DATAPLANE, sizeof(*p));
		if (!p || map_put_u64(&v->ports, row->replica, p) < 0) {
			mem_free(p);
			return err_set(err, ERR_NO_MEMORY,
				       "no memory for another container's device");
		}
		p->replica = row->replica;
		p->hook.link_fd = -1;
		p->hook.ifindex = (int)row->ifindex;
	}
	text_format(pin, sizeof(pin), "%s/veth-%llu", v->folder, (unsigned long long)row->replica);
	fd_close(&p->hook.link_fd);
	if (put_addresses(v, p, row, err) < 0 ||
	    hook_attach(&p->hook, libbpf.bpf_program__fd(v->skel->progs.tc_veth_in),
			(int)row->ifindex, pin, err) < 0) {
		p->hook.ifindex = (int)row->ifindex;
		veth_remove(v, row->replica);
		return -1;
	}
	*hook_out = p->hook.kind;
	return 0;
}

void
veth_remove(struct veth *v, uint64_t replica)
{
	struct port *p = map_remove_u64(&v->ports, replica);

	if (!p)
		return;
	drop_addresses(v, p);
	hook_detach(&p->hook);
	port_free(p);
}

void
veth_each(struct veth *v, void (*visit)(void *arg, uint64_t replica), void *arg)
{
	struct map_iter it = {0};

	while (map_next(&v->ports, &it))
		visit(arg, ((struct port *)it.value)->replica);
}

/* ---- what a predecessor left ---- */

static bool
link_is_ours(const struct veth *v, uint32_t link)
{
	struct map_iter it = {0};

	while (map_next(&v->ports, &it))
		if (((struct port *)it.value)->hook.ifindex == (int)link)
			return true;
	return false;
}

/* Keys are collected before any is deleted: deleting the key that the kernel continues from would
 * begin anew. What does not fit waits for the next time. */
static void
forget_entries(struct veth *v, struct bpf_map *map, bool key_is_link)
{
	struct tc_veth_key6 stale[FORGET_KEYS], key;
	int fd = libbpf.bpf_map__fd(map);
	union {
		struct tc_veth_local local;
		struct tc_veth_source source;
	} value;
	size_t count = 0;
	uint32_t link;

	for (void *from = NULL; count < FORGET_KEYS; from = &key) {
		if (libbpf.bpf_map_get_next_key(fd, from, &key) < 0)
			break;
		if (libbpf.bpf_map_lookup_elem(fd, &key, &value) < 0)
			continue;
		if (key_is_link)
			memcpy(&link, &key, sizeof(link));
		else
			link = value.local.ifindex;
		if (!link_is_ours(v, link))
			stale[count++] = key;
	}
	for (size_t i = 0; i < count; i++)
		drop(map, &stale[i]);
}

static void
forget_pins(struct veth *v)
{
	DIR *dir = opendir(v->folder);
	struct dirent *entry;
	uint64_t replica;

	while (dir && (entry = readdir(dir)) != NULL) {
		if (!text_starts(entry->d_name, "veth-") ||
		    !text_u64(entry->d_name + strlen("veth-"), UINT64_MAX, &replica) ||
		    map_get_u64(&v->ports, replica))
			continue;
		unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
}

void
veth_forget_others(struct veth *v)
{
	forget_entries(v, v->skel->maps.local4, false);
	forget_entries(v, v->skel->maps.local6, false);
	forget_entries(v, v->skel->maps.sources, true);
	forget_pins(v);
}

int
veth_counts(struct veth *v, uint64_t *out, struct err *err)
{
	int fd = libbpf.bpf_map__fd(v->skel->maps.counts);

	for (uint32_t key = 0; key < TC_VETH_COUNTS; key++) {
		int rc = libbpf.bpf_map_lookup_elem(fd, &key, v->per_cpu);
		if (rc < 0)
			return fail(err, rc, "cannot read the counters of the data path");
		out[key] = 0;
		for (int cpu = 0; cpu < v->cpus; cpu++)
			out[key] += v->per_cpu[cpu];
	}
	return 0;
}

int
veth_program(const struct veth *v)
{
	return libbpf.bpf_program__fd(v->skel->progs.tc_veth_in);
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
