/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the network to the TUN. One receiver at a time waits at the sockets. What it got it carries
 * through alone while that is little; when its inbox was full it lets the next one wait, and both
 * open at the same time, but write in the order in which they read.
 */
#include "overlay/engine/engine_inside.h"

#include <errno.h>
#include <poll.h>

static struct udp *
socket_of(struct engine *e, unsigned i)
{
	return i == 0 ? &e->udp4 : &e->udp6;
}

/* What the thread knows is told before it sleeps. */
static void
await(struct engine_in *in)
{
	struct engine *e = in->e;
	struct pollfd fds[] = {{.fd = e->udp4.fd, .events = POLLIN},
			       {.fd = e->udp6.fd, .events = POLLIN},
			       {.fd = e->stop, .events = POLLIN}};

	engine_sums_tell(e, &in->sums);
	if (poll(fds, 3, -1) < 0)
		return;
	e->received = 0;
	for (unsigned i = 0; i < 2; i++)
		e->ready[i] = fds[i].revents != 0;
}

/* With `receiving`. 0: the engine ends. */
static unsigned
receive(struct engine_in *in, const struct udp_received **list_out)
{
	struct engine *e = in->e;

	while (!atomic_load_explicit(&e->stopping, memory_order_relaxed)) {
		for (unsigned i = 0; i < 2; i++) {
			if (!e->ready[i])
				continue;
			int n = udp_recv(socket_of(e, i), in->inbox, false, list_out);

			/* One was most likely all. */
			e->ready[i] = n > 1 && ++e->received < ENGINE_UNPOLLED_MAX;
			if (n > 0)
				return (unsigned)n;
		}
		await(in);
	}
	return 0;
}

static void
carry(struct engine_in *in, const struct udp_received *list, unsigned count, uint64_t number)
{
	struct engine *e = in->e;
	unsigned i = 0, at = 0;

	do {
		while (i < count) {
			at = engine_open_add(&in->opened, &list[i], at);
			if (at < list[i].count)
				break;
			i++;
			at = 0;
		}
		engine_open_all(&in->opened);
		turn_wait(&e->turn, number);
		engine_open_deliver(&in->opened);
	} while (i < count);
	turn_pass(&e->turn);
	engine_sums_try(e, &in->sums);
}

void *
engine_in(void *arg)
{
	struct engine_in *in = arg;
	struct engine *e = in->e;
	const struct udp_received *list;
	unsigned count;

	for (;;) {
		pthread_mutex_lock(&e->receiving);
		count = receive(in, &list);
		if (count == 0)
			break;
		uint64_t number = turn_draw(&e->turn);
		bool more = count == UDP_INBOX_MAX;

		if (more)
			pthread_mutex_unlock(&e->receiving);
		carry(in, list, count, number);
		if (!more)
			pthread_mutex_unlock(&e->receiving);
	}
	pthread_mutex_unlock(&e->receiving);
	engine_sums_tell(e, &in->sums);
	return NULL;
}
