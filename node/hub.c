/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing on the leashes. What a role says about itself (from_role, from_index) is overwritten with
 * what node knows. A message that the table does not permit is dropped, its descriptors are closed
 * and it is counted; it is no reason to end the role, since a newer role may know more kinds than
 * this node.
 *
 * A process is read by others from the moment its segment came, and reads others from then on too:
 * before, it could not answer. The session ticket keys are remembered as a descriptor, so that a
 * proxy which starts later gets them too.
 */
#include "node/hub.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "node/watch.h"

enum { WAKE_BYTES = 4096 };

struct queued {
	struct list link;
	struct leash_message message;
	int fds[FD_PASS_MAX];
	size_t count;
};

struct hub_member {
	struct list link;
	struct hub *hub;
	void *owner;
	uint16_t role, index;
	uint32_t generation;
	int leash;
	struct watch *watch;
	int segment;
	struct ring_reader *reader;
	int wake; /* for node's own segment; -1: does not read it */
	int stir; /* the scheduler's wake-ups for node */
	struct watch *stir_watch;
	struct list queue;
	size_t queued;
	bool broken;
};

struct hub {
	uv_loop_t *loop;
	const struct hub_events *events;
	void *arg;
	struct ring_writer *own;
	uint32_t generation;
	struct list members;
	uint64_t dropped;
	int tickets;
};

struct hub *
hub_new(uv_loop_t *loop, struct ring_writer *own, uint32_t generation,
	const struct hub_events *events, void *arg)
{
	struct hub *hub = mem_zalloc(MEM_NODE, sizeof(*hub));

	if (!hub)
		return NULL;
	hub->loop = loop;
	hub->own = own;
	hub->generation = generation;
	hub->events = events;
	hub->arg = arg;
	hub->tickets = -1;
	list_init(&hub->members);
	return hub;
}

void
hub_free(struct hub *hub)
{
	if (!hub)
		return;
	assert(list_empty(&hub->members));
	fd_close(&hub->tickets);
	mem_free(hub);
}

/* ---- sending ---- */

static void
queued_free(struct hub_member *m, struct queued *q)
{
	for (size_t i = 0; i < q->count; i++)
		fd_close(&q->fds[i]);
	list_remove(&q->link);
	m->queued--;
	mem_free(q);
}

static void
broke(struct hub_member *m, const char *why)
{
	if (m->broken)
		return;
	m->broken = true;
	watch_free(m->watch);
	m->watch = NULL;
	m->hub->events->broken(m->hub->arg, m, why);
}

static bool
enqueue(struct hub_member *m, const struct leash_message *message, const int *fds, size_t count)
{
	struct queued *q = m->queued < HUB_QUEUE_MAX ? mem_zalloc(MEM_NODE, sizeof(*q)) : NULL;

	if (!q)
		return false;
	q->message = *message;
	list_init(&q->link);
	list_push(&m->queue, &q->link);
	m->queued++;
	for (; q->count < count; q->count++) {
		q->fds[q->count] = fcntl(fds[q->count], F_DUPFD_CLOEXEC, 0);
		if (q->fds[q->count] < 0) {
			queued_free(m, q);
			return false;
		}
	}
	return true;
}

static bool
later(int code)
{
	return code == EAGAIN || code == ENOBUFS || code == EINTR || code == ETOOMANYREFS;
}

void
hub_send(struct hub_member *m, const struct leash_message *message, const int *fds, size_t count)
{
	assert(count <= FD_PASS_MAX);
	if (m->leash < 0 || m->broken)
		return;
	if (!m->queued) {
		if (leash_send(m->leash, message, fds, count) == 0)
			return;
		if (!later(errno)) {
			broke(m, "its leash ended");
			return;
		}
	}
	if (!enqueue(m, message, fds, count))
		broke(m, "it does not read its leash");
	else
		watch_write(m->watch, true);
}

void
hub_send_all(struct hub *hub, const struct leash_message *message, const int *fds, size_t count)
{
	struct list *it, *next;

	list_each (it, next, &hub->members) {
		hub_send(container_of(it, struct hub_member, link), message, fds, count);
	}
}

static void
flush(struct hub_member *m)
{
	struct list *it, *next;

	list_each (it, next, &m->queue) {
		struct queued *q = container_of(it, struct queued, link);

		if (leash_send(m->leash, &q->message, q->fds, q->count) < 0 && later(errno))
			return;
		queued_free(m, q);
	}
	watch_write(m->watch, false);
}

/* ---- who reads whom ---- */

static void
peer_message(struct leash_message *out, enum leash_kind kind, unsigned role, unsigned index,
	     uint32_t generation)
{
	leash_init(out, kind);
	out->from_role = ROLE_NODE;
	out->peer_role = (uint16_t)role;
	out->peer_index = (uint16_t)index;
	out->a = generation;
}

/* Wakes a reader. No eventfd: both would share its flags, and a hostile reader could make the
 * producer's write wait. One page is enough, since a full pipe wakes as well as one byte. */
static bool
wake_pipe(int ends[2])
{
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) {
		log_event(LOG_ERROR, "no descriptor for a wake-up", log_i("errno", errno), LOG_END);
		return false;
	}
	(void)fcntl(ends[1], F_SETPIPE_SZ, WAKE_BYTES);
	return true;
}

static void
connect_own(struct hub_member *reader)
{
	struct leash_message message;
	int wake[2];

	if (!wake_pipe(wake))
		return;
	int fds[] = {ring_writer_fd(reader->hub->own), wake[0]};
	peer_message(&message, LEASH_PEER, ROLE_NODE, 0, reader->hub->generation);
	hub_send(reader, &message, fds, 2);
	fd_close(&wake[0]);
	fd_close(&reader->wake);
	reader->wake = wake[1];
}

static void
join(struct hub_member *producer, struct hub_member *reader)
{
	struct leash_message message;
	int wake[2];

	if (!wake_pipe(wake))
		return;
	int fds[] = {producer->segment, wake[0]};
	peer_message(&message, LEASH_PEER, producer->role, producer->index, producer->generation);
	hub_send(reader, &message, fds, 2);
	peer_message(&message, LEASH_KICK, reader->role, reader->index, reader->generation);
	hub_send(producer, &message, &wake[1], 1);
	fd_close(&wake[0]);
	fd_close(&wake[1]);
}

static void
introduce(struct hub_member *m)
{
	struct list *it, *next;

	if (m->leash >= 0 && leash_reads(m->role, ROLE_NODE))
		connect_own(m);
	list_each (it, next, &m->hub->members) {
		struct hub_member *other = container_of(it, struct hub_member, link);

		if (other == m || !other->reader)
			continue;
		if (leash_reads(other->role, m->role) && other->leash >= 0)
			join(m, other);
		if (leash_reads(m->role, other->role) && m->leash >= 0)
			join(other, m);
	}
}

static void
farewell(struct hub_member *m)
{
	struct leash_message gone, deaf;
	struct list *it, *next;

	peer_message(&gone, LEASH_PEER_GONE, m->role, m->index, m->generation);
	peer_message(&deaf, LEASH_KICK_GONE, m->role, m->index, m->generation);
	list_each (it, next, &m->hub->members) {
		struct hub_member *other = container_of(it, struct hub_member, link);

		if (other == m || !other->reader || !m->reader)
			continue;
		if (leash_reads(other->role, m->role))
			hub_send(other, &gone, NULL, 0);
		if (leash_reads(m->role, other->role))
			hub_send(other, &deaf, NULL, 0);
	}
}

/* ---- node reads the scheduler ---- */

static void
stir_event(void *arg, bool readable, bool writable)
{
	struct hub_member *m = arg;
	char bytes[WAKE_BYTES];

	(void)readable;
	(void)writable;
	/* Once: who writes without end gets no more than its turn. One that let go of its end
	 * (while it lives: its leash would tell) is not heard any more. */
	if (read(m->stir, bytes, sizeof(bytes)) == 0) {
		watch_free(m->stir_watch);
		m->stir_watch = NULL;
		fd_close(&m->stir);
	}
	m->hub->events->stirred(m->hub->arg, m->reader);
}

static void
listen_to(struct hub_member *m)
{
	struct leash_message message;
	int wake[2];

	if (m->role != ROLE_SCHEDULER || m->leash < 0)
		return;
	if (wake_pipe(wake)) {
		peer_message(&message, LEASH_KICK, ROLE_NODE, 0, m->hub->generation);
		hub_send(m, &message, &wake[1], 1);
		fd_close(&wake[1]);
		m->stir = wake[0];
		m->stir_watch = watch_new(m->hub->loop, m->stir, stir_event, m);
	}
	m->hub->events->stirred(m->hub->arg, m->reader);
}

static int
take_segment(struct hub_member *m, int fd, struct err *err)
{
	struct ring_reader *reader;
	int keep = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (keep < 0 || m->reader) {
		int code = keep < 0 ? errno : EEXIST;

		fd_close(&keep);
		fd_close(&fd);
		return err_sys(err, code, "cannot take a segment");
	}
	if (ring_reader_new(fd, &reader, err) < 0) {
		fd_close(&keep);
		return -1;
	}
	if (ring_reader_role(reader) != m->role || ring_reader_index(reader) != m->index ||
	    ring_reader_generation(reader) != m->generation) {
		ring_reader_free(reader);
		fd_close(&keep);
		return err_set(err, ERR_CORRUPT, "a segment names another process");
	}
	m->segment = keep;
	m->reader = reader;
	return 0;
}

int
hub_resume(struct hub_member *m, int fd, struct err *err)
{
	if (take_segment(m, fd, err) < 0)
		return -1;
	if (leash_reads(m->role, ROLE_NODE))
		connect_own(m);
	listen_to(m);
	return 0;
}

int
hub_segment(struct hub_member *m, int fd, struct err *err)
{
	if (take_segment(m, fd, err) < 0)
		return -1;
	introduce(m);
	listen_to(m);
	if (m->role == ROLE_PROXY && m->hub->tickets >= 0) {
		struct leash_message message;

		leash_init(&message, LEASH_TICKETS);
		message.from_role = ROLE_SIGNER;
		hub_send(m, &message, &m->hub->tickets, 1);
	}
	return 0;
}

/* ---- receiving ---- */

static void
drop(struct hub_member *m, const struct leash_message *message)
{
	uint64_t n = ++m->hub->dropped;

	/* 1, 2, 4, 8 ...: a role gone mad must not fill the log. */
	if ((n & (n - 1)) == 0)
		log_event(LOG_WARN, "a message on a leash was refused",
			  log_s("from", role_name(m->role)), log_u("kind", message->kind),
			  log_u("to", message->to_role), log_u("refused", n), LOG_END);
}

static void
forward(struct hub_member *from, const struct leash_message *message, const int *fds, size_t count)
{
	bool sent = false;
	struct list *it, *next;

	list_each (it, next, &from->hub->members) {
		struct hub_member *to = container_of(it, struct hub_member, link);

		if (to->role != message->to_role || to->leash < 0)
			continue;
		if (message->to_index != LEASH_ALL && message->to_index != to->index)
			continue;
		hub_send(to, message, fds, count);
		sent = true;
	}
	if (message->kind == LEASH_TICKETS)
		hub_set_tickets(from->hub, fcntl(fds[0], F_DUPFD_CLOEXEC, 0));
	else if (!sent)
		drop(from, message);
}

static void
for_node(struct hub_member *m, const struct leash_message *message, int *fds, size_t count)
{
	struct err err = {0};

	switch ((enum leash_kind)message->kind) {
	case LEASH_SEGMENT:
		if (hub_segment(m, fd_take(&fds[0]), &err) < 0) {
			log_err(LOG_WARN, "a role's segment was refused", &err);
			drop(m, message);
		}
		break;
	case LEASH_READY:
		m->hub->events->ready(m->hub->arg, m, message->a);
		break;
	default:
		m->hub->events->asked(m->hub->arg, m, message, fds, count);
		break;
	}
}

static void
take(struct hub_member *m, struct leash_message *message, int *fds, size_t count)
{
	unsigned to = message->to_role ? message->to_role : ROLE_NODE;
	bool many = message->to_index == LEASH_ALL && message->kind != LEASH_TICKETS;

	message->from_role = m->role;
	message->from_index = m->index;
	if (!leash_allowed(m->role, to, (enum leash_kind)message->kind) || many)
		drop(m, message);
	else if (to == ROLE_NODE)
		for_node(m, message, fds, count);
	else
		forward(m, message, fds, count);
}

/* False: the leash has ended. */
static bool
receive(struct hub_member *m)
{
	for (int turn = 0; turn < 64; turn++) {
		struct leash_message message = {0};
		int fds[FD_PASS_MAX];
		size_t count = 0;

		if (leash_recv(m->leash, &message, fds, FD_PASS_MAX, &count) < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EBADMSG)
				return later(errno);
			drop(m, &message);
			continue;
		}
		take(m, &message, fds, count);
		for (size_t i = 0; i < count; i++)
			fd_close(&fds[i]);
		if (m->broken)
			return true;
	}
	return true;
}

static void
leash_event(void *arg, bool readable, bool writable)
{
	struct hub_member *m = arg;

	if (writable)
		flush(m);
	if (readable && !receive(m))
		broke(m, "its leash ended");
}

/* ---- members ---- */

struct hub_member *
hub_add(struct hub *hub, unsigned role, unsigned index, uint32_t generation, int leash, void *owner)
{
	struct hub_member *m = mem_zalloc(MEM_NODE, sizeof(*m));

	if (!m)
		goto out;
	*m = (struct hub_member){
		.hub = hub,
		.owner = owner,
		.role = (uint16_t)role,
		.index = (uint16_t)index,
		.generation = generation,
		.leash = leash,
		.segment = -1,
		.wake = -1,
		.stir = -1,
	};
	list_init(&m->queue);
	if (leash >= 0) {
		fd_nonblock(leash, true);
		m->watch = watch_new(hub->loop, leash, leash_event, m);
		if (!m->watch)
			goto out;
	}
	list_push(&hub->members, &m->link);
	return m;
out:
	fd_close(&leash);
	mem_free(m);
	return NULL;
}

void
hub_remove(struct hub_member *m)
{
	struct list *it, *next;

	if (!m->broken && m->leash >= 0) {
		(void)receive(m);
		m->broken = true;
	}
	farewell(m);
	watch_free(m->watch);
	list_each (it, next, &m->queue) {
		queued_free(m, container_of(it, struct queued, link));
	}
	fd_close(&m->leash);
	fd_close(&m->segment);
	fd_close(&m->wake);
	watch_free(m->stir_watch);
	fd_close(&m->stir);
	ring_reader_free(m->reader);
	list_remove(&m->link);
	mem_free(m);
}

void *
hub_owner(const struct hub_member *m)
{
	return m->owner;
}

int
hub_segment_fd(const struct hub_member *m)
{
	return m->segment;
}

int
hub_leash_fd(const struct hub_member *m)
{
	return m->leash;
}

struct ring_reader *
hub_reader(const struct hub_member *m)
{
	return m->reader;
}

void
hub_kick(struct hub *hub)
{
	static const uint64_t one = 1; /* eight bytes: an eventfd would do as well */
	struct list *it, *next;

	list_each (it, next, &hub->members) {
		struct hub_member *m = container_of(it, struct hub_member, link);

		if (m->wake >= 0) {
			ssize_t n = write(m->wake, &one, sizeof(one));
			(void)n;
		}
	}
}

uint64_t
hub_dropped(const struct hub *hub)
{
	return hub->dropped;
}

int
hub_tickets_fd(const struct hub *hub)
{
	return hub->tickets;
}

void
hub_set_tickets(struct hub *hub, int fd)
{
	fd_close(&hub->tickets);
	hub->tickets = fd;
}
