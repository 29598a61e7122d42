/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One hook per container, and its addresses with what they are. The kernel's maps are the truth
 * that survives; what is kept here is only which replica has which hook and addresses, and is made
 * again from the veth table after a restart.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "dataplane/bpf/tc_event.h"
#include "dataplane/veth_private.h"

enum { FORGET_KEYS = 512 };

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
	return rc < 0 ? veth_fail(err, rc, "cannot write a map of the data path") : 0;
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

static void
drop_locals(struct veth *v, const struct port *p, const struct port *except)
{
	uint32_t link = (uint32_t)p->hook.ifindex;

	if (p->has4 && !(except && except->has4 && except->addr4 == p->addr4))
		drop_local(v->skel->maps.local4, &p->addr4, link);
	if (p->has6 &&
	    !(except && except->has6 && memcmp(&except->addr6, &p->addr6, sizeof(p->addr6)) == 0))
		drop_local(v->skel->maps.local6, &p->addr6, link);
}

static int
put_locals(struct veth *v, const struct port *p, const struct msg_veth *row, struct err *err)
{
	struct tc_veth_local local = {.ifindex = row->ifindex, .identity = p->identity};

	memcpy(local.mac, row->mac, sizeof(local.mac));
	if (p->has4 && put(v->skel->maps.local4, &p->addr4, &local, err) < 0)
		return -1;
	return p->has6 ? put(v->skel->maps.local6, &p->addr6, &local, err) : 0;
}

static void
take_source(struct port *p, const struct tc_veth_source *source)
{
	p->has4 = source->addr4 != 0;
	p->addr4 = source->addr4;
	p->has6 = source->has6 != 0;
	memcpy(p->addr6.addr, source->addr6, sizeof(p->addr6.addr));
}

/* All of them or none: what the maps say of a device, also by a predecessor's hand, is put back. */
static int
put_addresses(struct veth *v, struct port *p, const struct msg_veth *row, struct err *err)
{
	int sources = libbpf.bpf_map__fd(v->skel->maps.sources);
	struct tc_veth_source source = {.identity = p->identity}, was = {0};
	bool known = libbpf.bpf_map_lookup_elem(sources, &row->ifindex, &was) == 0;
	struct port old = *p;

	if (known)
		take_source(&old, &was);
	if (!addr_is_zero(&row->addr4) && addr_is_v4(&row->addr4))
		source.addr4 = addr_v4_be(&row->addr4);
	source.has6 = !addr_is_zero(&row->addr6) && !addr_is_v4(&row->addr6);
	memcpy(source.addr6, row->addr6.ip, sizeof(source.addr6));
	take_source(p, &source);
	if (put(v->skel->maps.sources, &row->ifindex, &source, err) == 0) {
		if (put_locals(v, p, row, err) == 0) {
			drop_locals(v, &old, p);
			return 0;
		}
		drop_locals(v, p, &old);
		if (!known)
			drop(v->skel->maps.sources, &row->ifindex);
		else
			(void)libbpf.bpf_map_update_elem(sources, &row->ifindex, &was, BPF_ANY);
	}
	take_source(p, &was);
	return -1;
}

static void
drop_addresses(struct veth *v, const struct port *p)
{
	uint32_t link = (uint32_t)p->hook.ifindex;

	drop_locals(v, p, NULL);
	drop(v->skel->maps.sources, &link);
}

static bool
find_left(const struct veth *v, uint64_t replica, uint32_t link, struct tc_identity *out)
{
	int sources = libbpf.bpf_map__fd(v->skel->maps.sources);
	struct tc_veth_source left;

	if (libbpf.bpf_map_lookup_elem(sources, &link, &left) < 0 ||
	    left.identity.replica != replica || !(left.identity.flags & TC_IDENTITY_KNOWN))
		return false;
	*out = left.identity;
	return true;
}

bool
veth_knows(const struct veth *v, const struct msg_veth *row)
{
	struct tc_identity left;

	return find_left(v, row->replica, row->ifindex, &left);
}

bool
veth_has(const struct veth *v, uint64_t replica)
{
	const struct port *p = map_get_u64(&v->ports, replica);

	return p && p->attached;
}

/* What a predecessor wrote holds until somebody says what it is now. */
static void
set_identity(struct veth *v, struct port *p, uint32_t link, const struct tc_identity *identity)
{
	if (identity)
		p->identity = *identity;
	else if (!p->identity.flags)
		(void)find_left(v, p->replica, link, &p->identity);
}

static void
pin_path(const struct veth *v, uint64_t replica, char *out, size_t cap)
{
	text_format(out, cap, "%s/veth-%llu", v->folder, (unsigned long long)replica);
}

enum hook_left
veth_left(const struct veth *v, const struct msg_veth *row, enum msg_hook *hook_out)
{
	struct hook hook;
	char pin[64];

	pin_path(v, row->replica, pin, sizeof(pin));
	enum hook_left left = hook_left(&hook, false, (int)row->ifindex, pin);
	*hook_out = hook.kind;
	return left;
}

/* What stood there goes on, and is tried to be replaced again. */
static int
attach(struct veth *v, struct port *p, const struct msg_veth *row, struct err *err)
{
	char pin[64];

	pin_path(v, row->replica, pin, sizeof(pin));
	p->attached = false;
	fd_close(&p->hook.link_fd);
	if (put_addresses(v, p, row, err) == 0 &&
	    hook_attach(&p->hook, veth_program(v), (int)row->ifindex, pin, err) == 0) {
		p->attached = true;
		return 0;
	}
	if (hook_left(&p->hook, false, (int)row->ifindex, pin) == HOOK_NOTHING) {
		unlink(pin); /* of a device that is gone */
		veth_remove(v, row->replica);
	}
	return -1;
}

int
veth_add(struct veth *v, const struct msg_veth *row, const struct tc_identity *identity,
	 enum msg_hook *hook_out, struct err *err)
{
	struct port *p = map_get_u64(&v->ports, row->replica);

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
	set_identity(v, p, row->ifindex, identity);
	if (attach(v, p, row, err) < 0)
		return -1;
	*hook_out = p->hook.kind;
	return 0;
}

/* Only what is there is written: an address may have gone over to another container. */
static int
put_identity(struct bpf_map *map, const void *key, uint32_t link,
	     const struct tc_identity *identity, struct err *err)
{
	struct tc_veth_local local;

	if (libbpf.bpf_map_lookup_elem(libbpf.bpf_map__fd(map), key, &local) < 0 ||
	    local.ifindex != link)
		return 0;
	local.identity = *identity;
	return put(map, key, &local, err);
}

int
veth_identify(struct veth *v, uint64_t replica, const struct tc_identity *identity, struct err *err)
{
	struct port *p = map_get_u64(&v->ports, replica);
	struct tc_veth_source source;
	uint32_t link;

	if (!p)
		return 0;
	link = (uint32_t)p->hook.ifindex;
	p->identity = *identity;
	if (p->has4 && put_identity(v->skel->maps.local4, &p->addr4, link, identity, err) < 0)
		return -1;
	if (p->has6 && put_identity(v->skel->maps.local6, &p->addr6, link, identity, err) < 0)
		return -1;
	if (libbpf.bpf_map_lookup_elem(libbpf.bpf_map__fd(v->skel->maps.sources), &link, &source) <
	    0)
		return 0;
	source.identity = *identity;
	return put(v->skel->maps.sources, &link, &source, err);
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
	veth_forget_older(v);
}

int
veth_counts(struct veth *v, uint64_t *out, struct err *err)
{
	int fd = libbpf.bpf_map__fd(v->skel->maps.counts);

	for (uint32_t key = 0; key < TC_COUNTS; key++) {
		int rc = libbpf.bpf_map_lookup_elem(fd, &key, v->per_cpu);
		if (rc < 0)
			return veth_fail(err, rc, "cannot read the counters of the data path");
		out[key] = 0;
		for (int cpu = 0; cpu < v->cpus; cpu++)
			out[key] += v->per_cpu[cpu];
	}
	return 0;
}
