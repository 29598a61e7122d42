/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The glue. The engine is made when node has handed over the queues of the device and a socket, and
 * made anew when any of these is another one: its peers make new sessions then, which takes a round
 * trip. With a door to the kernel's device there is no engine: that one is looked at and changed;
 * its sessions stay whoever comes and goes here. Until one of the two serves for the first time
 * there is no row in the table sealed: others keep what they knew of this node's earlier process.
 */
#include "overlay/sealed.h"

#include <errno.h>
#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "overlay/probing.h"
#include "overlay/sealed_count.h"
#include "overlay/sealed_handed.h"
#include "overlay/sealed_heard.h"
#include "overlay/sealed_kernel.h"
#include "overlay/sealed_keys.h"
#include "overlay/sealed_peers.h"
#include "overlay/wg/uapi_socket.h"

/* FOLLOW_MS: so often the kernel is asked whether the owner of an announced key uses it already. */
enum { SETTLE_MS = 20, TICK_MS = 2000, ASK_MS = 500, AGAIN_MS = 2000, FOLLOW_MS = 100 };

static struct {
	struct station *st;
	void (*changed)(void);
	struct sealed_keys keys;
	struct sealed_peers peers;
	struct sealed_handed handed;
	struct engine *engine;
	struct sealed_kernel *kernel;
	bool stood; /* the kernel's did, before there was another door to it */
	bool known; /* as it was looked at last: all others know the key that is announced */
	bool told;  /* what serves() was when `changed` was called last */
	struct uapi_socket *uapi;
	bool dirty;  /* the engine, or the kernel's, is not of what there is now */
	bool unable; /* so it was at the last look already: no socket, or no queue */
	struct err err;
	uv_timer_t settle, tick;
	struct sealed_count count;
	struct sealed_heard heard;
} s;

static void settle(uv_timer_t *timer);
static void tick(uv_timer_t *timer);

static const struct config *
configuration(void)
{
	size_t bytes;
	const void *data = station_config(s.st, &bytes);

	return config_check(data, bytes);
}

/* Others do not reach this node first (docs/decisions/018). */
static bool
dials_out(void)
{
	const struct config *config = configuration();

	return config && config->node.advertise_none;
}

static bool
serves(void)
{
	return s.engine || (s.kernel && (s.stood || sealed_kernel_stands(s.kernel)));
}

/* ---- what is told ---- */

static void
tell_changed(void)
{
	s.told = serves();
	s.changed();
}

static void
publish(void)
{
	struct msg_sealed row = {.serves = serves(), .peers = s.count.live};
	bool changed = false;

	memcpy(row.key, s.keys.public_key, sizeof(row.key));
	memcpy(row.next_key, s.keys.next_public, sizeof(row.next_key));
	if (!serves() && s.err.kind)
		msg_reason_from(&s.err, &row.reason);
	(void)ring_table_set(station_writer(s.st), MSG_TABLE_SEALED, 1, &row, &changed);
	if (changed)
		station_kick(s.st);
}

bool
sealed_reaches(uint32_t node)
{
	return serves() && sealed_peers_has(&s.peers, node);
}

/* ---- peers ---- */

static void
failed(const struct err *err)
{
	if (!text_equal(s.err.what, err->what))
		log_err(LOG_WARN, "sealed traffic is not as it should be; it is tried again", err);
	s.err = *err;
	uv_timer_start(&s.settle, settle, AGAIN_MS, 0);
}

static int
look(struct err *err)
{
	return sealed_peers_apply(&s.peers, s.engine, s.keys.keys.key, dials_out(), err);
}

/* The kernel's may have served before this process: nobody goes who only is not known yet. */
void
sealed_look(void)
{
	struct err err = {0};

	if (s.kernel && sealed_peers_told(&s.peers))
		sealed_kernel_look(s.kernel);
	else if (s.engine && look(&err) < 0)
		failed(&err);
}

/* What is to be looked after by time: figures, keys that are announced. */
static void
schedule(void)
{
	uint64_t announced_ms = sealed_keys_due_ms(&s.keys);
	uint64_t due_ms = announced_ms ? ASK_MS : TICK_MS;

	if (!s.engine && !s.kernel)
		due_ms = announced_ms;
	if (s.kernel && sealed_peers_change(&s.peers))
		due_ms = FOLLOW_MS;

	if (due_ms)
		uv_timer_start(&s.tick, tick, due_ms, 0);
	else
		uv_timer_stop(&s.tick);
}

/* ---- the kernel's ---- */

/* Of port and mark, which are node's, a door lets pass that they are put back. */
static int
want(const struct setup *is, struct setup *out, struct err *err)
{
	out->has_port = out->has_fwmark = true;
	out->port = s.handed.port;
	return sealed_peers_want(&s.peers, is, s.keys.keys.key, dials_out(), true, out, err);
}

static bool
uses(uint32_t node)
{
	return sealed_peers_uses(&s.peers, node);
}

static void
listen_to(const struct setup *is)
{
	if (sealed_heard_take(&s.heard, station_writer(s.st), &s.peers, is))
		station_kick(s.st);
}

static void
looked(const struct setup *is, const struct err *err)
{
	sealed_count_take(&s.count, is, NULL, s.peers.peers);
	sealed_peers_note(&s.peers, is);
	sealed_peers_saw(&s.peers, is);
	if (sealed_peers_look_at_use(&s.peers, is))
		probing_select(uses);
	listen_to(is);
	s.known = sealed_keys_due_ms(&s.keys) > 0 &&
		  sealed_peers_ask(&s.peers, is, s.keys.next_public);
	if (err)
		failed(err);
	else
		err_clear(&s.err);
	publish();
	schedule();
	if (serves() == s.told)
		return;
	log_event(LOG_INFO, "the kernel seals traffic to other nodes", LOG_END);
	tell_changed();
}

static int
make_kernel(struct err *err)
{
	static const struct sealed_kernel_user user = {.want = want, .looked = looked};
	int door = sealed_handed_door(&s.handed, err);

	if (door < 0)
		return -1;
	s.kernel = sealed_kernel_new(station_loop(s.st), &user, door, s.handed.family, err);
	return s.kernel ? 0 : -1;
}

/* ---- whoever seals ---- */

static void
end_device(void)
{
	engine_free(s.engine);
	s.engine = NULL;
	sealed_kernel_close(s.kernel);
	s.kernel = NULL;
	sealed_peers_forget(&s.peers);
	sealed_count_reset(&s.count);
	sealed_heard_forget(&s.heard);
}

/* False: nothing is wanted, or all is there. */
static bool
lacks(struct err *err)
{
	if (s.handed.queues_count) {
		err_set(err, ERR_UNREACHABLE, "there is no socket for sealed traffic");
		err_why(err, "its address cannot be had: see the listener \"overlay\"");
	} else if (s.handed.backend) {
		err_set(err, ERR_UNREACHABLE, "there is no device for sealed traffic");
		err_why(err, "zlayer -o json status, `overlay.sealed`, says why");
	}
	return err->kind != 0;
}

/* It may come in a moment, for the one that was taken: others are not told at once. */
static void
say_unable(void)
{
	struct err err = {0};

	if (lacks(&err) && s.unable) {
		s.err = err;
		publish();
	} else if (err.kind) {
		uv_timer_start(&s.settle, settle, AGAIN_MS, 0);
	}
	s.unable = err.kind != 0;
}

static void
settle_engine(bool was)
{
	bool able = sealed_handed_suffices(&s.handed);
	struct err err = {0};

	if (able && !s.engine && !(s.engine = sealed_handed_engine(&s.handed, &err)))
		failed(&err);
	if (s.engine && look(&err) < 0)
		failed(&err);
	else if (s.engine)
		err_clear(&s.err);
	if (s.engine && !was)
		log_event(LOG_INFO, "traffic to other nodes can be sealed",
			  log_s("cipher", engine_aead(s.engine)), LOG_END);
	if (able)
		s.unable = false;
	else
		say_unable();
	if (able || was)
		publish();
	schedule();
	tell_changed();
}

static void
settle_kernel(void)
{
	struct err err = {0};

	if (!s.kernel && make_kernel(&err) < 0) {
		failed(&err);
		publish();
	}
	sealed_look();
}

static void
settle(uv_timer_t *timer)
{
	bool was = serves();

	(void)timer;
	if (s.dirty) {
		s.dirty = false;
		s.stood = was && s.kernel && s.handed.door >= 0;
		end_device();
	}
	if (s.handed.door >= 0)
		settle_kernel();
	else
		settle_engine(was);
}

static void
changes(void)
{
	s.dirty = true;
	uv_timer_start(&s.settle, settle, SETTLE_MS, 0);
}

/* ---- time ---- */

static uint64_t
every_s(void)
{
	const struct config *config = configuration();

	return config ? config->overlay.rotate_ms / 1000 : 0;
}

static void
turn_keys(bool known)
{
	enum keys_step step = sealed_keys_turn(&s.keys, s.peers.peers->rotate_wall_s,
					       s.engine ? every_s() : 0, known);

	if (step != KEYS_ANNOUNCED && step != KEYS_CHANGED)
		return;
	sealed_look();
	if (serves())
		publish();
}

/* True: all others know the key that is announced. */
static bool
look_at_peers(void)
{
	bool announced = sealed_keys_due_ms(&s.keys) > 0, known = false;
	struct setup is;
	struct err err = {0};

	setup_init(&is);
	if (engine_state(s.engine, &is, &err) == 0) {
		sealed_count_take(&s.count, &is, s.engine, s.peers.peers);
		if (dials_out())
			sealed_peers_note(&s.peers, &is);
		if (sealed_peers_look_at_use(&s.peers, &is))
			probing_select(uses);
		listen_to(&is);
		known = announced && sealed_peers_ask(&s.peers, &is, s.keys.next_public);
	}
	setup_fini(&is);
	return known;
}

static void
tick(uv_timer_t *timer)
{
	(void)timer;
	turn_keys(s.engine ? look_at_peers() : s.kernel && s.known);
	schedule();
	if (s.kernel || dials_out())
		sealed_look(); /* a relay may have come or gone */
	if (s.engine)
		publish();
}

/* ---- wg(8) ---- */

static int
uapi_get(void *arg, struct setup *out)
{
	struct err err = {0};

	(void)arg;
	if (s.kernel)
		return sealed_kernel_state(s.kernel, out, &err) == 0 ? 0 : ENOMEM;
	if (!s.engine)
		return ENODEV;
	return engine_state(s.engine, out, &err) == 0 ? 0 : ENOMEM;
}

/* It is this process that says what its device is; who wants another one makes one. */
static int
uapi_set(void *arg, const struct setup *change)
{
	(void)arg;
	(void)change;
	return EPERM;
}

static void
take_uapi(int *fd)
{
	const struct uapi_socket_device device = {.get = uapi_get, .set = uapi_set};
	struct err err = {0};

	uapi_socket_close(s.uapi);
	s.uapi = uapi_socket_adopt(station_loop(s.st), fd_take(fd), &device, &err);
	if (!s.uapi)
		log_err(LOG_WARN, "wg does not find the sealed traffic of this node", &err);
}

/* ---- from node and scheduler ---- */

void
sealed_message(const struct leash_message *m, int *fds, size_t count)
{
	const struct config *config;

	switch (m->kind) {
	case LEASH_TUNNEL:
		sealed_handed_tunnel(&s.handed, m, fds, count);
		changes();
		break;
	case LEASH_LISTENER:
		if (text_equal(m->name, "overlay")) {
			if (sealed_handed_socket(&s.handed, &fds[0]))
				changes();
		} else if (text_equal(m->name, "wireguard")) {
			take_uapi(&fds[0]);
		}
		break;
	case LEASH_PAIRS:
		sealed_peers_pairs(&s.peers, fds[0]);
		sealed_look();
		tell_changed();
		break;
	case LEASH_CONFIG:
		config = configuration();
		if (config && sealed_handed_drop(&s.handed, config))
			changes();
		break;
	default:
		break;
	}
}

/* ---- keys of others, and this node's (sealed_known.h) ---- */

static bool
knows(uint64_t id, uint64_t token)
{
	return serves() && sealed_peers_know(&s.peers, id, token);
}

static void
known(uint64_t id, uint64_t token)
{
	sealed_known_take(&s.peers.known, id, token);
}

/* ---- begin and end ---- */

struct ring_table_layout
sealed_layout(void)
{
	return (struct ring_table_layout){
		.table = MSG_TABLE_SEALED,
		.version = 1,
		.row_bytes = sizeof(struct msg_sealed),
		.rows_max = 1,
	};
}

int
sealed_start(struct station *st, const struct peers *peers, void (*changed)(void), struct err *err)
{
	s.st = st;
	s.changed = changed;
	sealed_handed_init(&s.handed);
	sealed_peers_init(&s.peers, peers);
	if (sealed_keys_load(&s.keys, station_folder(st, 0), err) < 0)
		return -1;
	sealed_count_init(&s.count, station_metrics(st));
	sealed_heard_init(&s.heard);
	probing_keys(knows, known);
	uv_timer_init(station_loop(st), &s.settle);
	uv_timer_init(station_loop(st), &s.tick);
	schedule();
	return 0;
}

void
sealed_end(void)
{
	uapi_socket_close(s.uapi);
	s.uapi = NULL;
	end_device();
	fd_close(&s.handed.door);
	sealed_handed_close_sockets(&s.handed);
	sealed_count_fini(&s.count);
	sealed_heard_fini(&s.heard);
	sealed_peers_fini(&s.peers);
	sealed_keys_wipe(&s.keys);
}
