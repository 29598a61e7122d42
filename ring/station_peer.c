/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segments that this process reads, and the readers of its own. node sends each as it comes
 * and goes. A wake-up is one pipe per producer and reader: written at most once per loop turn,
 * emptied by the reader before it looks, so that nothing published is ever missed. It is a pipe,
 * and no eventfd, because its two ends have flags of their own: a process that was taken over can
 * make neither our write nor our read wait for it.
 */
#include "ring/station_private.h"

#include <errno.h>
#include <unistd.h>
#include "base/log.h"

static void
peer_closed(uv_handle_t *handle)
{
	struct station_peer *peer = handle->data;

	fd_close(&peer->wake);
	ring_reader_free(peer->reader);
	mem_free(peer);
}

static void
peer_close(struct station_peer *peer)
{
	if (peer->closing)
		return;
	peer->closing = true;
	list_remove(&peer->link);
	uv_close((uv_handle_t *)&peer->poll, peer_closed);
}

static void
peer_ask_wake(struct station_peer *peer)
{
	peer->more = station_ask_wake(peer->st, peer->reader);
	if (peer->more)
		station_peer_again(peer->st);
}

static void
again_event(uv_idle_t *idle)
{
	struct station *st = idle->data;
	struct list *it, *next;

	uv_idle_stop(idle);
	list_each (it, next, &st->peers) {
		struct station_peer *peer = container_of(it, struct station_peer, link);

		if (peer->more && !st->leaving)
			peer_ask_wake(peer);
	}
}

void
station_peer_again(struct station *st)
{
	uv_idle_start(&st->again, again_event);
}

static void
peer_look(struct station_peer *peer)
{
	struct station *st = peer->st;

	peer_ask_wake(peer);
	if (!peer->closing && !st->leaving && st->role->wake)
		st->role->wake(st, peer->reader);
}

static void
peer_event(uv_poll_t *poll, int status, int events)
{
	struct station_peer *peer = poll->data;
	char wakes[4096];
	ssize_t n;

	(void)events;
	if (status < 0)
		return;
	n = read(peer->wake, wakes, sizeof(wakes));
	if (n < 0 && errno == EAGAIN)
		return;
	if (n == 0) /* the producer has ended; node will say so */
		uv_poll_stop(poll);
	peer_look(peer);
}

static struct station_peer *
peer_find(struct station *st, uint16_t role, uint16_t index)
{
	struct station_peer *newest = NULL;
	struct list *it, *next;

	list_each (it, next, &st->peers) {
		struct station_peer *peer = container_of(it, struct station_peer, link);

		if (peer->role == role && peer->index == index &&
		    (!newest || peer->generation > newest->generation))
			newest = peer;
	}
	return newest;
}

static void
peer_add(struct station *st, const struct leash_message *m, int *fds)
{
	struct err err = {0};
	struct ring_reader *reader;
	struct station_peer *old = peer_find(st, m->peer_role, m->peer_index);

	if (ring_reader_new(fd_take(&fds[0]), &reader, &err) < 0) {
		log_err(LOG_WARN, "a segment of the ring was refused", &err);
		return;
	}
	if (ring_reader_role(reader) != m->peer_role ||
	    ring_reader_index(reader) != m->peer_index) {
		log_event(LOG_WARN, "a segment names another process", log_u("role", m->peer_role),
			  LOG_END);
		ring_reader_free(reader);
		return;
	}
	struct station_peer *peer = mem_zalloc(MEM_RING, sizeof(*peer));
	if (!peer) {
		ring_reader_free(reader);
		log_event(LOG_ERROR, "no memory to read a segment", LOG_END);
		return;
	}
	if (old)
		station_peer_drop(st, old->role, old->index, old->generation);
	peer->st = st;
	peer->reader = reader;
	peer->wake = fd_take(&fds[1]);
	peer->role = m->peer_role;
	peer->index = m->peer_index;
	peer->generation = ring_reader_generation(reader);
	list_push(&st->peers, &peer->link);
	fd_nonblock(peer->wake, true);
	uv_poll_init(&st->loop, &peer->poll, peer->wake);
	peer->poll.data = peer;
	uv_poll_start(&peer->poll, UV_READABLE, peer_event);
	/* First: what the role asks from now on is sent to this one at once. */
	station_ask_peer(st, peer->role, peer->index);
	if (st->role->peer)
		st->role->peer(st, reader);
	if (!peer->closing)
		peer_look(peer);
}

void
station_peer_drop(struct station *st, uint16_t role, uint16_t index, uint32_t generation)
{
	struct list *it, *next;

	list_each (it, next, &st->peers) {
		struct station_peer *peer = container_of(it, struct station_peer, link);

		if (peer->role != role || peer->index != index || peer->generation != generation)
			continue;
		peer_close(peer);
		station_ask_gone(st, role, index);
		if (st->role->peer_gone)
			st->role->peer_gone(st, role, index, generation);
		return;
	}
}

static struct station_kick *
kick_find(struct station *st, uint16_t role, uint16_t index)
{
	struct list *it, *next;

	list_each (it, next, &st->kicks) {
		struct station_kick *kick = container_of(it, struct station_kick, link);

		if (kick->role == role && kick->index == index)
			return kick;
	}
	return NULL;
}

static void
kick_drop(struct station_kick *kick)
{
	list_remove(&kick->link);
	fd_close(&kick->wake);
	mem_free(kick);
}

static void
kick_add(struct station *st, const struct leash_message *m, int *fds)
{
	struct station_kick *old = kick_find(st, m->peer_role, m->peer_index);

	if (old)
		kick_drop(old);
	struct station_kick *kick = mem_zalloc(MEM_RING, sizeof(*kick));
	if (!kick) {
		log_event(LOG_ERROR, "no memory for a reader's wake-up", LOG_END);
		return;
	}
	kick->role = m->peer_role;
	kick->index = m->peer_index;
	kick->wake = fd_take(&fds[0]);
	fd_nonblock(kick->wake, true);
	list_push(&st->kicks, &kick->link);
	station_kick(st);
}

void
station_peer_message(struct station *st, const struct leash_message *m, int *fds)
{
	struct station_kick *kick;

	switch ((enum leash_kind)m->kind) {
	case LEASH_PEER:
		peer_add(st, m, fds);
		break;
	case LEASH_PEER_GONE:
		station_peer_drop(st, m->peer_role, m->peer_index, (uint32_t)m->a);
		break;
	case LEASH_KICK:
		kick_add(st, m, fds);
		break;
	case LEASH_KICK_GONE:
		kick = kick_find(st, m->peer_role, m->peer_index);
		if (kick)
			kick_drop(kick);
		break;
	default:
		break;
	}
}

void
station_kick(struct station *st)
{
	st->kick_wanted = true;
}

void
station_peer_kick_now(struct station *st)
{
	static const uint64_t one = 1; /* eight bytes: an eventfd would do as well */
	struct list *it, *next;

	st->kick_wanted = false;
	ring_log_publish(st->writer);
	list_each (it, next, &st->kicks) {
		struct station_kick *kick = container_of(it, struct station_kick, link);

		/* A full pipe means that the reader has yet to look: it will. */
		ssize_t n = write(kick->wake, &one, sizeof(one));
		(void)n;
	}
}

bool
station_peer_there(struct station *st, uint16_t role, uint16_t index)
{
	return peer_find(st, role, index) != NULL;
}

struct ring_reader *
station_reader(struct station *st, uint16_t role, uint16_t index)
{
	struct station_peer *peer = peer_find(st, role, index);

	return peer ? peer->reader : NULL;
}

void
station_readers(struct station *st, uint16_t role,
		void (*visit)(void *arg, struct ring_reader *reader), void *arg)
{
	struct list *it, *next;

	list_each (it, next, &st->peers) {
		struct station_peer *peer = container_of(it, struct station_peer, link);

		if (peer->role == role)
			visit(arg, peer->reader);
	}
}

void
station_peer_close_all(struct station *st)
{
	struct list *it, *next;

	list_each (it, next, &st->peers) {
		peer_close(container_of(it, struct station_peer, link));
	}
	list_each (it, next, &st->kicks) {
		kick_drop(container_of(it, struct station_kick, link));
	}
	/* Lets libuv run the close callbacks. */
	uv_run(&st->loop, UV_RUN_NOWAIT);
}
