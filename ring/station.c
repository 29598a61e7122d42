/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a role's process: welcome, segment, opening, confinement, ready, loop, end. The order
 * is the contract of station.h; what a role may do is decided by node's table and arrives in the
 * welcome, so this file knows no role by name.
 */
#include "ring/station.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/station_private.h"

enum { BEAT_MS = 1000 };

static void *
hook_alloc(size_t bytes)
{
	return mem_alloc(MEM_LIBRARY, bytes);
}

static void *
hook_resize(void *p, size_t bytes)
{
	return mem_resize(MEM_LIBRARY, p, 1, bytes);
}

static void *
hook_array(size_t count, size_t bytes)
{
	return mem_array(MEM_LIBRARY, count, bytes);
}

/* ---- the welcome ---- */

static int
map_sealed(int fd, size_t min, const void **out, size_t *bytes_out, struct err *err)
{
	struct stat sb;

	if (fstat(fd, &sb) < 0)
		return err_sys(err, errno, "cannot look at what node sent");
	if (!fd_is_sealed(fd) || sb.st_size <= 0 || (size_t)sb.st_size < min)
		return err_set(err, ERR_CORRUPT,
			       "node sent something that is not sealed or too small");
	void *p = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_sys(err, errno, "cannot map what node sent");
	*out = p;
	*bytes_out = (size_t)sb.st_size;
	return 0;
}

static int
take_welcome(struct station *st, struct leash_message *m, int *fds, size_t count, struct err *err)
{
	const void *p;
	size_t bytes;

	if (m->kind != LEASH_WELCOME)
		return err_set(err, ERR_CORRUPT, "node did not begin with a welcome");
	if (map_sealed(fds[0], sizeof(st->welcome), &p, &bytes, err) < 0)
		return -1;
	memcpy(&st->welcome, p, sizeof(st->welcome));
	munmap((void *)(uintptr_t)p, bytes);
	struct leash_welcome *w = &st->welcome;
	if (w->abi != RING_ABI || w->role != st->role->role || w->folders > LEASH_FOLDERS_MAX ||
	    w->folders != count - 2 || w->rlimits_count > SANDBOX_RLIMITS_MAX ||
	    w->filter_count > sizeof(w->filter) / sizeof(w->filter[0]) || !MSG_OK(w->instance) ||
	    !MSG_OK(w->node))
		return err_set(err, ERR_CORRUPT, "node's welcome does not hold");
	if (map_sealed(fds[1], 1, &st->config, &st->config_bytes, err) < 0)
		return -1;
	for (size_t i = 0; i < w->folders; i++)
		st->folders[i] = fd_take(&fds[2 + i]);
	return 0;
}

static int
read_welcome(struct station *st, struct err *err)
{
	struct leash_message m;
	int fds[STATION_FDS_MAX];
	size_t count = 0;
	int rc;

	do {
		rc = leash_recv(st->leash, &m, fds, STATION_FDS_MAX, &count);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return err_sys(err, errno, "no welcome from node");
	rc = take_welcome(st, &m, fds, count, err);
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
	return rc;
}

static void
start_log(const struct leash_welcome *w)
{
	struct log_config config = {
		.level = (enum log_level)w->log_level,
		.format = (enum log_format)w->log_format,
		.fd = STDERR_FILENO,
	};

	if (w->instances > 1)
		text_format(config.component, sizeof(config.component), "%s.%u", role_name(w->role),
			    w->index);
	else
		text_copy(config.component, sizeof(config.component), role_name(w->role));
	text_copy(config.node, sizeof(config.node), w->node);
	log_setup(&config);
}

static int
make_segment(struct station *st, struct err *err)
{
	struct ring_layout layout = {0};

	st->role->layout(&st->welcome, &layout);
	layout.role = st->role->role;
	layout.index = st->welcome.index;
	layout.generation = st->welcome.generation;
	if (ring_writer_new(&layout, &st->writer, err) < 0)
		return -1;
	station_ask_count(st, layout.request_slots);
	return 0;
}

static int
confine(struct station *st, struct err *err)
{
	const struct leash_welcome *w = &st->welcome;
	struct sandbox s = {
		.set_ids = true,
		.uid = w->uid,
		.gid = w->gid,
		.keep_caps = w->keep_caps,
		.allow_new_privs = w->allow_new_privs != 0,
		.landlock = w->landlock != 0,
		.filter = w->filter_count ? w->filter : NULL,
		.filter_count = w->filter_count,
		.tsync = true,
	};

	for (size_t i = 0; i < w->folders && w->landlock; i++) {
		s.paths[s.paths_count++] = (struct sandbox_path){
			.fd = st->folders[i],
			.access = w->folder_access[i],
		};
	}
	for (size_t i = 0; i < w->rlimits_count; i++) {
		s.rlimits[s.rlimits_count++] = (struct sandbox_rlimit){
			.resource = w->rlimits[i].resource,
			.value = (rlim_t)w->rlimits[i].value,
		};
	}
	return sandbox_enter(&s, &st->landlock_abi, err);
}

/* ---- the leash ---- */

static int
queue_message(struct station *st, const struct leash_message *m, const int *fds, size_t count)
{
	if (st->queued >= STATION_QUEUE_MAX || count > STATION_FDS_MAX)
		return -1;
	struct station_queued *q = mem_zalloc(MEM_RING, sizeof(*q));
	if (!q)
		return -1;
	q->message = *m;
	for (size_t i = 0; i < count; i++) {
		q->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (q->fds[i] < 0) {
			while (i > 0)
				fd_close(&q->fds[--i]);
			mem_free(q);
			return -1;
		}
	}
	q->count = count;
	list_push(&st->queue, &q->link);
	st->queued++;
	return 0;
}

static void
queue_drop(struct station *st, struct station_queued *q)
{
	for (size_t i = 0; i < q->count; i++)
		fd_close(&q->fds[i]);
	list_remove(&q->link);
	st->queued--;
	mem_free(q);
}

static void leash_event(uv_poll_t *poll, int status, int events);

static void
watch_leash(struct station *st)
{
	uv_poll_start(&st->leash_poll, st->queued ? UV_READABLE | UV_WRITABLE : UV_READABLE,
		      leash_event);
}

int
station_send(struct station *st, struct leash_message *message, const int *fds, size_t count,
	     struct err *err)
{
	message->from_role = st->role->role;
	message->from_index = st->welcome.index;
	if (st->leash < 0)
		return err_set(err, ERR_UNREACHABLE, "node is not there");
	if (!st->queued) {
		if (leash_send(st->leash, message, fds, count) == 0)
			return 0;
		if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR && errno != ETOOMANYREFS)
			return err_sys(err, errno, "cannot send to node");
	}
	if (queue_message(st, message, fds, count) < 0)
		return err_set(err, ERR_LIMIT, "too many messages wait for node");
	if (st->started)
		watch_leash(st);
	return 0;
}

static void
flush_queue(struct station *st)
{
	struct list *it, *next;

	list_each (it, next, &st->queue) {
		struct station_queued *q = container_of(it, struct station_queued, link);

		if (leash_send(st->leash, &q->message, q->fds, q->count) < 0 &&
		    (errno == EAGAIN || errno == ENOBUFS || errno == EINTR ||
		     errno == ETOOMANYREFS))
			break;
		queue_drop(st, q);
	}
	watch_leash(st);
}

static void
node_gone(struct station *st)
{
	uv_poll_stop(&st->leash_poll);
	fd_close(&st->leash);
	st->orphan = true;
	if (st->leaving)
		return;
	if (st->told_to_stop || !st->role->orphaned)
		station_leave(st, 0);
	else
		st->role->orphaned(st);
}

static void
take_config(struct station *st, int *fds)
{
	struct err err = {0};
	const void *p;
	size_t bytes;

	if (map_sealed(fds[0], 1, &p, &bytes, &err) < 0) {
		log_err(LOG_WARN, "a new configuration was not taken over", &err);
		return;
	}
	munmap((void *)(uintptr_t)st->config, st->config_bytes);
	st->config = p;
	st->config_bytes = bytes;
}

static void
told_to_stop(struct station *st, uint64_t grace_ms)
{
	st->told_to_stop = true;
	if (st->role->stop)
		st->role->stop(st, grace_ms);
	else
		station_leave(st, 0);
}

static void
take_message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	switch ((enum leash_kind)m->kind) {
	case LEASH_PEER:
	case LEASH_PEER_GONE:
	case LEASH_KICK:
	case LEASH_KICK_GONE:
		station_peer_message(st, m, fds);
		return;
	case LEASH_DELIVER:
		station_ask_deliver(st, m, fds, count);
		return;
	case LEASH_STOP:
		told_to_stop(st, m->a);
		return;
	case LEASH_CONFIG:
		take_config(st, fds);
		if (m->a > 0 && m->a <= LOG_ERROR + 1 && m->b <= LOG_FORMAT_JSON)
			log_change((enum log_level)(m->a - 1), (enum log_format)m->b);
		break;
	default:
		break;
	}
	if (st->role->message)
		st->role->message(st, m, fds, count);
}

static void
leash_event(uv_poll_t *poll, int status, int events)
{
	struct station *st = poll->data;

	if (status < 0) {
		node_gone(st);
		return;
	}
	if (events & UV_WRITABLE)
		flush_queue(st);
	for (int turn = 0; turn < 64 && st->leash >= 0 && !st->leaving; turn++) {
		struct leash_message m;
		int fds[STATION_FDS_MAX];
		size_t count = 0;

		if (leash_recv(st->leash, &m, fds, STATION_FDS_MAX, &count) < 0) {
			if (errno == EBADMSG || errno == EINTR)
				continue;
			if (errno != EAGAIN)
				node_gone(st);
			return;
		}
		take_message(st, &m, fds, count);
		for (size_t i = 0; i < count; i++)
			fd_close(&fds[i]);
	}
}

/* ---- the loop ---- */

static void
beat_event(uv_timer_t *timer)
{
	struct station *st = timer->data;
	uint64_t now = world_mono_ns();

	ring_writer_heartbeat(st->writer, now);
	station_ask_tick(st, now);
}

static void
flush_event(uv_prepare_t *prepare)
{
	struct station *st = prepare->data;

	if (st->kick_wanted)
		station_peer_kick_now(st);
}

static void
start_handles(struct station *st)
{
	uv_poll_init(&st->loop, &st->leash_poll, st->leash);
	uv_timer_init(&st->loop, &st->beat);
	uv_timer_init(&st->loop, &st->deadline);
	uv_prepare_init(&st->loop, &st->flush);
	uv_idle_init(&st->loop, &st->again);
	st->leash_poll.data = st;
	st->beat.data = st;
	st->deadline.data = st;
	st->flush.data = st;
	st->again.data = st;
	uv_timer_start(&st->beat, beat_event, 0, BEAT_MS);
	uv_prepare_start(&st->flush, flush_event);
	uv_unref((uv_handle_t *)&st->flush);
}

static int
announce(struct station *st, struct err *err)
{
	struct leash_message m;
	int fd = ring_writer_fd(st->writer);

	leash_init(&m, LEASH_SEGMENT);
	m.a = st->welcome.generation;
	if (station_send(st, &m, &fd, 1, err) < 0)
		return -1;
	leash_init(&m, LEASH_READY);
	m.a = (uint64_t)st->landlock_abi;
	return station_send(st, &m, NULL, 0, err);
}

static int
begin(struct station *st, struct err *err)
{
	if (read_welcome(st, err) < 0)
		return -1;
	start_log(&st->welcome);
	if (make_segment(st, err) < 0)
		return -1;
	if (st->role->open && st->role->open(st, err) < 0)
		return -1;
	if (confine(st, err) < 0)
		return -1;
	if (fd_nonblock(st->leash, true) < 0)
		return err_sys(err, errno, "cannot use the leash");
	start_handles(st);
	if (st->role->start(st, err) < 0)
		return -1;
	if (announce(st, err) < 0)
		return -1;
	st->started = true;
	watch_leash(st);
	return 0;
}

static void
station_init(struct station *st, const struct station_role *role, int leash_fd, void *arg)
{
	memset(st, 0, sizeof(*st));
	st->role = role;
	st->arg = arg;
	st->leash = leash_fd;
	for (size_t i = 0; i < LEASH_FOLDERS_MAX; i++)
		st->folders[i] = -1;
	list_init(&st->peers);
	list_init(&st->kicks);
	list_init(&st->queue);
	station_ask_init(st);
	int rc = uv_loop_init(&st->loop);
	assert(rc == 0);
}

/* The process ends right after: what the kernel gives back by itself is left to it. */
static void
station_fini(struct station *st)
{
	struct list *it, *next;

	list_each (it, next, &st->queue) {
		queue_drop(st, container_of(it, struct station_queued, link));
	}
	station_ask_fini(st);
	station_peer_close_all(st);
	ring_writer_free(st->writer);
}

/* To node, for people: beside the log, where it stands, too. */
static void
confess(const struct station *st, const struct err *err)
{
	struct leash_message m;
	struct msg_reason reason;

	msg_reason_from(err, &reason);
	leash_init(&m, LEASH_FAILED);
	m.from_role = st->role->role;
	defer_close int fd = fd_memfd_sealed("reason", &reason, sizeof(reason));
	if (fd >= 0)
		(void)leash_send(st->leash, &m, &fd, 1);
}

int
station_main(const struct station_role *role, int leash_fd, void *arg)
{
	static struct station st;
	struct err err = {0};

	signal(SIGPIPE, SIG_IGN);
	uv_replace_allocator(hook_alloc, hook_resize, hook_array, mem_free);
	station_init(&st, role, leash_fd, arg);
	if (begin(&st, &err) < 0) {
		log_err(LOG_ERROR, "cannot start", &err);
		confess(&st, &err);
		return 1;
	}
	log_event(LOG_INFO, "ready", log_u("generation", st.welcome.generation),
		  log_i("landlock", st.landlock_abi), LOG_END);
	uv_run(&st.loop, UV_RUN_DEFAULT);
	if (st.kick_wanted)
		station_peer_kick_now(&st);
	station_fini(&st);
	return st.status;
}

void
station_leave(struct station *st, int status)
{
	if (st->leaving)
		return;
	st->leaving = true;
	st->status = status;
	uv_stop(&st->loop);
}

/* ---- what a role may ask about itself ---- */

void *
station_arg(const struct station *st)
{
	return st->arg;
}

uv_loop_t *
station_loop(struct station *st)
{
	return &st->loop;
}

const struct leash_welcome *
station_welcome(const struct station *st)
{
	return &st->welcome;
}

const void *
station_config(const struct station *st, size_t *bytes_out)
{
	*bytes_out = st->config_bytes;
	return st->config;
}

int
station_folder(const struct station *st, size_t i)
{
	return i < LEASH_FOLDERS_MAX ? st->folders[i] : -1;
}

struct ring_writer *
station_writer(struct station *st)
{
	return st->writer;
}

struct metric_page *
station_metrics(struct station *st)
{
	return ring_writer_metrics(st->writer);
}
