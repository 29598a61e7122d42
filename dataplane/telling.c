/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring of events is the kernel's and outlives this process, as all maps do: what was told while
 * nobody listened is read by the successor. Its descriptor is readable when something waits.
 */
#include "dataplane/telling.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/world.h"
#include "dataplane/bpf/tc_veth.h"
#include "dataplane/skel.h"

struct telling {
	struct veth *veth;
	struct ring_buffer *events;
	uv_poll_t readable;
	uv_timer_t end;
	unsigned handles; /* that are not closed */
	bool observes;
	telling_fn told, told_once;
	void *arg, *arg_once;
};

/* ---- events ---- */

static void
end_of(const uint8_t *address, uint16_t port, const struct tc_identity *whose,
       struct msg_flow_end *out)
{
	memcpy(out->addr.ip, address, sizeof(out->addr.ip));
	out->addr.port = ntohs(port);
	out->replica = whose->replica;
	out->service = whose->service;
	out->deployment = whose->deployment;
	out->node = whose->node;
}

bool
telling_flow_of(const struct tc_event *e, int64_t mono_to_wall_ns, struct msg_flow *out)
{
	memset(out, 0, sizeof(*out));
	if ((e->verdict != MSG_FLOW_FORWARDED && e->verdict != MSG_FLOW_DROPPED) ||
	    e->reason >= FLOW_REASONS_ || e->way >= TC_WAYS || !e->place ||
	    e->place > MSG_FLOW_EDGE)
		return false;
	out->wall_ns = (int64_t)e->mono_ns + mono_to_wall_ns;
	out->verdict = e->verdict;
	out->reason = e->reason;
	out->way = e->way;
	out->place = e->place;
	out->ifindex = e->ifindex;
	out->length = e->length;
	out->protocol = e->protocol;
	out->tcp_flags = e->tcp_flags;
	out->lost = e->lost;
	out->peer = e->peer;
	end_of(e->from, e->from_port, &e->source, &out->source);
	end_of(e->to, e->to_port, &e->destination, &out->destination);
	return true;
}

static int
take(void *arg, void *data, size_t bytes)
{
	struct telling *w = arg;
	struct tc_event event;
	struct msg_flow flow;

	if (bytes < sizeof(event))
		return 0;
	memcpy(&event, data, sizeof(event));
	if (telling_flow_of(&event, world_wall_ns() - (int64_t)world_mono_ns(), &flow))
		w->told_once(w->arg_once, &flow);
	return 0;
}

void
telling_read(struct telling *w, telling_fn told, void *arg)
{
	w->told_once = told;
	w->arg_once = arg;
	(void)libbpf.ring_buffer__consume(w->events);
}

static void
readable(uv_poll_t *handle, int status, int what)
{
	struct telling *w = handle->data;

	(void)status;
	(void)what;
	telling_read(w, w->told, w->arg);
}

/* ---- who observes ---- */

/* A flow is told once in each time of observing. */
static int
begin_epoch(struct telling *w, struct err *err)
{
	int fd = libbpf.bpf_map__fd(veth_loaded(w->veth)->maps.scene);
	struct tc_scene scene = {0};
	uint32_t zero = 0;

	(void)libbpf.bpf_map_lookup_elem(fd, &zero, &scene);
	scene.epoch++;
	int rc = libbpf.bpf_map_update_elem(fd, &zero, &scene, BPF_ANY);
	return rc < 0 ? err_sys(err, -rc, "cannot begin to tell of flows") : 0;
}

static int
set_observes(struct telling *w, bool on, struct err *err)
{
	int program = libbpf.bpf_program__fd(veth_loaded(w->veth)->progs.tc_seen);

	if (on == w->observes)
		return 0;
	if (on && begin_epoch(w, err) < 0)
		return -1;
	int rc = veth_stage(w->veth, TC_STAGE_SEEN, on ? program : -1);
	if (rc < 0)
		return err_sys(err, -rc, "cannot switch the telling of flows");
	w->observes = on;
	return 0;
}

static void
ended(uv_timer_t *timer)
{
	struct telling *w = timer->data;
	struct err err = {0};

	if (set_observes(w, false, &err) < 0)
		log_err(LOG_WARN, "flows are told on", &err);
}

int
telling_observe(struct telling *w, uint64_t until_mono_ns, struct err *err)
{
	const uint64_t second_ns = 1000000000;
	uint64_t now = world_mono_ns(), left;

	if (until_mono_ns <= now) {
		uv_timer_stop(&w->end);
		return set_observes(w, false, err);
	}
	left = until_mono_ns - now;
	if (left > TELLING_OBSERVE_MAX_S * second_ns)
		left = TELLING_OBSERVE_MAX_S * second_ns;
	if (set_observes(w, true, err) < 0)
		return -1;
	uv_timer_start(&w->end, ended, left / 1000000 + 1, 0);
	return 0;
}

/* ---- the reader ---- */

int
telling_open(struct veth *veth, struct telling **out, struct err *err)
{
	struct telling *w = mem_zalloc(MEM_DATAPLANE, sizeof(*w));

	if (!w)
		return err_set(err, ERR_NO_MEMORY, "no memory to read what the data path tells");
	w->veth = veth;
	(void)veth_stage(veth, TC_STAGE_SEEN, -1);
	w->events = libbpf.ring_buffer__new(libbpf.bpf_map__fd(veth_loaded(veth)->maps.events),
					    take, w, NULL);
	if (!w->events) {
		err_sys(err, errno, "cannot read what the data path tells");
		mem_free(w);
		return -1;
	}
	*out = w;
	return 0;
}

static void
destroy(struct telling *w)
{
	libbpf.ring_buffer__free(w->events);
	mem_free(w);
}

static void
closed(uv_handle_t *handle)
{
	struct telling *w = handle->data;

	if (--w->handles == 0)
		destroy(w);
}

void
telling_free(struct telling *w)
{
	if (!w)
		return;
	(void)veth_stage(w->veth, TC_STAGE_SEEN, -1);
	if (!w->handles) {
		destroy(w);
		return;
	}
	uv_close((uv_handle_t *)&w->readable, closed);
	uv_close((uv_handle_t *)&w->end, closed);
}

int
telling_start(struct telling *w, uv_loop_t *loop, telling_fn told, void *arg, struct err *err)
{
	w->told = told;
	w->arg = arg;
	w->readable.data = w->end.data = w;
	int rc = uv_poll_init(loop, &w->readable, libbpf.ring_buffer__epoll_fd(w->events));
	if (rc == 0) {
		uv_timer_init(loop, &w->end);
		w->handles = 2;
		rc = uv_poll_start(&w->readable, UV_READABLE, readable);
	}
	return rc < 0 ? err_sys(err, -rc, "cannot wait for what the data path tells") : 0;
}
