/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell of the cores: timers, peers, and one step after the other. A core's step never runs
 * inside another step: everything that happens is turned into an input first, and its actions are
 * carried out before the next one. What would lead to a new input at once (a stream that cannot be
 * opened) is put off to the loop's next turn.
 */

#include "scheduler/shell.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/world.h"
#include "scheduler/shell_inside.h"

enum {
	ACCEPTS_MAX = 16, /* in one turn */
	MS_NS = 1000000,
};

/* ---- to itself ---- */

/* Comes back in the loop's next turn; lost when there is no memory, as any other may be. */
static void
echo(struct shell_core_state *c, const void *data, size_t bytes)
{
	struct shell_echo *e = mem_alloc(MEM_SCHEDULER, sizeof(*e) + bytes);

	if (!e)
		return;
	e->bytes = bytes;
	memcpy(e->data, data, bytes);
	list_push(&c->echoes, &e->link);
	uv_timer_start(&c->shell->soon, c->shell->soon.timer_cb, 0, 0);
}

static void
echoes_soon(struct shell *s)
{
	for (size_t i = 0; i < s->cores_count; i++) {
		struct shell_core_state *c = s->cores[i];
		struct list now, *it, *next;

		/* What these lead to is for the turn after. */
		list_init(&now);
		list_each (it, next, &c->echoes) {
			list_remove(it);
			list_push(&now, it);
		}
		list_each (it, next, &now) {
			struct shell_echo *e = container_of(it, struct shell_echo, link);

			list_remove(it);
			shell_step(c, &(struct step_input){.kind = STEP_DATAGRAM,
							   .node = s->config.self->node,
							   .data = e->data,
							   .bytes = e->bytes});
			mem_free(e);
		}
	}
}

static void
echoes_forget(struct shell_core_state *c)
{
	struct list *it, *next;

	list_each (it, next, &c->echoes)
		mem_free(container_of(it, struct shell_echo, link));
}

/* ---- a step ---- */

static void
timer_has_come(uv_timer_t *timer)
{
	struct shell_core_state *c = timer->data;

	shell_datagram_drain(c->shell);
	shell_step(c, &(struct step_input){.kind = STEP_TIMER});
}

static void
set_timer(struct shell_core_state *c, uint64_t at_ns)
{
	uint64_t now = world_mono_ns();

	if (at_ns == UINT64_MAX) {
		uv_timer_stop(&c->timer);
		return;
	}
	uint64_t wait_ms = at_ns > now ? (at_ns - now + MS_NS - 1) / MS_NS : 0;
	uv_update_time(c->shell->config.loop);
	uv_timer_start(&c->timer, timer_has_come, wait_ms, 0);
}

void
shell_carry_out(struct shell_core_state *c, const struct step_action *a, const void *data)
{
	switch (a->kind) {
	case STEP_SEND:
		if (a->node == c->shell->config.self->node)
			echo(c, data, a->bytes);
		else
			shell_datagram_send(c, a->node, data, a->bytes);
		break;
	case STEP_STREAM_OPEN:
		shell_stream_open(c, a);
		break;
	case STEP_STREAM_WRITE:
		shell_stream_write(c, a->stream, data, a->bytes);
		break;
	case STEP_STREAM_CLOSE:
		shell_stream_close(c, a->stream);
		break;
	case STEP_SET_TIMER:
		set_timer(c, a->at_ns);
		break;
	case STEP_APPEND:
	case STEP_REPLACE:
		shell_disk_write(c, a, data);
		break;
	case STEP_TELL:
		if (c->calls.tell)
			c->calls.tell(c->calls.arg, a->what, a->node, a->token, data, a->bytes);
		break;
	}
}

void
shell_step(struct shell_core_state *c, struct step_input *in)
{
	assert(!c->stepping);
	c->stepping = true;
	in->now_ns = world_mono_ns();
	in->wall_ns = world_wall_ns();
	do {
		step_actions_clear(c->out);
		c->calls.step(c->calls.core, in, c->out);
		for (size_t i = 0; i < c->out->count; i++) {
			const struct step_action *a = &c->out->items[i];
			const void *data = step_data(c->out, a);

			if (a->after == 0 || !shell_disk_holds(c, a, data))
				shell_carry_out(c, a, data);
		}
		in->kind = STEP_MORE;
		in->data = NULL;
		in->bytes = 0;
	} while (c->out->more);
	c->stepping = false;
	shell_datagram_flush(c->shell);
}

struct shell_core_state *
shell_find(struct shell *s, uint8_t service)
{
	for (size_t i = 0; i < s->cores_count; i++)
		if (s->cores[i]->calls.service == service)
			return s->cores[i];
	return NULL;
}

/* ---- sockets ---- */

static void
udp_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	shell_datagram_drain(poll->data);
}

static void tcp_readable(uv_poll_t *poll, int status, int events);

static void
accept_again(uv_timer_t *timer)
{
	struct shell *s = timer->data;

	uv_poll_start(&s->tcp, UV_READABLE, tcp_readable);
}

/* Who waits stays readable: without a pause the loop would turn for nothing else. */
static void
accept_later(struct shell *s)
{
	s->counters.accepts_failed++;
	uv_poll_stop(&s->tcp);
	uv_timer_start(&s->again, accept_again, SHELL_ACCEPT_PAUSE_MS, 0);
}

static void
tcp_readable(uv_poll_t *poll, int status, int events)
{
	struct shell *s = poll->data;

	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		int fd = accept4(s->config.tcp_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM)
				accept_later(s);
			return;
		}
		shell_stream_accept(s, fd);
	}
}

/* ---- peers ---- */

int
shell_peer(struct shell *s, uint32_t node, const uint8_t public_key[ENVELOPE_KEY],
	   const struct addr *address, struct err *err)
{
	struct shell_peer_state *p = map_get_u64(&s->peers, node);

	assert(node != 0 && node != s->config.self->node);
	if (p) { /* a node's key never changes: another one would be another id */
		p->address = *address;
		return 0;
	}
	p = mem_zalloc(MEM_SCHEDULER, sizeof(*p));
	if (!p)
		return err_set(err, ERR_NO_MEMORY, "cannot take node %u in", node);
	if (envelope_peer_init(&p->envelope, s->config.self, node, public_key, err) < 0) {
		mem_free(p);
		return -1;
	}
	p->address = *address;
	if (map_put_u64(&s->peers, node, p) < 0) {
		envelope_peer_fini(&p->envelope);
		mem_free(p);
		return err_set(err, ERR_NO_MEMORY, "cannot take node %u in", node);
	}
	return 0;
}

static void
peer_free(struct shell_peer_state *p)
{
	if (!p)
		return;
	envelope_peer_fini(&p->envelope);
	mem_free(p);
}

void
shell_peer_remove(struct shell *s, uint32_t node)
{
	peer_free(map_remove_u64(&s->peers, node));
	shell_stream_abort_node(s, node);
}

void
shell_peer_dials(struct shell *s, uint32_t node, bool dials)
{
	struct shell_peer_state *p = map_get_u64(&s->peers, node);

	if (p)
		p->dials = dials;
}

bool
shell_peer_address(const struct shell *s, uint32_t node, struct addr *out)
{
	const struct shell_peer_state *p = map_get_u64(&s->peers, node);

	if (p)
		*out = p->address;
	return p != NULL;
}

uint64_t
shell_peer_heard_ns(const struct shell *s, uint32_t node)
{
	const struct shell_peer_state *p = map_get_u64(&s->peers, node);

	return p ? p->heard_ns : 0;
}

void
shell_rules(struct shell *s, struct channel_rules *rules)
{
	channel_rules_ref(rules);
	channel_rules_unref(s->config.rules);
	s->config.rules = rules;
}

const struct shell_counters *
shell_counters(const struct shell *s)
{
	return &s->counters;
}

/* ---- cores ---- */

static void
core_free(struct shell_core_state *c)
{
	if (!c)
		return;
	shell_disk_forget(c);
	echoes_forget(c);
	mem_free(c->out);
	mem_free(c);
}

int
shell_add(struct shell *s, const struct shell_core *core, struct err *err)
{
	struct shell_core_state *c = mem_zalloc(MEM_SCHEDULER, sizeof(*c));

	assert(s->cores_count < SHELL_CORES_MAX && core->service != 0 &&
	       !shell_find(s, core->service));
	if (c)
		c->out = mem_alloc(MEM_SCHEDULER, sizeof(*c->out));
	if (!c || !c->out) {
		mem_free(c);
		return err_set(err, ERR_NO_MEMORY, "cannot begin to speak with other nodes");
	}
	c->shell = s;
	c->calls = *core;
	list_init(&c->streams);
	list_init(&c->echoes);
	list_init(&c->jobs);
	list_init(&c->held);
	uv_timer_init(s->config.loop, &c->timer);
	c->timer.data = c;
	s->handles++;
	s->cores[s->cores_count++] = c;
	if (shell_disk_read(c, err) < 0)
		return -1;
	shell_step(c, &(struct step_input){.kind = STEP_START});
	return 0;
}

void
shell_local(struct shell *s, uint8_t service, uint16_t what, uint64_t token, const void *data,
	    size_t bytes)
{
	struct shell_core_state *c = shell_find(s, service);

	assert(c);
	shell_step(c, &(struct step_input){.kind = STEP_LOCAL,
					   .what = what,
					   .token = token,
					   .data = data,
					   .bytes = bytes});
}

/* ---- begin and end ---- */

static void
next_turn(uv_timer_t *timer)
{
	shell_disk_soon(timer->data);
	shell_stream_soon(timer->data);
	echoes_soon(timer->data);
}

static int
watch(struct shell *s, uv_poll_t *poll, int fd, uv_poll_cb ready, struct err *err)
{
	int rc = uv_poll_init(s->config.loop, poll, fd);

	if (rc < 0)
		return err_sys(err, -rc, "cannot watch a socket for other nodes");
	poll->data = s;
	s->handles++;
	uv_poll_start(poll, UV_READABLE, ready);
	return 0;
}

int
shell_new(const struct shell_config *config, struct shell **out, struct err *err)
{
	struct shell_config taken = *config;
	struct shell *s = mem_zalloc(MEM_SCHEDULER, sizeof(*s));

	if (!s) {
		fd_close(&taken.udp_fd);
		fd_close(&taken.tcp_fd);
		return err_set(err, ERR_NO_MEMORY, "cannot begin to speak with other nodes");
	}
	s->config = taken;
	struct sockaddr_storage own;
	socklen_t length = sizeof(own);
	s->v6 = getsockname(taken.udp_fd, (struct sockaddr *)&own, &length) == 0 &&
		own.ss_family == AF_INET6;
	channel_rules_ref(s->config.rules);
	map_init(&s->peers, MEM_SCHEDULER);
	list_init(&s->nameless);
	uv_timer_init(s->config.loop, &s->soon);
	s->soon.data = s;
	s->soon.timer_cb = next_turn;
	uv_timer_init(s->config.loop, &s->again);
	s->again.data = s;
	s->handles = 2;
	*out = s;
	if (watch(s, &s->udp, s->config.udp_fd, udp_readable, err) < 0 ||
	    (s->config.tcp_fd >= 0 && watch(s, &s->tcp, s->config.tcp_fd, tcp_readable, err) < 0)) {
		shell_free(s);
		*out = NULL;
		return -1;
	}
	return 0;
}

void
shell_let_go(struct shell *s)
{
	if (!s->freed || s->handles > 0 || s->working)
		return;
	for (size_t i = 0; i < s->cores_count; i++)
		core_free(s->cores[i]);
	channel_rules_unref(s->config.rules);
	fd_close(&s->config.udp_fd);
	fd_close(&s->config.tcp_fd);
	mem_free(s);
}

static void
closed(uv_handle_t *handle)
{
	struct shell *s = handle->data;

	s->handles--;
	shell_let_go(s);
}

static void
core_closed(uv_handle_t *handle)
{
	struct shell_core_state *c = handle->data;
	struct shell *s = c->shell;

	s->handles--;
	shell_let_go(s);
}

void
shell_free(struct shell *s)
{
	struct map_iter it = {0};

	if (!s)
		return;
	s->freed = true;
	shell_stream_abort_all(s);
	while (map_next(&s->peers, &it))
		peer_free(it.value);
	map_fini(&s->peers);
	uv_close((uv_handle_t *)&s->soon, closed);
	uv_close((uv_handle_t *)&s->again, closed);
	if (s->udp.data)
		uv_close((uv_handle_t *)&s->udp, closed);
	if (s->tcp.data)
		uv_close((uv_handle_t *)&s->tcp, closed);
	for (size_t i = 0; i < s->cores_count; i++)
		uv_close((uv_handle_t *)&s->cores[i]->timer, core_closed);
}
