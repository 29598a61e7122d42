/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The role's place on the ring: which tables it reads and writes, and what it finds when it starts.
 *
 * At start, in this order: folders, addresses, cgroups, network, image store, the monitor's
 * program, filters; then every replica that left a plan or a folder is picked up; what has neither
 * (a link, a namespace, a cgroup of a start that was cut off) is swept. Containers that nobody
 * claims are not touched until a scheduler has been there for a while and still does not know them:
 * it may be reading its store.
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/world.h"
#include "ring/role.h"
#include "runtime/attachments.h"
#include "runtime/container.h"
#include "runtime/container_link.h"
#include "runtime/helper.h"
#include "runtime/net_link.h"

enum {
	CONTAINERS_MAX = 1024,
	IMAGES_MAX = 1024,
	REQUEST_SLOTS = 64,
	API_SLOTS = 64,
	METRIC_SERIES = 8192,
	TICK_MS = 2000,
	FIGURES_TICKS = 5,
	PORTS_TICKS = 150,
	YOUNG_S = 30,
	ORPHAN_MS = 30000,
	SWEEP_ATTEMPTS = 500,
};

static struct container_host host;
static struct attachments *attachments;
static uv_timer_t tick;

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	static const struct ring_table_layout tables[] = {
		{MSG_TABLE_CONTAINER, 1, sizeof(struct msg_container), CONTAINERS_MAX},
		{MSG_TABLE_VETH, 1, sizeof(struct msg_veth), CONTAINERS_MAX + MSG_ATTACHMENTS_MAX},
		{MSG_TABLE_ATTACHMENT, 1, sizeof(struct msg_attachment), MSG_ATTACHMENTS_MAX + 1},
		{MSG_TABLE_IMAGE, 1, sizeof(struct msg_image), IMAGES_MAX},
		{MSG_TABLE_RESULT, 1, sizeof(struct msg_result), CONTAINERS_MAX},
	};
	(void)welcome;
	memcpy(out->tables, tables, sizeof(tables));
	out->tables_count = sizeof(tables) / sizeof(tables[0]);
	out->request_slots = REQUEST_SLOTS;
	out->request_body_bytes = RING_BODY_MAX;
	out->answers[0] = (struct ring_answers_layout){
		.role = ROLE_API, .instances = 1, .slots = API_SLOTS, .body_bytes = RING_BODY_MAX};
	out->answers[1] = (struct ring_answers_layout){.role = ROLE_SCHEDULER,
						       .instances = 2,
						       .slots = MSG_SLOTS,
						       .body_bytes = RING_BODY_MAX};
	out->answers_count = 2;
	out->metric_series = METRIC_SERIES;
}

/* ---- start ---- */

/* Our uid is not root's: only ambient capabilities get through the execution of the monitor. */
static int
raise_ambient(struct err *err)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	if (syscall(SYS_capget, &head, data) < 0)
		return err_sys(err, errno, "cannot read our capabilities");
	for (size_t i = 0; i < 2; i++)
		data[i].inheritable = data[i].permitted;
	if (syscall(SYS_capset, &head, data) < 0)
		return err_sys(err, errno, "cannot make our capabilities inheritable");
	for (unsigned cap = 0; cap < 64; cap++)
		if ((data[cap / 32].permitted & (1U << cap % 32)) != 0 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return err_sys(err, errno, "cannot hand our capabilities on");
	return 0;
}

static int
load_addresses(struct err *err)
{
	struct buf text;
	buf_init(&text, MEM_RUNTIME, ADDRESS_POOL_TEXT_MAX);
	address_pool_init(&host.pool);
	int done = fd_read_file(host.place.data, "addresses", &text, err);
	if (done < 0 && err->kind == ERR_NOT_FOUND) {
		err_clear(err);
		done = 0;
	} else if (done == 0) {
		done = address_pool_load(&host.pool, buf_cstr(&text), err);
	}
	buf_fini(&text);
	return done;
}

static int
open_network(int run, struct err *err)
{
	defer_close int netns = openat(run, "../netns", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (netns < 0)
		return err_sys(err, errno, "cannot open the folder of network namespaces");
	return net_open(netns, &host.net, err);
}

static int
compile_filters(struct err *err)
{
	for (size_t i = 0; i < 3; i++)
		if (seccomp_profile_own((enum seccomp_profile_kind)i, &host.own[i], err) < 0)
			return -1;
	return 0;
}

/* Before confinement: libraries. */
static int
open_libraries(struct station *st, struct err *err)
{
	(void)st;
	if (seccomp_profile_open(err) < 0)
		return -1;
	return net_link_open(err);
}

static int
open_all(struct station *st, struct err *err)
{
	int images = station_folder(st, ROLE_FOLDER_RUNTIME_IMAGES);
	int data = station_folder(st, ROLE_FOLDER_RUNTIME_CONTAINERS);
	int volumes = station_folder(st, ROLE_FOLDER_RUNTIME_VOLUMES);
	int run = station_folder(st, ROLE_FOLDER_RUNTIME_RUN);
	const struct leash_welcome *welcome = station_welcome(st);
	if (images < 0 || data < 0 || volumes < 0 || run < 0)
		return err_set(err, ERR_INTERNAL, "node gave the runtime too few folders");
	if (raise_ambient(err) < 0 ||
	    place_open(&host.place, data, volumes, run, host.loop, err) < 0 ||
	    load_addresses(err) < 0 || cgroups_open(welcome->instance, &host.groups, err) < 0 ||
	    open_network(run, err) < 0 || image_store_open(images, &host.images, err) < 0 ||
	    image_ops_new(st, host.images, &host.ops, err) < 0 ||
	    image_pull_open(st, host.images, &host.pulls, err) < 0 ||
	    image_ask_new(st, host.images, host.ops, host.pulls, &host.asks, err) < 0 ||
	    spawn_open(&host.spawn, host.loop, err) < 0)
		return -1;
	return compile_filters(err);
}

/* ---- what was there ---- */

static void
pick_up(void *arg, uint64_t replica)
{
	(void)arg;
	if (container_find(&host, replica) != NULL)
		return;
	struct container *c = container_get(&host, replica);
	if (c != NULL)
		container_adopt(c);
}

struct sweep {
	uint64_t replicas[CONTAINERS_MAX];
	size_t count;
};

static void
note_stray(void *arg, uint64_t replica)
{
	struct sweep *s = arg;
	if (container_find(&host, replica) == NULL && !attachments_has(attachments, replica) &&
	    s->count < CONTAINERS_MAX)
		s->replicas[s->count++] = replica;
}

/* Killed processes need a moment to go; a group that stays is met again at the replica's start. */
static void
remove_group(uint64_t replica)
{
	const struct timespec moment = {.tv_nsec = 2000000};
	for (int i = 0; i < SWEEP_ATTEMPTS && !cgroups_remove(host.groups, replica); i++) {
		cgroups_kill(host.groups, replica);
		nanosleep(&moment, NULL);
	}
}

/* Remains of starts that were cut off, which no plan or monitor stands for. */
static void
sweep_strays(void)
{
	static struct sweep s;
	s.count = 0;
	net_each(host.net, note_stray, &s);
	cgroups_each(host.groups, note_stray, &s);
	address_pool_each(&host.pool, note_stray, &s);
	place_each(host.place.data, "upper", note_stray, &s);
	for (size_t i = 0; i < s.count; i++) {
		log_event(LOG_INFO, "swept what a container left", log_u("replica", s.replicas[i]),
			  LOG_END);
		net_remove(host.net, s.replicas[i]);
		remove_group(s.replicas[i]);
		place_delete_uppers(&host.place, s.replicas[i], 0);
	}
	container_link_free_addresses(&host, s.replicas, s.count);
}

/* ---- regularly ---- */

/* Figures make the kernel sum up over CPUs, sockets are a walk through a table: neither is done
 * more often than somebody looks. A young container's ports are, so that a gate that fails can be
 * explained at once. */
static void
measure(struct container *c, uint64_t tick_number)
{
	bool young = world_wall_ns() - c->row.started_wall_ns < YOUNG_S * INT64_C(1000000000);
	bool figures = c->claim.measured || tick_number % FIGURES_TICKS == 0;
	bool ports = young || tick_number % PORTS_TICKS == 0;

	if (figures)
		container_measure(c);
	if (ports)
		container_look_for_ports(c);
	if (figures || ports)
		container_publish(c);
}

static void
look_after(struct container *c, uint64_t now, uint64_t tick_number)
{
	if (c->monitor != NULL)
		measure(c, tick_number);
	if (c->claimed || host.scheduler == NULL)
		return;
	if (now - c->unclaimed_ns < (uint64_t)ORPHAN_MS * 1000000 || c->forgotten)
		return;
	log_event(LOG_WARN, "nobody claims a container: it is removed",
		  log_u("replica", c->replica), LOG_END);
	c->forgotten = true;
	container_later(c, 0);
}

static void
on_tick(uv_timer_t *timer)
{
	static uint64_t tick_number;
	struct map_iter it = {0};
	uint64_t now = world_mono_ns();
	(void)timer;
	tick_number++;
	while (map_next(&host.containers, &it))
		look_after(it.value, now, tick_number);
	image_pull_tick(host.pulls);
	attachments_sweep(attachments);
}

static int
start(struct station *st, struct err *err)
{
	host.st = st;
	host.loop = station_loop(st);
	map_init(&host.containers, MEM_RUNTIME);
	if (open_all(st, err) < 0 || attachments_open(&host, &attachments, err) < 0)
		return -1;
	image_ops_publish(host.ops);
	place_each(host.place.data, "claims", pick_up, NULL);
	place_each(host.place.run, ".", pick_up, NULL);
	sweep_strays();
	uv_timer_init(host.loop, &tick);
	uv_timer_start(&tick, on_tick, TICK_MS, TICK_MS);
	log_event(LOG_INFO, "runtime is at work", log_u("containers", map_count(&host.containers)),
		  log_i("cgroup_mode", (int64_t)cgroups_mode_of(host.groups)), LOG_END);
	return 0;
}

/* ---- tables of others ---- */

/* container_step may remove a container: the table is not walked while it does. */
static void
step_all(void)
{
	static uint64_t replicas[CONTAINERS_MAX];
	struct map_iter it = {0};
	size_t count = 0;
	while (map_next(&host.containers, &it) && count < CONTAINERS_MAX)
		replicas[count++] = ((struct container *)it.value)->replica;
	for (size_t i = 0; i < count; i++) {
		struct container *c = container_find(&host, replicas[i]);
		if (c != NULL)
			container_step(c);
	}
}

static void
on_claim(void *arg, uint64_t key, const void *row)
{
	const struct msg_claim *claim = row;
	(void)arg;
	struct container *c = container_find(&host, key);
	if (row == NULL) {
		if (c != NULL) {
			c->claimed = false;
			c->unclaimed_ns = world_mono_ns();
		}
		return;
	}
	if (key == 0 || claim->replica != key || key >> 56 != 0 ||
	    !MSG_OK(claim->deployment_name) || !MSG_OK(claim->service_name) ||
	    claim->desired < MSG_RUN || claim->desired > MSG_HOLD || claim->attempt == 0) {
		log_event(LOG_ERROR, "a claim does not hold", log_u("replica", key), LOG_END);
		return;
	}
	if (c == NULL)
		c = container_get(&host, key);
	if (c != NULL)
		container_claim(c, claim);
}

static void
on_datapath(void *arg, uint64_t key, const void *row)
{
	const struct msg_datapath *path = row;
	(void)arg;
	(void)key;
	if (path != NULL)
		net_check_sources(host.net, path->bpf == 0);
}

static void
on_ignored(void *arg, uint64_t key, const void *row)
{
	(void)arg;
	(void)key;
	(void)row;
}

static void
on_prefix(void *arg, uint64_t key, const void *row)
{
	(void)arg;
	if (key != 1 || row == NULL)
		return;
	memcpy(&host.prefix, row, sizeof(host.prefix));
	/* What a prefix may be, as far as addresses are made of it. */
	host.have_prefix = addr_is_v4(&host.prefix.v4.base) && host.prefix.v4.bits >= 112 &&
			   host.prefix.v4.bits <= 126 && host.prefix.v6.bits <= 112 &&
			   addr_is_v4(&host.prefix.gateway4) && host.prefix.mtu >= 1280 &&
			   host.prefix.mtu <= 65535;
	if (!host.have_prefix)
		return;
	address_pool_set_prefix(&host.pool, &host.prefix.v4, &host.prefix.v6,
				&host.prefix.service4);
	struct err err = {0};
	if (net_own(host.net, &host.prefix.service4, &host.prefix.service6, &err) < 0)
		log_err(LOG_ERROR, "the fabric has no address of its own", &err);
}

static void
sync_reader(struct ring_reader *r)
{
	switch (ring_reader_role(r)) {
	case ROLE_SCHEDULER:
		/* First: what a replica is stands there before its claim does. */
		if (ring_table_sync(r, MSG_TABLE_IDENTITY, sizeof(struct msg_identity), NULL,
				    NULL) == RING_OK &&
		    container_link_unjudged(&host))
			step_all();
		ring_table_sync(r, MSG_TABLE_CLAIM, sizeof(struct msg_claim), on_claim, NULL);
		if (ring_table_sync(r, MSG_TABLE_PIN, sizeof(struct msg_pin), NULL, NULL) ==
		    RING_OK)
			image_ask_pins(host.asks, r);
		break;
	case ROLE_FETCH:
		if (ring_table_sync(r, MSG_TABLE_TRANSFER, sizeof(struct msg_transfer), NULL,
				    NULL) == RING_OK)
			image_pull_moved(host.pulls, r);
		break;
	case ROLE_DATAPLANE:
		ring_table_sync(r, MSG_TABLE_DATAPATH, sizeof(struct msg_datapath), on_datapath,
				NULL);
		ring_table_sync(r, MSG_TABLE_ATTACHED, sizeof(struct msg_attached), on_ignored,
				NULL);
		step_all();
		attachments_step(attachments);
		break;
	case ROLE_OVERLAY:
		ring_table_sync(r, MSG_TABLE_PREFIX, sizeof(struct msg_prefix), on_prefix, NULL);
		step_all();
		break;
	default:
		break;
	}
}

/* A new scheduler: until it claims a container, nobody does. */
static void
forget_claims(void)
{
	struct map_iter it = {0};
	uint64_t now = world_mono_ns();
	while (map_next(&host.containers, &it)) {
		struct container *c = it.value;
		c->claimed = false;
		c->unclaimed_ns = now;
	}
}

static void
on_peer(struct station *st, struct ring_reader *reader)
{
	(void)st;
	switch (ring_reader_role(reader)) {
	case ROLE_SCHEDULER:
		host.scheduler = reader;
		forget_claims();
		break;
	case ROLE_DATAPLANE:
		host.dataplane = reader;
		break;
	default:
		break;
	}
	sync_reader(reader);
}

static void
on_peer_gone(struct station *st, uint16_t role, uint16_t index, uint32_t generation)
{
	(void)index;
	(void)generation;
	/* Another generation may be there already: the station knows. */
	if (role == ROLE_SCHEDULER) {
		host.scheduler = station_reader(st, role, 0);
		if (host.scheduler == NULL) {
			forget_claims();
			image_ask_pins(host.asks, NULL);
		}
	}
	if (role == ROLE_DATAPLANE)
		host.dataplane = station_reader(st, role, 0);
}

static void
on_wake(struct station *st, struct ring_reader *reader)
{
	(void)st;
	sync_reader(reader);
}

static void
on_request(struct station *st, const struct station_request *request, const void *body,
	   size_t bytes, int *fds, size_t count)
{
	struct err err = {0};
	if (helper_request(&host, request, body, bytes, fds, count) ||
	    image_ops_request(host.ops, request, body, bytes, fds, count) ||
	    image_ask_request(host.asks, request, body, bytes) ||
	    attachments_request(attachments, request, body, bytes))
		return;
	err_set(&err, ERR_UNSUPPORTED, "the runtime does not know request %u", request->op);
	station_answer_err(st, request, &err);
}

/* Containers go on: nothing has to be brought to an end. */
static void
on_stop(struct station *st, uint64_t grace_ms)
{
	(void)grace_ms;
	container_close_all(&host);
	uv_timer_stop(&tick);
	station_leave(st, 0);
}

const struct station_role runtime_role = {
	.role = ROLE_RUNTIME,
	.layout = layout,
	.open = open_libraries,
	.start = start,
	.peer = on_peer,
	.peer_gone = on_peer_gone,
	.wake = on_wake,
	.request = on_request,
	.stop = on_stop,
};
