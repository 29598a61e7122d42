/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers into maps, programs onto the VXLAN device. The maps are compared with what is wanted each
 * time: the kernel's copy is the truth that survives, and a predecessor's leftovers go at the first
 * look.
 */
#include "dataplane/tunnel.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataplane/skel.h"
#include "dataplane/tunnel_private.h"

enum { KEY_BYTES_MAX = 32, PER_CPU_MAX = 4096 };

static struct tc_veth *
loaded(const struct tunnel *t)
{
	return veth_loaded(t->veth);
}

struct tunnel *
tunnel_new(struct veth *veth)
{
	struct tunnel *t = mem_zalloc(MEM_DATAPLANE, sizeof(*t));

	if (!t)
		return NULL;
	t->veth = veth;
	t->in.link_fd = t->out.link_fd = -1;
	return t;
}

void
tunnel_free(struct tunnel *t)
{
	if (!t)
		return;
	fd_close(&t->in.link_fd);
	fd_close(&t->out.link_fd);
	mem_free(t);
}

/* ---- maps ---- */

static int
put(struct bpf_map *map, const void *key, const void *value, struct err *err)
{
	int rc = libbpf.bpf_map_update_elem(libbpf.bpf_map__fd(map), key, value, BPF_ANY);

	return rc < 0 ? err_sys(err, -rc, "cannot write a map of peers") : 0;
}

/* Keys are collected before any is deleted: deleting the one that the kernel goes on from would
 * begin anew. */
static void
keep_only(struct bpf_map *map, size_t key_bytes, const void *wanted, size_t count)
{
	uint8_t stale[TUNNEL_PEERS_MAX][KEY_BYTES_MAX], key[KEY_BYTES_MAX];
	int fd = libbpf.bpf_map__fd(map);
	size_t found = 0;

	for (void *from = NULL; found < TUNNEL_PEERS_MAX; from = key) {
		bool stays = false;

		if (libbpf.bpf_map_get_next_key(fd, from, key) < 0)
			break;
		for (size_t i = 0; i < count && !stays; i++)
			stays = memcmp((const uint8_t *)wanted + i * key_bytes, key, key_bytes) ==
				0;
		if (!stays)
			memcpy(stale[found++], key, key_bytes);
	}
	for (size_t i = 0; i < found; i++)
		(void)libbpf.bpf_map_delete_elem(fd, stale[i]);
}

/* ---- peers ---- */

static bool
row_holds(const struct msg_peer *row)
{
	return row->id && MSG_OK(row->name) && !addr_is_zero(&row->address) &&
	       addr_is_v4(&row->v4.base) && row->v4.bits > 96 && row->v4.bits <= 128 &&
	       !addr_is_v4(&row->v6.base) && row->v6.bits > 0 && row->v6.bits <= 128;
}

/* The keys of all peers, one array per map. */
struct keys {
	struct tc_overlay_key4 v4[TUNNEL_PEERS_MAX];
	struct tc_overlay_key6 v6[TUNNEL_PEERS_MAX];
	struct tc_overlay_addr remotes[TUNNEL_PEERS_MAX];
	uint64_t ids[TUNNEL_PEERS_MAX];
	size_t count;
};

static int
put_peer(struct tunnel *t, const struct msg_peer *row, struct keys *keys, struct err *err)
{
	static struct tc_overlay_bytes none[PER_CPU_MAX];
	struct tc_overlay_peer value = {.id = row->id};
	size_t i = keys->count++;
	struct tc_veth *skel = loaded(t);

	memcpy(value.remote.addr, row->address.ip, sizeof(value.remote.addr));
	keys->ids[i] = row->id;
	keys->remotes[i] = value.remote;
	keys->v4[i].bits = row->v4.bits - 96U;
	memcpy(keys->v4[i].addr, row->v4.base.ip + 12, sizeof(keys->v4[i].addr));
	keys->v6[i].bits = row->v6.bits;
	memcpy(keys->v6[i].addr, row->v6.base.ip, sizeof(keys->v6[i].addr));
	/* Counters go on, when there are any. */
	int rc = libbpf.bpf_map_update_elem(libbpf.bpf_map__fd(skel->maps.peer_bytes), &row->id,
					    none, BPF_NOEXIST);
	if (rc < 0 && rc != -EEXIST)
		return err_sys(err, -rc, "cannot count a peer's bytes");
	if (put(skel->maps.remotes, &value.remote, &row->id, err) < 0 ||
	    put(skel->maps.peers4, &keys->v4[i], &value, err) < 0)
		return -1;
	return put(skel->maps.peers6, &keys->v6[i], &value, err);
}

static void
remember(struct tunnel *t, const struct msg_peer *const *rows, size_t count)
{
	struct tunnel_peer before[TUNNEL_PEERS_MAX];
	size_t before_count = t->peers_count;

	memcpy(before, t->peers, sizeof(before));
	t->peers_count = 0;
	for (size_t i = 0; i < count; i++) {
		struct tunnel_peer *p = &t->peers[t->peers_count];

		if (!row_holds(rows[i]))
			continue;
		*p = (struct tunnel_peer){.id = rows[i]->id};
		for (size_t k = 0; k < before_count; k++)
			if (before[k].id == p->id)
				*p = before[k];
		text_copy(p->name, sizeof(p->name), rows[i]->name);
		t->peers_count++;
	}
}

int
tunnel_peers(struct tunnel *t, const struct msg_peer *const *rows, size_t count, struct err *err)
{
	static struct keys keys;
	struct tc_veth *skel = loaded(t);

	if (count > TUNNEL_PEERS_MAX)
		count = TUNNEL_PEERS_MAX;
	keys.count = 0;
	for (size_t i = 0; i < count; i++) {
		if (!row_holds(rows[i]))
			log_event(LOG_ERROR, "a row of the overlay's peers does not hold", LOG_END);
		else if (put_peer(t, rows[i], &keys, err) < 0)
			return -1;
	}
	keep_only(skel->maps.peers4, sizeof(keys.v4[0]), keys.v4, keys.count);
	keep_only(skel->maps.peers6, sizeof(keys.v6[0]), keys.v6, keys.count);
	keep_only(skel->maps.remotes, sizeof(keys.remotes[0]), keys.remotes, keys.count);
	keep_only(skel->maps.peer_bytes, sizeof(keys.ids[0]), keys.ids, keys.count);
	remember(t, rows, count);
	return 0;
}

/* ---- the device ---- */

static int
put_self(struct tunnel *t, const struct msg_underlay *u, const struct msg_prefix *p,
	 struct err *err)
{
	struct tc_overlay_self self = {0};
	const uint32_t key = 0;

	if (u) {
		self.ifindex = u->ifindex;
		self.vni = u->vni;
		/* 0.0.0.0 and :: are any. */
		if (!addr_is_zero(&u->listen))
			memcpy(self.local.addr, u->listen.ip, sizeof(self.local.addr));
	}
	if (u && p) {
		self.mtu = p->mtu;
		self.own4 = addr_is_v4(&p->service4) ? addr_v4_be(&p->service4) : 0;
		memcpy(self.own6, p->service6.ip, sizeof(self.own6));
	}
	return put(loaded(t)->maps.overlay_self, &key, &self, err);
}

static void
detach(struct tunnel *t)
{
	if (t->ifindex) {
		hook_detach(&t->in);
		hook_detach(&t->out);
	}
	t->ifindex = 0;
}

static int
attach(struct tunnel *t, int ifindex, struct err *err)
{
	char pin[64];

	if (t->ifindex == ifindex)
		return 0;
	detach(t);
	text_format(pin, sizeof(pin), "%s/vxlan-in", veth_folder(t->veth));
	if (hook_attach(&t->in, tunnel_program_in(t), ifindex, pin, err) < 0)
		return -1;
	text_format(pin, sizeof(pin), "%s/vxlan-out", veth_folder(t->veth));
	if (hook_attach_egress(&t->out, tunnel_program_out(t), ifindex, pin, err) < 0) {
		hook_detach(&t->in);
		return -1;
	}
	t->ifindex = ifindex;
	return 0;
}

int
tunnel_device(struct tunnel *t, const struct msg_underlay *underlay,
	      const struct msg_prefix *prefix, struct err *err)
{
	bool there = underlay && prefix && underlay->ifindex && underlay->ifindex <= INT32_MAX;

	/* Nothing is sent to a device that does not know where to. */
	if (!there) {
		int rc = put_self(t, NULL, NULL, err);
		detach(t);
		return rc;
	}
	if (attach(t, (int)underlay->ifindex, err) < 0)
		return -1;
	return put_self(t, underlay, prefix, err);
}

int
tunnel_program_in(const struct tunnel *t)
{
	return libbpf.bpf_program__fd(loaded(t)->progs.tc_vxlan_in);
}

int
tunnel_program_out(const struct tunnel *t)
{
	return libbpf.bpf_program__fd(loaded(t)->progs.tc_vxlan_out);
}

/* ---- counters ---- */

int
tunnel_counts(struct tunnel *t, uint64_t out[TC_OVERLAY_COUNTS])
{
	static uint64_t per_cpu[PER_CPU_MAX];
	int cpus = libbpf.libbpf_num_possible_cpus();
	int fd = libbpf.bpf_map__fd(loaded(t)->maps.overlay_counts);

	for (uint32_t key = 0; key < TC_OVERLAY_COUNTS; key++) {
		if (cpus <= 0 || cpus > PER_CPU_MAX ||
		    libbpf.bpf_map_lookup_elem(fd, &key, per_cpu) < 0)
			return -1;
		out[key] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			out[key] += per_cpu[cpu];
	}
	return 0;
}

int
tunnel_bytes(struct tunnel *t, uint64_t id, struct tc_overlay_bytes *out)
{
	static struct tc_overlay_bytes per_cpu[PER_CPU_MAX];
	int cpus = libbpf.libbpf_num_possible_cpus();
	int fd = libbpf.bpf_map__fd(loaded(t)->maps.peer_bytes);

	*out = (struct tc_overlay_bytes){0};
	if (cpus <= 0 || cpus > PER_CPU_MAX || libbpf.bpf_map_lookup_elem(fd, &id, per_cpu) < 0)
		return -1;
	for (int cpu = 0; cpu < cpus; cpu++) {
		out->received += per_cpu[cpu].received;
		out->sent += per_cpu[cpu].sent;
	}
	return 0;
}
