/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers into maps, programs onto the devices between nodes. The maps are compared with what is
 * wanted each time: the kernel's copy is the truth that survives, and a predecessor's leftovers go
 * at the first look.
 */
#include "dataplane/tunnel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataplane/lb.h"
#include "dataplane/skel.h"
#include "dataplane/tunnel_private.h"

_Static_assert((int)TC_OVERLAY_PEERS_MAX == (int)TUNNEL_PEERS_MAX, "all peers fit the maps");
_Static_assert((int)TC_PEER_PLAIN == MSG_WAY_PLAIN && (int)TC_PEER_SEALED == MSG_WAY_SEALED &&
		       (int)TC_PEER_TRUSTED == MSG_WAY_TRUSTED,
	       "the programs know ways by the same bits");

enum { PER_CPU_MAX = 4096, MTU_MIN = 1280, MTU_MAX = 65535 };

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
	t->in.link_fd = t->out.link_fd = t->sealed.link_fd = -1;
	return t;
}

void
tunnel_free(struct tunnel *t)
{
	if (!t)
		return;
	fd_close(&t->in.link_fd);
	fd_close(&t->out.link_fd);
	fd_close(&t->sealed.link_fd);
	mem_free(t);
}

/* ---- maps ---- */

static int
put(struct bpf_map *map, const void *key, const void *value, struct err *err)
{
	int rc = libbpf.bpf_map_update_elem(libbpf.bpf_map__fd(map), key, value, BPF_ANY);

	return rc < 0 ? err_sys(err, -rc, "cannot write a map of peers") : 0;
}

/* ---- peers ---- */

static bool
row_holds(const struct msg_peer *row)
{
	return row->id && MSG_OK(row->name) && !addr_is_zero(&row->address) &&
	       addr_is_v4(&row->v4.base) && row->v4.bits > 96 && row->v4.bits <= 128 &&
	       !addr_is_v4(&row->v6.base) && row->v6.bits > 0 && row->v6.bits <= 128 &&
	       (row->mtu == 0 || (row->mtu >= MTU_MIN && row->mtu <= MTU_MAX));
}

/* The keys of all peers, a set for each map. */
struct keys {
	struct lb_rows v4, v6, remotes, ids;
};

static void
keys_init(struct keys *k)
{
	lb_rows_of(&k->v4, sizeof(struct tc_overlay_key4), 0);
	lb_rows_of(&k->v6, sizeof(struct tc_overlay_key6), 0);
	lb_rows_of(&k->remotes, sizeof(struct tc_overlay_addr), 0);
	lb_rows_of(&k->ids, sizeof(uint64_t), 0);
}

static void
keys_fini(struct keys *k)
{
	lb_rows_fini(&k->v4);
	lb_rows_fini(&k->v6);
	lb_rows_fini(&k->remotes);
	lb_rows_fini(&k->ids);
}

/* The node itself has the first address of its prefixes. */
static struct tc_overlay_peer
value_of(const struct tunnel_row *row)
{
	struct tc_overlay_peer p = {.id = row->peer->id, .mtu = row->peer->mtu};
	struct addr own4 = row->peer->v4.base;

	p.flags = row->peer->ways & (MSG_WAY_PLAIN | MSG_WAY_SEALED | MSG_WAY_TRUSTED);
	if (row->member)
		p.flags |= TC_PEER_MEMBER;
	memcpy(p.remote.addr, row->peer->address.ip, sizeof(p.remote.addr));
	memcpy(p.own6, row->peer->v6.base.ip, sizeof(p.own6));
	own4.ip[15] |= 1;
	p.own6[15] |= 1;
	p.own4 = addr_v4_be(&own4);
	return p;
}

static uint32_t
member_before(struct tunnel *t, const struct tc_overlay_key4 *key, uint64_t id)
{
	struct tc_overlay_peer was;
	int fd = libbpf.bpf_map__fd(loaded(t)->maps.peers4);

	if (libbpf.bpf_map_lookup_elem(fd, key, &was) < 0 || was.id != id)
		return TC_PEER_MEMBER;
	return was.flags & TC_PEER_MEMBER;
}

static int
put_peer(struct tunnel *t, const struct tunnel_row *row, struct keys *keys, struct err *err)
{
	static struct tc_overlay_bytes none[PER_CPU_MAX];
	struct tc_overlay_peer value = value_of(row);
	struct tc_overlay_key4 key4 = {.bits = row->peer->v4.bits - 96U};
	struct tc_overlay_key6 key6 = {.bits = row->peer->v6.bits};
	struct tc_veth *skel = loaded(t);

	memcpy(key4.addr, row->peer->v4.base.ip + 12, sizeof(key4.addr));
	memcpy(key6.addr, row->peer->v6.base.ip, sizeof(key6.addr));
	if (row->member_as_before)
		value.flags |= member_before(t, &key4, value.id);
	lb_rows_add(&keys->v4, &key4, NULL);
	lb_rows_add(&keys->v6, &key6, NULL);
	if (row->peer->ways)
		lb_rows_add(&keys->remotes, &value.remote, NULL);
	lb_rows_add(&keys->ids, &value.id, NULL);
	/* Counters go on, when there are any. */
	int rc = libbpf.bpf_map_update_elem(libbpf.bpf_map__fd(skel->maps.peer_bytes), &value.id,
					    none, BPF_NOEXIST);
	if (rc < 0 && rc != -EEXIST)
		return err_sys(err, -rc, "cannot count a peer's bytes");
	/* Nothing comes from where no way leads to. */
	if (row->peer->ways && put(skel->maps.remotes, &value.remote, &value.id, err) < 0)
		return -1;
	if (put(skel->maps.peers4, &key4, &value, err) < 0)
		return -1;
	return put(skel->maps.peers6, &key6, &value, err);
}

static int
compare(const void *a, const void *b)
{
	const struct tunnel_peer *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static void
remember(struct tunnel *t, const struct tunnel_row *rows, size_t count)
{
	static struct tunnel_peer before[TUNNEL_PEERS_MAX];
	size_t before_count = t->peers_count;

	memcpy(before, t->peers, sizeof(before));
	t->peers_count = 0;
	for (size_t i = 0; i < count; i++) {
		struct tunnel_peer *p = &t->peers[t->peers_count], *old;

		if (!row_holds(rows[i].peer))
			continue;
		*p = (struct tunnel_peer){.id = rows[i].peer->id};
		old = bsearch(p, before, before_count, sizeof(*p), compare);
		if (old)
			*p = *old;
		text_copy(p->name, sizeof(p->name), rows[i].peer->name);
		t->peers_count++;
	}
	qsort(t->peers, t->peers_count, sizeof(t->peers[0]), compare);
}

static void
keep_only(struct tunnel *t, struct keys *keys)
{
	struct tc_veth *skel = loaded(t);

	lb_rows_prune(&keys->v4, libbpf.bpf_map__fd(skel->maps.peers4));
	lb_rows_prune(&keys->v6, libbpf.bpf_map__fd(skel->maps.peers6));
	lb_rows_prune(&keys->remotes, libbpf.bpf_map__fd(skel->maps.remotes));
	lb_rows_prune(&keys->ids, libbpf.bpf_map__fd(skel->maps.peer_bytes));
}

int
tunnel_peers(struct tunnel *t, const struct tunnel_row *rows, size_t count, struct err *err)
{
	struct keys keys;
	int rc = 0;

	if (count > TUNNEL_PEERS_MAX) {
		log_event(LOG_ERROR, "more peers than the data path can have",
			  log_u("most", TUNNEL_PEERS_MAX), LOG_END);
		count = TUNNEL_PEERS_MAX;
	}
	keys_init(&keys);
	for (size_t i = 0; i < count && rc == 0; i++) {
		if (!row_holds(rows[i].peer))
			log_event(LOG_ERROR, "a row of the overlay's peers does not hold", LOG_END);
		else
			rc = put_peer(t, &rows[i], &keys, err);
	}
	if (rc == 0 && (keys.v4.failed || keys.v6.failed || keys.remotes.failed || keys.ids.failed))
		rc = err_set(err, ERR_NO_MEMORY, "no memory for the peers of the data path");
	if (rc == 0) {
		keep_only(t, &keys);
		remember(t, rows, count);
	}
	keys_fini(&keys);
	return rc;
}

/* ---- the devices ---- */

/* The first bits of an address. */
static void
mask_of(unsigned bits, uint8_t *out, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++, bits -= bits < 8 ? bits : 8)
		out[i] = (uint8_t)(0xff00U >> (bits < 8 ? bits : 8));
}

static void
put_own(const struct msg_prefix *p, struct tc_overlay_self *self)
{
	self->mtu = p->mtu;
	self->own4 = addr_is_v4(&p->service4) ? addr_v4_be(&p->service4) : 0;
	memcpy(self->own6, p->service6.ip, sizeof(self->own6));
	mask_of(self->own4 && p->v4.bits > 96 ? p->v4.bits - 96U : 0, (uint8_t *)&self->mask4,
		sizeof(self->mask4));
	mask_of(addr_is_v4(&p->service6) ? 0 : p->v6.bits, self->mask6, sizeof(self->mask6));
}

int
tunnel_prefix(struct tunnel *t, const struct msg_prefix *prefix, struct err *err)
{
	int fd = libbpf.bpf_map__fd(loaded(t)->maps.overlay_self);
	struct tc_overlay_self self = {0};
	const uint32_t key = 0;

	(void)libbpf.bpf_map_lookup_elem(fd, &key, &self);
	put_own(prefix, &self);
	return put(loaded(t)->maps.overlay_self, &key, &self, err);
}

static int
put_self(struct tunnel *t, int plain, int sealed, const struct tunnel_devices *d, struct err *err)
{
	struct tc_overlay_self self = {.tunnel = (uint32_t)sealed, .ifindex = (uint32_t)plain};
	const uint32_t key = 0;

	if (plain) {
		self.vni = d->underlay->vni;
		/* 0.0.0.0 and :: are any. */
		if (!addr_is_zero(&d->underlay->listen))
			memcpy(self.local.addr, d->underlay->listen.ip, sizeof(self.local.addr));
	}
	if (d->prefix)
		put_own(d->prefix, &self);
	return put(loaded(t)->maps.overlay_self, &key, &self, err);
}

/* A predecessor's link of a device that is no longer wanted goes with its pin. */
static void
leave(struct tunnel *t, struct hook *hook, int ifindex, const char *name)
{
	char pin[64];

	if (ifindex)
		hook_detach(hook);
	text_format(pin, sizeof(pin), "%s/%s", veth_folder(t->veth), name);
	unlink(pin);
}

static int
index_of(uint32_t ifindex)
{
	return ifindex <= INT32_MAX ? (int)ifindex : 0;
}

static int
attach_plain(struct tunnel *t, int ifindex, struct err *err)
{
	char pin[64];

	if (ifindex && t->ifindex == ifindex)
		return 0;
	if (t->ifindex || !ifindex) {
		leave(t, &t->in, t->ifindex, "vxlan-in");
		leave(t, &t->out, t->ifindex, "vxlan-out");
	}
	t->ifindex = 0;
	if (!ifindex)
		return 0;
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

static int
attach_sealed(struct tunnel *t, int ifindex, struct err *err)
{
	char pin[64];

	if (ifindex && t->sealed_on == ifindex)
		return 0;
	if (t->sealed_on || !ifindex)
		leave(t, &t->sealed, t->sealed_on, "tunnel-in");
	t->sealed_on = 0;
	if (!ifindex)
		return 0;
	text_format(pin, sizeof(pin), "%s/tunnel-in", veth_folder(t->veth));
	if (hook_attach(&t->sealed, tunnel_program_sealed(t), ifindex, pin, err) < 0)
		return -1;
	t->sealed_on = ifindex;
	return 0;
}

/* No packet is sent to a device before its program stands, nor after. */
int
tunnel_devices(struct tunnel *t, const struct tunnel_devices *d, struct err *err)
{
	bool ready = d->prefix != NULL;
	int plain = ready && d->underlay ? index_of(d->underlay->ifindex) : 0;
	int sealed = ready && d->tunnel && d->tunnel->state == MSG_TUNNEL_UP
			     ? index_of(d->tunnel->ifindex)
			     : 0;
	struct err second = {0};

	if (((t->ifindex && t->ifindex != plain) || (t->sealed_on && t->sealed_on != sealed)) &&
	    put_self(t, 0, 0, d, err) < 0)
		return -1;
	int rc = attach_plain(t, plain, err);
	if (attach_sealed(t, sealed, rc < 0 ? &second : err) < 0)
		rc = -1;
	if (put_self(t, t->ifindex, t->sealed_on, d, rc < 0 ? &second : err) < 0)
		return -1;
	return rc;
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

int
tunnel_program_sealed(const struct tunnel *t)
{
	return libbpf.bpf_program__fd(loaded(t)->progs.tc_tunnel_in);
}

/* ---- counters ---- */

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
