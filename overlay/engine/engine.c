/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's making and end. Two threads for each queue and one for handshakes and timers; none
 * wakes up unless there is a packet, a change, or a timer that is due.
 *
 * System calls, all of them, for who confines the process: readv, writev (TUN), recvmmsg, sendmmsg,
 * poll, ppoll, restart_syscall, futex, read and write (of eventfd), clock_gettime, getrandom; brk,
 * mmap, munmap, mremap, madvise (memory). While it begins or ends besides: eventfd2, close, fcntl,
 * setsockopt, getsockopt, getsockname, clone3 (clone), rt_sigprocmask, rt_sigaction, mprotect,
 * set_robust_list, rseq, exit; when the mark of packets is changed, setsockopt.
 */
#include "overlay/engine/engine_inside.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"

enum { STACK_BYTES = 1 << 20, SEND_WAIT_MS = 100 };

/* ---- what all files use ---- */

uint64_t
engine_now(const struct engine *e)
{
	uint64_t ahead_ns = e->ahead_ns ? atomic_load(e->ahead_ns) : 0;

	return world_mono_ns() + ahead_ns;
}

void
engine_world(const struct engine *e, struct world *w)
{
	uint64_t ahead_ns = e->ahead_ns ? atomic_load(e->ahead_ns) : 0;

	world_real(w);
	w->mono_ns += ahead_ns;
	w->wall_ns += (int64_t)ahead_ns;
}

struct udp *
engine_socket(struct engine *e, const struct addr *to)
{
	struct udp *u = addr_is_v4(to) ? &e->udp4 : &e->udp6;

	return u->fd >= 0 ? u : NULL;
}

void
engine_wake(struct engine *e)
{
	static const uint64_t one = 1;

	(void)!write(e->wake, &one, sizeof(one));
}

void
engine_lock(struct engine *e)
{
	pthread_mutex_lock(&e->lock);
}

void
engine_unlock(struct engine *e)
{
	if (e->succession_due)
		engine_succeed(e);
	bool early = device_deadline(e->device) < e->sleeps_until_ns;
	if (early)
		e->sleeps_until_ns = device_deadline(e->device);
	pthread_mutex_unlock(&e->lock);
	if (early)
		engine_wake(e);
}

/* ---- making ---- */

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for the WireGuard engine");
}

static int
add_out(struct engine *e, size_t i, struct err *err)
{
	struct engine_out *o = mem_zalloc(MEM_OVERLAY, sizeof(*o));

	if (!o)
		return no_memory(err);
	e->outs[i] = o;
	o->e = e;
	o->tun = &e->queues[i];
	return engine_sealer_init(&o->sealer, e, &o->counts, &o->sums, err);
}

static int
add_in(struct engine *e, size_t i, struct err *err)
{
	struct engine_in *in = mem_zalloc(MEM_OVERLAY, sizeof(*in));
	enum tun_offload offload = e->queues[0].offload;

	if (!in)
		return no_memory(err);
	e->ins[i] = in;
	in->e = in->opened.e = e;
	in->opened.counts = &in->counts;
	in->opened.sums = &in->sums;
	in->inbox = udp_inbox_new();
	if (!in->inbox)
		return no_memory(err);
	merge_init(&in->opened.merge, offload >= TUN_TSO, offload >= TUN_USO);
	return aead_init(&in->opened.aead, e->way, err);
}

static int
make_parts(struct engine *e, struct err *err)
{
	struct device_calls calls;
	struct world w;

	engine_peer_calls(e, &calls);
	engine_world(e, &w);
	if (device_new(&calls, &w, &e->device, err) < 0)
		return -1;
	device_set_mtu(e->device, e->mtu);
	e->sealer = mem_zalloc(MEM_OVERLAY, sizeof(*e->sealer));
	if (!e->sealer)
		return no_memory(err);
	if (engine_sealer_init(e->sealer, e, &e->counts, NULL, err) < 0)
		return -1;
	for (size_t i = 0; i < e->queues_count; i++)
		if (add_out(e, i, err) < 0 || add_in(e, i, err) < 0)
			return -1;
	return 0;
}

/* A way out that stands still must not hold a thread for longer than that. */
static int
adopt(struct udp *u, int fd, bool v6, const struct engine_config *c, struct err *err)
{
	const struct udp_config config = {.v6 = v6, .no_gso = c->no_gso, .no_gro = c->no_gro};
	static const struct timeval wait = {.tv_usec = SEND_WAIT_MS * 1000};

	u->fd = -1;
	if (fd < 0)
		return 0;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
		return err_sys(err, errno, "cannot set up a socket of the WireGuard engine");
	return udp_adopt(u, fd, &config, err);
}

static int
adopt_all(struct engine *e, const struct engine_config *c, struct err *err)
{
	if (adopt(&e->udp4, c->udp4, false, c, err) < 0 ||
	    adopt(&e->udp6, c->udp6, true, c, err) < 0)
		return -1;
	for (size_t i = 0; i < c->queues_count; i++) {
		if (fd_nonblock(c->queues[i].fd, true) < 0)
			return err_sys(err, errno, "cannot set up a queue of %s",
				       c->queues[i].name);
		e->queues[i] = c->queues[i];
	}
	return 0;
}

static int
start(struct engine *e, void *(*run)(void *), void *arg, struct err *err)
{
	pthread_attr_t attr;
	int code = pthread_attr_init(&attr);

	if (code == 0) {
		code = pthread_attr_setstacksize(&attr, STACK_BYTES);
		if (code == 0)
			code = pthread_create(&e->threads[e->threads_count], &attr, run, arg);
		pthread_attr_destroy(&attr);
	}
	if (code != 0)
		return err_sys(err, code, "cannot start a thread of the WireGuard engine");
	e->threads_count++;
	return 0;
}

/* Signals are for the process's own thread. */
static int
start_all(struct engine *e, struct err *err)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = start(e, engine_control, e, err);
	for (size_t i = 0; i < e->queues_count && rc == 0; i++) {
		rc = start(e, engine_out, e->outs[i], err);
		if (rc == 0)
			rc = start(e, engine_in, e->ins[i], err);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static void
init_locks(struct engine *e)
{
	pthread_rwlockattr_t attr;

	pthread_mutex_init(&e->receiving, NULL);
	pthread_mutex_init(&e->lock, NULL);
	pthread_mutex_init(&e->letters.lock, NULL);
	pthread_rwlockattr_init(&attr);
	/* Readers come all the time. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&e->table, &attr);
	pthread_rwlockattr_destroy(&attr);
	turn_init(&e->turn);
	engine_relay_init(&e->relay);
}

static struct engine *
make(const struct engine_config *c)
{
	struct engine *e = mem_zalloc(MEM_OVERLAY, sizeof(*e));

	if (!e)
		return NULL;
	init_locks(e);
	list_init(&e->fresh);
	map_init(&e->successions, MEM_OVERLAY);
	e->stop = e->wake = e->udp4.fd = e->udp6.fd = -1;
	for (size_t i = 0; i < ENGINE_QUEUES_MAX; i++)
		e->queues[i].fd = -1;
	e->mtu = c->mtu;
	e->ahead_ns = c->ahead_ns;
	e->began_ns = engine_now(e);
	e->queues_count = c->queues_count;
	e->sleeps_until_ns = UINT64_MAX;
	return e;
}

/* What was given is still the caller's. */
static void
give_back(struct engine *e)
{
	e->udp4.fd = e->udp6.fd = -1;
	for (size_t i = 0; i < ENGINE_QUEUES_MAX; i++)
		e->queues[i].fd = -1;
}

static int
set_up(struct engine *e, const struct engine_config *c, struct err *err)
{
	e->way = aead_choose(c->aead, err);
	if (!e->way)
		return -1;
	e->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->stop < 0 || e->wake < 0)
		return err_sys(err, errno, "cannot make an eventfd");
	if (adopt_all(e, c, err) < 0 || make_parts(e, err) < 0)
		return -1;
	return start_all(e, err);
}

static void
stop(struct engine *e)
{
	static const uint64_t one = 1;

	atomic_store(&e->stopping, true);
	if (e->stop >= 0)
		(void)!write(e->stop, &one, sizeof(one));
	for (size_t i = 0; i < e->threads_count; i++)
		pthread_join(e->threads[i], NULL);
	e->threads_count = 0;
}

struct engine *
engine_new(const struct engine_config *c, struct err *err)
{
	struct engine *e;

	assert(c->queues_count >= 1 && c->queues_count <= ENGINE_QUEUES_MAX);
	if (c->mtu < TUN_MTU_MIN || c->mtu > TUN_MTU_MAX || (c->udp4 < 0 && c->udp6 < 0)) {
		err_set(err, ERR_INVALID,
			"a WireGuard engine needs a socket, and an MTU of %d to %d", TUN_MTU_MIN,
			TUN_MTU_MAX);
		return NULL;
	}
	e = make(c);
	if (!e) {
		no_memory(err);
		return NULL;
	}
	if (set_up(e, c, err) < 0) {
		stop(e);
		give_back(e);
		engine_free(e);
		return NULL;
	}
	return e;
}

void
engine_free(struct engine *e)
{
	if (!e)
		return;
	stop(e);
	engine_relay_fini(&e->relay);
	device_free(e->device);
	engine_follow_nobody(e);
	for (size_t i = 0; i < e->queues_count; i++) {
		if (e->outs[i])
			engine_sealer_fini(&e->outs[i]->sealer);
		mem_free_zero(e->outs[i]);
		if (e->ins[i]) {
			aead_fini(&e->ins[i]->opened.aead);
			udp_inbox_free(e->ins[i]->inbox);
		}
		mem_free_zero(e->ins[i]);
		tun_close(&e->queues[i]);
	}
	if (e->sealer)
		engine_sealer_fini(e->sealer);
	mem_free_zero(e->sealer);
	udp_close(&e->udp4);
	udp_close(&e->udp6);
	fd_close(&e->stop);
	fd_close(&e->wake);
	pthread_mutex_destroy(&e->receiving);
	pthread_mutex_destroy(&e->lock);
	pthread_mutex_destroy(&e->letters.lock);
	pthread_rwlock_destroy(&e->table);
	turn_fini(&e->turn);
	mem_free_zero(e);
}

/* ---- counts ---- */

static void
add_counts(const struct engine_counts *c, uint64_t out[ENGINE_COUNTS])
{
	for (unsigned i = 0; i < ENGINE_COUNTS; i++)
		out[i] += atomic_load_explicit(&c->n[i], memory_order_relaxed);
}

void
engine_counts(const struct engine *e, uint64_t out[ENGINE_COUNTS])
{
	for (unsigned i = 0; i < ENGINE_COUNTS; i++)
		out[i] = 0;
	add_counts(&e->counts, out);
	for (size_t i = 0; i < e->queues_count; i++) {
		add_counts(&e->outs[i]->counts, out);
		add_counts(&e->ins[i]->counts, out);
	}
}

const char *
engine_count_name(enum engine_count which)
{
	static const char *const names[] = {
		[ENGINE_IN_PACKETS] = "in_packets",
		[ENGINE_OUT_PACKETS] = "out_packets",
		[ENGINE_HANDSHAKES] = "handshakes",
		[ENGINE_COOKIES] = "cookies",
		[ENGINE_RELAYED] = "relayed",
		[ENGINE_DROP_MALFORMED] = "malformed",
		[ENGINE_DROP_FORGED] = "forged",
		[ENGINE_DROP_UNKNOWN] = "unknown",
		[ENGINE_DROP_REPLAYED] = "replayed",
		[ENGINE_DROP_SOURCE] = "source",
		[ENGINE_DROP_LIMITED] = "limited",
		[ENGINE_DROP_NO_PEER] = "no_peer",
		[ENGINE_DROP_UNREACHABLE] = "unreachable",
		[ENGINE_DROP_TOO_BIG] = "too_big",
		[ENGINE_DROP_STAGED] = "staged",
		[ENGINE_DROP_ABSENT] = "absent",
		[ENGINE_DROP_TUN] = "tun",
		[ENGINE_DROP_SOCKET] = "socket",
	};

	return names[which];
}

const char *
engine_aead(const struct engine *e)
{
	return e->way->name;
}
