/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The glue. The engine is made when node has handed over the queues of the device and a socket, and
 * made anew when any of these is another one: its peers make new sessions then, which takes a round
 * trip. What it is to do follows from the tables each time; only the difference is done, so nothing
 * that is right ends for nothing.
 *
 * Keys (keys.h) are read once and written before they are used or announced. Until the engine runs
 * for the first time there is no row in the table sealed: others keep what they knew of this node's
 * earlier process.
 */
#include "overlay/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "overlay/engine/engine.h"
#include "overlay/keys.h"
#include "overlay/probing.h"
#include "overlay/relayed.h"
#include "overlay/sealed_count.h"
#include "overlay/sealed_setup.h"
#include "overlay/wg/primitive.h"
#include "overlay/wg/uapi_socket.h"

enum { SETTLE_MS = 20, TICK_MS = 2000, AGAIN_MS = 2000, SOCKETS_MAX = 4 };

static const char file[] = "keys";

static struct {
	struct station *st;
	const struct peers *peers;
	void (*changed)(void);
	struct keys keys;
	uint8_t public_key[KEYS_BYTES], next_public[KEYS_BYTES];
	struct sealed_pairs pairs;
	struct msg_mesh rows[PEERS_MAX]; /* of peers, with only those keys that are their own */
	struct relayed relayed;
	uint64_t relay_digest; /* of whom the engine relays between */
	struct tun queues[LEASH_TUNNEL_QUEUES_MAX];
	size_t queues_count;
	uint32_t mtu;
	int sockets[SOCKETS_MAX]; /* bound, of any family */
	size_t sockets_count;
	struct engine *engine;
	struct uapi_socket *uapi;
	bool dirty;  /* the engine is not of what there is now */
	bool unable; /* so it was at the last look already: no socket, or no queue */
	struct err err;
	uv_timer_t settle, tick;
	struct sealed_count count;
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

/* ---- keys ---- */

static int
keep_keys(const struct keys *k, struct err *err)
{
	char text[KEYS_TEXT_BYTES];

	keys_put(k, text);
	int rc = fd_replace(station_folder(s.st, 0), file, text, strlen(text), 0600, err);
	mem_wipe(text, sizeof(text));
	return rc < 0 ? err_where(err, "overlay/%s below the data folder", file) : 0;
}

static int
make_keys(struct err *err)
{
	struct world world;

	world_real(&world);
	keys_make(&world, &s.keys);
	return keep_keys(&s.keys, err);
}

static int
load_keys(struct err *err)
{
	struct buf b;
	int rc;

	buf_init(&b, MEM_OVERLAY, KEYS_TEXT_BYTES);
	if (fd_read_file(station_folder(s.st, 0), file, &b, err) < 0) {
		rc = err->kind == ERR_NOT_FOUND ? (err_clear(err), make_keys(err)) : -1;
	} else {
		rc = keys_parse(buf_cstr(&b), &s.keys, err);
		if (rc < 0)
			err_where(err, "overlay/%s below the data folder", file);
	}
	if (b.data)
		mem_wipe(b.data, b.length);
	buf_fini(&b);
	return rc;
}

static int
make_public(struct err *err)
{
	memset(s.next_public, 0, sizeof(s.next_public));
	if (primitive_public(s.keys.key, s.public_key) &&
	    (!s.keys.next_since_s || primitive_public(s.keys.next, s.next_public)))
		return 0;
	return err_set(err, ERR_NO_MEMORY, "no memory for the keys of sealed traffic");
}

/* ---- what is told ---- */

static void
publish(void)
{
	struct msg_sealed row = {.serves = s.engine != NULL, .peers = s.count.live};
	bool changed = false;

	memcpy(row.key, s.public_key, sizeof(row.key));
	memcpy(row.next_key, s.next_public, sizeof(row.next_key));
	if (!s.engine && s.err.kind)
		msg_reason_from(&s.err, &row.reason);
	(void)ring_table_set(station_writer(s.st), MSG_TABLE_SEALED, 1, &row, &changed);
	if (changed)
		station_kick(s.st);
}

bool
sealed_reaches(uint32_t node)
{
	return s.engine && sealed_pairs_has(&s.pairs, node);
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
change_engine(const struct setup *is, const struct setup *want, struct err *err)
{
	struct setup change;

	setup_init(&change);
	enum setup_rc rc = setup_diff(is, want, &change);
	int result = 0;
	if (rc != SETUP_OK)
		result = err_set(err, rc == SETUP_NO_MEMORY ? ERR_NO_MEMORY : ERR_LIMIT,
				 "the change of sealed traffic's peers is too large");
	else if (!setup_says_nothing(&change))
		result = engine_change(s.engine, &change, err);
	setup_fini(&change);
	return result;
}

/* Keys that others have announced. That of one who changed it already is not theirs to follow. */
static int
follow(struct err *err)
{
	for (size_t i = 0; i < s.peers->mesh_count; i++) {
		const struct msg_mesh *row = &s.rows[i];
		bool next = !setup_key_is_zero(row->next_key);

		if (sealed_setup_row_holds(row) && sealed_pairs_has(&s.pairs, row->node) &&
		    engine_follow(s.engine, row->key, next ? row->next_key : NULL, err) < 0) {
			/* Those that find no room are met when they have changed. */
			if (err->kind != ERR_LIMIT)
				return -1;
			err_clear(err);
		}
	}
	return 0;
}

/* ---- nodes that only dial out (docs/decisions/018) ---- */

static bool
dials_out(void)
{
	const struct config *config = configuration();

	return config && config->node.advertise_none;
}

/* Of each of the mesh's rows. */
static const struct addr *
places(void)
{
	static struct addr out[PEERS_MAX];
	const struct peers *p = s.peers;
	uint64_t now_ns = world_mono_ns();

	memset(out, 0, sizeof(out));
	for (size_t i = 0; i < p->mesh_count; i++)
		if (!p->mesh[i].port)
			(void)relayed_place(&s.relayed, p->self, p->mesh, p->mesh_count,
					    &p->mesh[i], now_ns, &out[i]);
	return out;
}

/* One that only dials out itself has nothing to pass on: they do not come to it. */
static int
relay(struct err *err)
{
	static uint8_t keys[2 * PEERS_MAX][SETUP_KEY];
	static const uint64_t seed[2] = {UINT64_C(0x7a6c61796572), 9};
	size_t count = dials_out() ? 0 : relayed_keys(s.rows, s.peers->mesh_count, keys);
	uint64_t digest = map_siphash(seed, keys, count * sizeof(keys[0])) | 1;

	if (digest == s.relay_digest)
		return 0;
	if (engine_relay(s.engine, (const uint8_t(*)[SETUP_KEY])keys, count, err) < 0)
		return -1;
	s.relay_digest = digest;
	return 0;
}

static void
set_size(const uint8_t key[SETUP_KEY], uint32_t mtu)
{
	struct err err = {0};

	if (engine_set_peer_mtu(s.engine, key, mtu, &err) < 0 && err.kind != ERR_NOT_FOUND)
		log_err(LOG_WARN, "what fits the path to another node is not heeded", &err);
}

/* Of the key that is used, and of the one that follows it. Not every row is a peer. */
static void
set_sizes(void)
{
	for (size_t i = 0; i < s.peers->mesh_count; i++) {
		const struct msg_mesh *row = &s.rows[i];
		uint32_t mtu =
			peers_probed_sealed(row->ways) ? probing_mtu(peers_id(row->name)) : 0;

		set_size(row->key, mtu);
		set_size(row->next_key, mtu);
	}
}

static int
look(struct err *err)
{
	struct setup is, want;

	setup_init(&is);
	setup_init(&want);
	int rc = engine_state(s.engine, &is, err);
	const struct sealed_setup_in in = {.private_key = s.keys.key,
					   .rows = s.rows,
					   .rows_count = s.peers->mesh_count,
					   .is = &is,
					   .dials_out = dials_out(),
					   .places = dials_out() ? places() : NULL};
	memcpy(s.rows, s.peers->mesh, s.peers->mesh_count * sizeof(s.rows[0]));
	if (rc == 0)
		rc = sealed_setup_judge(&s.pairs, s.rows, s.peers->mesh_count, err);
	if (rc == 0)
		rc = sealed_setup_make(&in, &s.pairs, &want, err);
	if (rc == 0)
		rc = change_engine(&is, &want, err);
	if (rc == 0)
		rc = follow(err);
	if (rc == 0)
		rc = relay(err);
	if (rc == 0)
		set_sizes();
	setup_fini(&is);
	setup_fini(&want);
	return rc;
}

void
sealed_look(void)
{
	struct err err = {0};

	if (s.engine && look(&err) < 0)
		failed(&err);
}

/* ---- the engine ---- */

/* What is to be looked after by time: figures while there is an engine, a key that is announced. */
static void
schedule(void)
{
	struct world world;

	world_real(&world);
	if (s.engine)
		uv_timer_start(&s.tick, tick, TICK_MS, 0);
	else if (s.keys.next_since_s)
		uv_timer_start(&s.tick, tick, (keys_due_s(&s.keys, &world) + 1) * 1000, 0);
	else
		uv_timer_stop(&s.tick);
}

static void
end_engine(void)
{
	engine_free(s.engine);
	s.engine = NULL;
	s.relay_digest = 0;
	sealed_pairs_forget_places(&s.pairs);
	sealed_count_reset(&s.count);
}

static bool
family_of(int fd, int *out)
{
	socklen_t length = sizeof(*out);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, out, &length) == 0;
}

/* With duplicates: what node gave stays for the next one. */
static int
duplicate(struct engine_config *c, struct err *err)
{
	bool good = true;
	int family;

	for (size_t i = 0; i < s.queues_count; i++) {
		c->queues[i] = s.queues[i];
		c->queues[i].fd = fcntl(s.queues[i].fd, F_DUPFD_CLOEXEC, 0);
		good &= c->queues[i].fd >= 0;
		c->queues_count++;
	}
	for (size_t i = 0; i < s.sockets_count; i++) {
		if (!family_of(s.sockets[i], &family))
			continue;
		int *place = family == AF_INET6 ? &c->udp6 : &c->udp4;
		if (*place < 0)
			good &= (*place = fcntl(s.sockets[i], F_DUPFD_CLOEXEC, 0)) >= 0;
	}
	return good ? 0 : err_sys(err, errno, "no descriptors for sealed traffic");
}

static int
make_engine(struct err *err)
{
	struct engine_config c = {.udp4 = -1, .udp6 = -1, .mtu = s.mtu};

	if (duplicate(&c, err) == 0)
		s.engine = engine_new(&c, err);
	if (s.engine)
		return 0;
	for (size_t i = 0; i < c.queues_count; i++)
		fd_close(&c.queues[i].fd);
	fd_close(&c.udp4);
	fd_close(&c.udp6);
	return -1;
}

/* A socket may come in a moment, for the one that was taken: others are not told at once. */
static void
say_unable(void)
{
	if (s.queues_count && s.unable) {
		err_set(&s.err, ERR_UNREACHABLE, "there is no socket for sealed traffic");
		err_why(&s.err, "its address cannot be had: see the listener \"overlay\"");
		publish();
	} else if (s.queues_count) {
		uv_timer_start(&s.settle, settle, AGAIN_MS, 0);
	}
	s.unable = true;
}

static void
settle(uv_timer_t *timer)
{
	struct err err = {0};
	bool was = s.engine != NULL, able = s.queues_count && s.sockets_count;

	(void)timer;
	if (s.dirty) {
		s.dirty = false;
		end_engine();
	}
	if (able && !s.engine && make_engine(&err) < 0)
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
	s.changed();
}

static void
changes(void)
{
	s.dirty = true;
	uv_timer_start(&s.settle, settle, SETTLE_MS, 0);
}

/* ---- changing the key ---- */

static uint64_t
every_s(void)
{
	const struct config *config = configuration();

	return config ? config->overlay.rotate_ms / 1000 : 0;
}

static void
keys_turned(enum keys_step step, struct err *err)
{
	if (make_public(err) == 0)
		log_event(LOG_INFO,
			  step == KEYS_CHANGED ? "the key of sealed traffic was changed"
					       : "the key of sealed traffic is about to be "
						 "changed: the others hear of it",
			  LOG_END);
	sealed_look();
	if (s.engine)
		publish();
}

/* Kept first: a key that was announced or used is never unknown to a successor, and a request that
 * was not kept as heeded comes again. */
static void
turn_keys(void)
{
	struct keys next = s.keys;
	struct world world;
	struct err err = {0};

	world_real(&world);
	enum keys_step step =
		keys_turn(&next, &world, s.peers->rotate_wall_s, s.engine ? every_s() : 0);
	if (step != KEYS_STAY && keep_keys(&next, &err) == 0) {
		s.keys = next;
		if (step != KEYS_MENDED)
			keys_turned(step, &err);
	}
	if (err.kind)
		log_err(LOG_WARN, "the key of sealed traffic is not changed; it is tried again",
			&err);
	keys_wipe(&next);
}

static void
tick(uv_timer_t *timer)
{
	struct setup is;
	struct err err = {0};

	(void)timer;
	turn_keys();
	schedule();
	if (!s.engine)
		return;
	setup_init(&is);
	if (engine_state(s.engine, &is, &err) == 0) {
		sealed_count_take(&s.count, &is, s.engine, s.peers);
		relayed_note(&s.relayed, &is, s.peers->mesh, s.peers->mesh_count, world_mono_ns());
	}
	setup_fini(&is);
	if (dials_out())
		sealed_look(); /* a relay may have come or gone */
	publish();
}

/* ---- wg(8) ---- */

static int
uapi_get(void *arg, struct setup *out)
{
	struct err err = {0};

	(void)arg;
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

/* node has closed them with the device: others may have the port. */
static void
close_sockets(void)
{
	for (size_t i = 0; i < s.sockets_count; i++)
		fd_close(&s.sockets[i]);
	s.sockets_count = 0;
}

static void
take_queues(const struct leash_message *m, int *fds, size_t count)
{
	for (size_t i = 0; i < s.queues_count; i++)
		tun_close(&s.queues[i]);
	s.queues_count = 0;
	for (size_t i = 0; i < count && i < LEASH_TUNNEL_QUEUES_MAX; i++) {
		struct tun *t = &s.queues[s.queues_count++];

		*t = (struct tun){.fd = fd_take(&fds[i]), .offload = (enum tun_offload)m->b};
		text_copy(t->name, sizeof(t->name), m->name);
	}
	s.mtu = (uint32_t)m->a;
	if (count == 0)
		close_sockets();
	changes();
}

/* Those that are no longer configured went with node's; a new address is another socket. */
static void
take_socket(int *fd)
{
	if (s.sockets_count == SOCKETS_MAX) {
		fd_close(&s.sockets[0]);
		memmove(s.sockets, s.sockets + 1, (SOCKETS_MAX - 1) * sizeof(s.sockets[0]));
		s.sockets_count--;
	}
	s.sockets[s.sockets_count++] = fd_take(fd);
	changes();
}

/* As ring/leash.h asks: what is bound elsewhere than the configuration says is closed. */
static void
drop_sockets(const struct config *config)
{
	size_t kept = 0;

	for (size_t i = 0; i < s.sockets_count; i++) {
		struct sockaddr_storage at = {0};
		socklen_t length = sizeof(at);
		struct addr bound;

		if (config->listen.overlay.on &&
		    getsockname(s.sockets[i], (struct sockaddr *)&at, &length) == 0 &&
		    addr_from_sockaddr((struct sockaddr *)&at, length, &bound) &&
		    (addr_equal(&bound, &config->listen.overlay.addr) ||
		     (addr_is_zero(&bound) && addr_is_zero(&config->listen.overlay.addr) &&
		      bound.port == config->listen.overlay.addr.port)))
			s.sockets[kept++] = s.sockets[i];
		else
			fd_close(&s.sockets[i]);
	}
	if (kept != s.sockets_count)
		changes();
	s.sockets_count = kept;
}

static void
take_pairs(int fd)
{
	struct err err = {0};
	struct buf b;

	buf_init(&b, MEM_OVERLAY, SEALED_SETUP_NODES_MAX * sizeof(struct leash_pair));
	if (fd_read_all(fd, &b, &err) < 0 ||
	    sealed_pairs_take(&s.pairs, b.data, b.length, &err) < 0)
		log_err(LOG_WARN, "the keys of sealed traffic to other nodes are not known", &err);
	if (b.data)
		mem_wipe(b.data, b.length);
	buf_fini(&b);
	sealed_look();
	s.changed();
}

void
sealed_message(const struct leash_message *m, int *fds, size_t count)
{
	const struct config *config;

	switch (m->kind) {
	case LEASH_TUNNEL:
		take_queues(m, fds, count);
		break;
	case LEASH_LISTENER:
		if (text_equal(m->name, "overlay"))
			take_socket(&fds[0]);
		else if (text_equal(m->name, "wireguard"))
			take_uapi(&fds[0]);
		break;
	case LEASH_PAIRS:
		take_pairs(fds[0]);
		break;
	case LEASH_CONFIG:
		config = configuration();
		if (config)
			drop_sockets(config);
		break;
	default:
		break;
	}
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
	s.peers = peers;
	s.changed = changed;
	sealed_pairs_init(&s.pairs);
	relayed_init(&s.relayed);
	if (load_keys(err) < 0 || make_public(err) < 0)
		return -1;
	sealed_count_init(&s.count, station_metrics(st));
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
	end_engine();
	close_sockets();
	sealed_count_fini(&s.count);
	sealed_pairs_fini(&s.pairs);
	relayed_fini(&s.relayed);
	keys_wipe(&s.keys);
}
