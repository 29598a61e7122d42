/* SPDX-License-Identifier: Apache-2.0 */
/* Programs onto the devices between nodes, and what they know of this node. */
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
	t->in = (struct tunnel_hook){.name = "vxlan-in", .hook.link_fd = -1};
	t->out = (struct tunnel_hook){.name = "vxlan-out", .egress = true, .hook.link_fd = -1};
	t->sealed = (struct tunnel_hook){.name = "tunnel-in", .hook.link_fd = -1};
	return t;
}

void
tunnel_free(struct tunnel *t)
{
	if (!t)
		return;
	tunnel_peers_forget(t);
	fd_close(&t->in.hook.link_fd);
	fd_close(&t->out.hook.link_fd);
	fd_close(&t->sealed.hook.link_fd);
	mem_free(t);
}

/* ---- maps ---- */

static int
put(struct bpf_map *map, const void *key, const void *value, struct err *err)
{
	int rc = libbpf.bpf_map_update_elem(libbpf.bpf_map__fd(map), key, value, BPF_ANY);

	return rc < 0 ? err_sys(err, -rc, "cannot write a map of peers") : 0;
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

static int
index_of(uint32_t ifindex)
{
	return ifindex <= INT32_MAX ? (int)ifindex : 0;
}

static void
pin_of(const struct tunnel *t, const struct tunnel_hook *h, char *out, size_t cap)
{
	text_format(out, cap, "%s/%s", veth_folder(t->veth), h->name);
}

/* From a device that is no longer wanted. A predecessor's link goes with its pin. */
static void
leave(const struct tunnel *t, struct tunnel_hook *h)
{
	char pin[64];

	pin_of(t, h, pin, sizeof(pin));
	if (h->stands)
		hook_detach(&h->hook);
	h->stands = h->ours = false;
	h->ifindex = 0;
	unlink(pin);
}

/* What stood there goes on when it cannot be replaced. */
static int
attach(const struct tunnel *t, struct tunnel_hook *h, int ifindex, int program, struct err *err)
{
	char pin[64];

	if (h->ifindex != ifindex && (h->ifindex || !ifindex))
		leave(t, h);
	if (!ifindex || h->ours)
		return 0;
	pin_of(t, h, pin, sizeof(pin));
	fd_close(&h->hook.link_fd);
	h->ifindex = ifindex;
	int rc = h->egress ? hook_attach_egress(&h->hook, program, ifindex, pin, err)
			   : hook_attach(&h->hook, program, ifindex, pin, err);
	h->ours = h->stands = rc == 0;
	if (rc < 0)
		h->stands = hook_left(&h->hook, h->egress, ifindex, pin) == HOOK_STANDS;
	return rc;
}

/* Both are tried. What comes in is judged even when nothing can be sent. */
static int
attach_plain(struct tunnel *t, int ifindex, struct err *err)
{
	struct err second = {0};
	int rc = attach(t, &t->in, ifindex, tunnel_program_in(t), err);

	if (attach(t, &t->out, ifindex, tunnel_program_out(t), rc < 0 ? &second : err) < 0)
		rc = -1;
	t->ifindex = t->in.stands && t->out.stands ? ifindex : 0;
	return rc;
}

static int
attach_sealed(struct tunnel *t, int ifindex, struct err *err)
{
	int rc = attach(t, &t->sealed, ifindex, tunnel_program_sealed(t), err);

	t->sealed_on = t->sealed.stands ? ifindex : 0;
	return rc;
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
	static struct tc_overlay_bytes per_cpu[TUNNEL_CPUS_MAX];
	int cpus = libbpf.libbpf_num_possible_cpus();
	int fd = libbpf.bpf_map__fd(loaded(t)->maps.peer_bytes);

	*out = (struct tc_overlay_bytes){0};
	if (cpus <= 0 || cpus > TUNNEL_CPUS_MAX || libbpf.bpf_map_lookup_elem(fd, &id, per_cpu) < 0)
		return -1;
	for (int cpu = 0; cpu < cpus; cpu++) {
		out->received += per_cpu[cpu].received;
		out->sent += per_cpu[cpu].sent;
	}
	return 0;
}
