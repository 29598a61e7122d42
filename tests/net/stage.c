/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   this test ──leash── runtime ──control── zlayer-monitor ── container
 *     segments of scheduler, dataplane, overlay, api (written here)
 *     fabric: a network namespace, scratch/run/netns/fabric
 */
#include "tests/net/stage.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/identity.h"
#include "ring/leash.h"
#include "runtime/cgroups.h"
#include "runtime/frame.h"
#include "runtime/image_store.h"
#include "runtime/runtime.h"
#include "tests/net/rootfs.h"

enum { PEERS = 4, RUNTIME_UID = 61007, PATIENCE_S = 60, PLANS_MAX = 64 };

#define CAP(n) (UINT64_C(1) << (n))
/* chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
 * net_bind net_broadcast net_admin net_raw ipc_lock ipc_owner sys_chroot sys_ptrace sys_admin
 * sys_nice sys_resource mknod lease audit_write setfcap perfmon bpf */
#define RUNTIME_CAPS                                                                               \
	(CAP(0) | CAP(1) | CAP(2) | CAP(3) | CAP(4) | CAP(5) | CAP(6) | CAP(7) | CAP(8) | CAP(9) | \
	 CAP(10) | CAP(11) | CAP(12) | CAP(13) | CAP(14) | CAP(15) | CAP(18) | CAP(19) | CAP(21) | \
	 CAP(23) | CAP(24) | CAP(27) | CAP(28) | CAP(29) | CAP(31) | CAP(38) | CAP(39))

static const char layer_name[] = "00000000000000000000000000000000000000000000000000000000000000aa";
static const char image_digest[] =
	"sha256:00000000000000000000000000000000000000000000000000000000000000bb";

struct peer {
	uint16_t role;
	struct ring_writer *writer;
	int wake; /* signals the runtime */
};

struct stage {
	char scratch[64];
	char instance[64];
	char image[MSG_IMAGE];
	struct peer peers[PEERS];
	int leash;
	int kicked;
	pid_t pid;
	uint32_t generation;
	struct ring_reader *reader;
	bool ready;
	struct arena arena;
	struct buf plans[PLANS_MAX];
	uint64_t plan_replicas[PLANS_MAX];
	size_t plans_count;
	int answered_status;
	uint64_t asked;
	uint64_t lease_until_ns; /* of what is claimed */
};

enum { SCHEDULER, DATAPLANE, OVERLAY, API };

/* ---- making ---- */

static void
path_of(const struct stage *w, const char *name, char out[256])
{
	snprintf(out, 256, "%s/%s", w->scratch, name);
}

static void
own_folder(const struct stage *w, const char *name)
{
	char path[256];
	path_of(w, name, path);
	rootfs_folder(path);
	assert_int_equal(chown(path, RUNTIME_UID, RUNTIME_UID), 0);
	assert_int_equal(chmod(path, 0700), 0);
}

static void
make_image(struct stage *w)
{
	char path[512];
	struct err err = {0};
	struct image_store *store;
	char *layers[] = {(char *)(uintptr_t)layer_name};
	static char amd64[] = "amd64", linux_[] = "linux", none[] = "", sh[] = "/bin/sh";
	static char path_env[] = "PATH=/bin", mode[] = "MODE=image", volume[] = "/declared";
	char *env[] = {path_env, mode}, *entry[] = {sh}, *volumes[] = {volume};
	struct image_record record = {
		.digest = (char *)(uintptr_t)image_digest,
		.config_digest = (char *)(uintptr_t)image_digest,
		.name = none,
		.architecture = amd64,
		.os = linux_,
		.variant = none,
		.entrypoint = {entry, 1},
		.env = {env, 2},
		.workdir = none,
		.user = none,
		.stop_signal = none,
		.volumes = {volumes, 1},
		.layers = {layers, 1},
		.bytes = 1 << 20,
	};
	snprintf(path, sizeof(path), "%s/data/images/layers/%s/fs", w->scratch, layer_name);
	rootfs_folder(path);
	rootfs_make(path);
	path_of(w, "data/images", path);
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	text_copy(w->image, sizeof(w->image), "registry.test/box:1");
	snprintf(path, sizeof(path), "%s/data/images/layers-kept", w->scratch);
	/* Opening sweeps layers without a record: out of the way meanwhile. */
	char layers_path[512];
	snprintf(layers_path, sizeof(layers_path), "%s/data/images/layers", w->scratch);
	assert_int_equal(rename(layers_path, path), 0);
	if (image_store_open(dir, &store, &err) < 0)
		fail_msg("%s", err.what);
	assert_int_equal(rmdir(layers_path), 0);
	assert_int_equal(rename(path, layers_path), 0);
	if (image_store_add(store, w->image, &record, &err) < 0)
		fail_msg("%s", err.what);
	image_store_close(store);
	close(dir);
}

static void
make_fabric(const struct stage *w)
{
	char path[256];
	path_of(w, "run/netns/fabric", path);
	int fd = open(path, O_CREAT | O_RDONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	pid_t pid = fork();
	if (pid == 0)
		_exit(unshare(CLONE_NEWNET) < 0 ||
		      mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(stage_fabric((struct stage *)(uintptr_t)w,
				      "ip link set lo up; ip addr add 10.200.7.1/32 dev lo"),
			 0);
}

static void
make_writer(struct stage *w, size_t i, uint16_t role, const struct ring_table_layout *tables,
	    size_t count)
{
	struct err err = {0};
	struct ring_layout layout = {.role = role, .generation = 1, .metric_series = 16};
	for (size_t t = 0; t < count; t++)
		layout.tables[t] = tables[t];
	layout.tables_count = count;
	if (role == ROLE_API) {
		layout.request_slots = 64;
		layout.request_body_bytes = RING_BODY_MAX;
	}
	if (role == ROLE_SCHEDULER) {
		layout.answers[0] =
			(struct ring_answers_layout){ROLE_RUNTIME, 1, 64, RING_BODY_MAX};
		layout.answers_count = 1;
	}
	w->peers[i].role = role;
	w->peers[i].wake = -1;
	if (ring_writer_new(&layout, &w->peers[i].writer, &err) < 0)
		fail_msg("%s", err.what);
}

static void
make_peers(struct stage *w)
{
	const struct ring_table_layout scheduler[] = {
		{MSG_TABLE_CLAIM, 1, sizeof(struct msg_claim), 64},
		{MSG_TABLE_IDENTITY, 1, sizeof(struct msg_identity), 64},
	};
	const struct ring_table_layout dataplane[] = {
		{MSG_TABLE_DATAPATH, 1, sizeof(struct msg_datapath), 1},
		{MSG_TABLE_ATTACHED, 1, sizeof(struct msg_attached), 64},
	};
	const struct ring_table_layout prefix = {MSG_TABLE_PREFIX, 1, sizeof(struct msg_prefix), 1};
	struct msg_prefix row = {.mtu = 1420};
	make_writer(w, SCHEDULER, ROLE_SCHEDULER, scheduler, 2);
	make_writer(w, DATAPLANE, ROLE_DATAPLANE, dataplane, 2);
	make_writer(w, OVERLAY, ROLE_OVERLAY, &prefix, 1);
	make_writer(w, API, ROLE_API, NULL, 0);
	assert_true(addr_parse_prefix("10.200.7.0/24", &row.v4));
	assert_true(addr_parse_prefix("fd00:7::/64", &row.v6));
	assert_true(addr_parse_ip("169.254.1.1", &row.gateway4));
	assert_true(addr_parse_ip("fe80::1", &row.gateway6));
	assert_true(addr_parse_ip("10.200.7.1", &row.service4));
	ring_table_set(w->peers[OVERLAY].writer, MSG_TABLE_PREFIX, 1, &row, NULL);
	stage_datapath(w, false);
}

struct stage *
stage_new(const char *instance)
{
	struct stage *w = calloc(1, sizeof(*w));
	assert_non_null(w);
	snprintf(w->instance, sizeof(w->instance), "%s", instance);
	w->leash = -1;
	w->kicked = -1;
	arena_init(&w->arena, MEM_RUNTIME, 16 << 20);
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	rootfs_scratch(w->scratch, sizeof(w->scratch));
	own_folder(w, "data");
	own_folder(w, "run");
	assert_int_equal(chmod(w->scratch, 0755), 0);
	own_folder(w, "data/images");
	own_folder(w, "data/containers");
	own_folder(w, "data/volumes");
	own_folder(w, "run/containers");
	own_folder(w, "run/netns");
	make_image(w);
	make_fabric(w);
	make_peers(w);
	return w;
}

static void
end_group(void *arg, uint64_t replica)
{
	struct cgroups *groups = arg;
	for (int i = 0; i < 1000 && !cgroups_remove(groups, replica); i++) {
		cgroups_kill(groups, replica);
		usleep(2000);
	}
}

/* Also what a test that failed left running. */
static void
remove_groups(struct stage *w)
{
	struct cgroups *groups;
	struct err err = {0};
	if (cgroups_open(w->instance, &groups, &err) < 0)
		return;
	cgroups_each(groups, end_group, groups);
	cgroups_remove_parent(groups);
	cgroups_close(groups);
}

void
stage_free(struct stage *w)
{
	char path[256];
	stage_kill(w);
	for (size_t i = 0; i < PEERS; i++) {
		ring_writer_free(w->peers[i].writer);
		fd_close(&w->peers[i].wake);
	}
	for (size_t i = 0; i < w->plans_count; i++)
		buf_fini(&w->plans[i]);
	path_of(w, "run/netns/fabric", path);
	umount2(path, MNT_DETACH);
	remove_groups(w);
	rootfs_remove(w->scratch);
	arena_fini(&w->arena);
	free(w);
}

const char *
stage_scratch(const struct stage *w)
{
	return w->scratch;
}

pid_t
stage_pid(const struct stage *w)
{
	return w->pid;
}

/* ---- node ---- */

static void
send_welcome(struct stage *w)
{
	static struct leash_welcome welcome;
	static const char *const folders[] = {"data/images", "data/containers", "data/volumes",
					      "run/containers"};
	struct leash_message m;
	char path[256];
	int fds[6];
	memset(&welcome, 0, sizeof(welcome));
	welcome.abi = RING_ABI;
	welcome.role = ROLE_RUNTIME;
	welcome.generation = w->generation;
	welcome.instances = 1;
	welcome.uid = welcome.gid = RUNTIME_UID;
	welcome.keep_caps = RUNTIME_CAPS & sandbox_caps();
	welcome.allow_new_privs = 1;
	welcome.folders = 4;
	welcome.log_level = getenv("ZLAYER_SHOW") != NULL ? LOG_DEBUG : LOG_ERROR;
	text_copy(welcome.instance, sizeof(welcome.instance), w->instance);
	text_copy(welcome.node, sizeof(welcome.node), "test");
	fds[0] = fd_memfd_sealed("welcome", &welcome, sizeof(welcome));
	fds[1] = fd_memfd_sealed("config", "config", 6);
	for (size_t i = 0; i < 4; i++) {
		welcome.folder_access[i] = SANDBOX_READ | SANDBOX_WRITE;
		path_of(w, folders[i], path);
		fds[2 + i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(fds[2 + i] >= 0);
	}
	leash_init(&m, LEASH_WELCOME);
	assert_int_equal(leash_send(w->leash, &m, fds, 6), 0);
	for (size_t i = 0; i < 6; i++)
		close(fds[i]);
}

void
stage_start(struct stage *w)
{
	int pair[2];
	w->generation++;
	w->ready = false;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	w->pid = fork();
	assert_true(w->pid >= 0);
	if (w->pid == 0) {
		char path[256];
		close(pair[0]);
		path_of(w, "run/netns/fabric", path);
		int fabric = open(path, O_RDONLY | O_CLOEXEC);
		if (setns(fabric, CLONE_NEWNET) < 0)
			_exit(99);
		_exit(station_main(&runtime_role, pair[1], NULL));
	}
	close(pair[1]);
	w->leash = pair[0];
	send_welcome(w);
	for (int i = 0; i < PATIENCE_S * 100 && !w->ready; i++)
		stage_pump(w);
	if (!w->ready)
		fail_msg("the runtime did not get ready");
}

void
stage_kill(struct stage *w)
{
	if (w->pid <= 0)
		return;
	kill(w->pid, SIGKILL);
	waitpid(w->pid, NULL, 0);
	w->pid = 0;
	fd_close(&w->leash);
	fd_close(&w->kicked);
	ring_reader_free(w->reader);
	w->reader = NULL;
}

static void
introduce(struct stage *w)
{
	struct leash_message m;
	w->kicked = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (size_t i = 0; i < PEERS; i++) {
		struct peer *p = &w->peers[i];
		fd_close(&p->wake);
		p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		int fds[2] = {ring_writer_fd(p->writer), p->wake};
		leash_init(&m, LEASH_PEER);
		m.peer_role = p->role;
		assert_int_equal(leash_send(w->leash, &m, fds, 2), 0);
		leash_init(&m, LEASH_KICK);
		m.peer_role = p->role;
		assert_int_equal(leash_send(w->leash, &m, &w->kicked, 1), 0);
	}
}

static void
take_message(struct stage *w)
{
	struct leash_message m;
	struct err err = {0};
	int fds[FD_PASS_MAX];
	size_t count = 0;
	if (leash_recv(w->leash, &m, fds, FD_PASS_MAX, &count) < 0) {
		if (errno == ECONNRESET)
			fail_msg("the runtime has gone");
		return;
	}
	if (m.kind == LEASH_SEGMENT) {
		ring_reader_free(w->reader);
		w->reader = NULL;
		if (ring_reader_new(fd_take(&fds[0]), &w->reader, &err) < 0)
			fail_msg("%s", err.what);
		introduce(w);
	} else if (m.kind == LEASH_READY) {
		w->ready = true;
	}
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
}

static void
kick(struct stage *w, size_t peer)
{
	uint64_t one = 1;
	if (w->peers[peer].wake >= 0)
		assert_int_equal(write(w->peers[peer].wake, &one, sizeof(one)), sizeof(one));
}

/* ---- scheduler ---- */

static const struct buf *
plan_bytes(const struct stage *w, uint64_t replica)
{
	for (size_t i = w->plans_count; i > 0; i--)
		if (w->plan_replicas[i - 1] == replica)
			return &w->plans[i - 1];
	return NULL;
}

static void
answer_plan(struct stage *w, const struct ring_request *r)
{
	struct msg_plan_op op;
	struct leash_message m;
	memcpy(&op, r->body, sizeof(op));
	const struct buf *plan = plan_bytes(w, op.replica);
	assert_non_null(plan);
	int fd = fd_memfd_sealed("plan", plan->data, plan->length);
	assert_int_equal(ring_answer(w->peers[SCHEDULER].writer, ROLE_RUNTIME, 0, r->id,
				     MSG_ANSWER_FD, NULL, 0),
			 RING_OK);
	leash_init(&m, LEASH_DELIVER);
	m.from_role = ROLE_SCHEDULER;
	m.id = r->id;
	m.b = 1;
	assert_int_equal(leash_send(w->leash, &m, &fd, 1), 0);
	close(fd);
	kick(w, SCHEDULER);
}

static void
ignore(void *arg, uint64_t key, const void *row)
{
	(void)arg;
	(void)key;
	(void)row;
}

void
stage_pump(struct stage *w)
{
	static struct ring_request request;
	struct pollfd p[2] = {{.fd = w->leash, .events = POLLIN},
			      {.fd = w->kicked, .events = POLLIN}};
	uint64_t n;
	poll(p, 2, 10);
	if (p[0].revents & (POLLIN | POLLHUP))
		take_message(w);
	if (w->kicked >= 0 && read(w->kicked, &n, sizeof(n)) < 0)
		errno = 0;
	if (w->reader == NULL)
		return;
	while (ring_request_next(w->reader, ROLE_SCHEDULER, 0, world_mono_ns(), &request) ==
	       RING_OK)
		answer_plan(w, &request);
	ring_table_sync(w->reader, MSG_TABLE_CONTAINER, sizeof(struct msg_container), ignore, NULL);
	ring_table_sync(w->reader, MSG_TABLE_VETH, sizeof(struct msg_veth), ignore, NULL);
	ring_table_sync(w->reader, MSG_TABLE_RESULT, sizeof(struct msg_result), ignore, NULL);
}

struct plan *
stage_plan(struct stage *w, uint64_t replica, const char *script)
{
	struct plan *p = arena_new(&w->arena, struct plan);
	char **args = arena_array(&w->arena, 2, sizeof(*args));
	assert_non_null(p);
	assert_non_null(args);
	args[0] = arena_strdup(&w->arena, "-c");
	args[1] = arena_strdup(&w->arena, script);
	p->replica = replica;
	p->service = 5;
	p->deployment = arena_strdup(&w->arena, "shop");
	p->service_name = arena_strdup(&w->arena, "web");
	p->index = (uint32_t)(replica & 0xff);
	p->revision = 1;
	p->image = arena_strdup(&w->arena, w->image);
	p->pull = PLAN_PULL_IF_NOT_PRESENT;
	p->args = (struct plan_list){.items = args, .count = 2, .given = true};
	p->hostname = arena_printf(&w->arena, "web-%u", p->index);
	p->seccomp = PLAN_SECCOMP_DEFAULT;
	p->stop_signal = SIGTERM;
	p->stop_grace_ms = 2000;
	p->log_max_bytes = 1 << 20;
	p->log_max_files = 3;
	return p;
}

void
stage_claim(struct stage *w, const struct plan *plan, enum msg_desired desired, uint32_t attempt)
{
	struct msg_claim claim = {
		.replica = plan->replica,
		.service = plan->service,
		.index = plan->index,
		.revision = plan->revision,
		.attempt = attempt,
		.desired = desired,
		.stop_grace_ms = plan->stop_grace_ms,
		.stop_signal = plan->stop_signal,
		.leased = w->lease_until_ns != 0,
		.lease_until_ns = w->lease_until_ns,
	};
	const struct msg_identity identity = {.service = plan->service, .flags = IDENTITY_USUAL};
	assert_true(w->plans_count < PLANS_MAX);
	struct buf *b = &w->plans[w->plans_count];
	w->plan_replicas[w->plans_count++] = plan->replica;
	buf_init(b, MEM_RUNTIME, PLAN_BYTES_MAX);
	plan_encode(plan, b);
	assert_true(buf_ok(b));
	plan_sha256(b->data, b->length, claim.plan_sha256);
	text_copy(claim.deployment_name, sizeof(claim.deployment_name), plan->deployment);
	text_copy(claim.service_name, sizeof(claim.service_name), plan->service_name);
	ring_table_set(w->peers[SCHEDULER].writer, MSG_TABLE_IDENTITY, plan->replica, &identity,
		       NULL);
	ring_table_set(w->peers[SCHEDULER].writer, MSG_TABLE_CLAIM, plan->replica, &claim, NULL);
	kick(w, SCHEDULER);
}

void
stage_lease(struct stage *w, uint64_t until_ns)
{
	w->lease_until_ns = until_ns;
}

void
stage_unclaim(struct stage *w, uint64_t replica)
{
	ring_table_remove(w->peers[SCHEDULER].writer, MSG_TABLE_CLAIM, replica);
	kick(w, SCHEDULER);
}

void
stage_datapath(struct stage *w, bool bpf)
{
	struct msg_datapath row = {.bpf = bpf, .hook = MSG_HOOK_TCX};
	ring_table_set(w->peers[DATAPLANE].writer, MSG_TABLE_DATAPATH, 1, &row, NULL);
	kick(w, DATAPLANE);
}

void
stage_attach(struct stage *w, uint64_t replica, uint32_t ifindex)
{
	struct msg_attached row = {.replica = replica, .ifindex = ifindex, .hook = MSG_HOOK_TCX};
	ring_table_set(w->peers[DATAPLANE].writer, MSG_TABLE_ATTACHED, replica, &row, NULL);
	kick(w, DATAPLANE);
}

/* ---- looking ---- */

const struct msg_container *
stage_container(struct stage *w, uint64_t replica)
{
	stage_pump(w);
	return w->reader == NULL ? NULL : ring_table_get(w->reader, MSG_TABLE_CONTAINER, replica);
}

const struct msg_veth *
stage_veth(struct stage *w, uint64_t replica)
{
	stage_pump(w);
	return ring_table_get(w->reader, MSG_TABLE_VETH, replica);
}

const struct msg_result *
stage_result(struct stage *w, uint64_t replica)
{
	stage_pump(w);
	return ring_table_get(w->reader, MSG_TABLE_RESULT, replica << 8 | 255);
}

const struct msg_container *
stage_wait(struct stage *w, uint64_t replica, enum msg_container_state state, uint32_t attempt)
{
	const struct msg_container *row = NULL;
	uint64_t end = world_mono_ns() + UINT64_C(1000000000) * PATIENCE_S;
	while (world_mono_ns() < end) {
		row = stage_container(w, replica);
		if (row == NULL || row->attempt != attempt)
			continue;
		if (row->state == state)
			return row;
		if (row->state == MSG_CONTAINER_FAILED)
			fail_msg("replica %llu failed: %s (%s)", (unsigned long long)replica,
				 row->reason.what, row->reason.why);
	}
	fail_msg("replica %llu is in state %u of attempt %u, not %u of %u",
		 (unsigned long long)replica, row == NULL ? 0 : row->state,
		 row == NULL ? 0 : row->attempt, state, attempt);
	return NULL;
}

void
stage_wait_gone(struct stage *w, uint64_t replica)
{
	uint64_t end = world_mono_ns() + UINT64_C(1000000000) * PATIENCE_S;
	while (world_mono_ns() < end)
		if (stage_container(w, replica) == NULL)
			return;
	fail_msg("replica %llu stays", (unsigned long long)replica);
}

/* ---- api ---- */

/* Asks and waits; the status. */
static int
ask(struct stage *w, uint16_t op, const void *body, size_t bytes, const int *fds, size_t count)
{
	static struct ring_answer answer;
	struct leash_message m;
	uint64_t id;
	uint64_t end = world_mono_ns() + UINT64_C(1000000000) * PATIENCE_S;
	assert_int_equal(ring_ask(w->peers[API].writer, ROLE_RUNTIME, 0, (uint16_t)(op | MSG_OP_FD),
				  end, body, bytes, &id),
			 RING_OK);
	leash_init(&m, LEASH_DELIVER);
	m.from_role = ROLE_API;
	m.id = id;
	assert_int_equal(leash_send(w->leash, &m, fds, count), 0);
	kick(w, API);
	while (world_mono_ns() < end) {
		stage_pump(w);
		if (ring_answer_get(w->reader, ROLE_API, 0, id, &answer) == RING_OK) {
			ring_ask_release(w->peers[API].writer, id);
			return answer.status;
		}
	}
	fail_msg("no answer to request %u", op);
	return -1;
}

static uint32_t
little(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

/* Reads frames until the last one; texts go to out. */
static int
read_frames(int stream, char *out, size_t cap)
{
	static struct frame_parser parser;
	struct frame f;
	size_t used = 0, room;
	memset(&parser, 0, sizeof(parser));
	out[0] = '\0';
	for (;;) {
		uint8_t *space = frame_space(&parser, &room);
		ssize_t n = recv(stream, space, room, 0);
		if (n <= 0)
			return -1;
		parser.used += (size_t)n;
		while (frame_take(&parser, &f) == 1) {
			size_t skip = f.type == MSG_FRAME_LINE ? 16 : 0;
			if (f.type == MSG_FRAME_EXIT)
				return (int)little(f.data);
			int wrote =
				snprintf(out + used, cap - used, "%.*s%s", (int)(f.bytes - skip),
					 (const char *)f.data + skip, skip > 0 ? "\n" : "");
			used += (size_t)wrote < cap - used ? (size_t)wrote : cap - used - 1;
		}
	}
}

int
stage_exec(struct stage *w, uint64_t replica, const char *script, bool tty, char *out, size_t cap)
{
	struct msg_exec op = {.replica = replica, .tty = tty, .rows = 24, .columns = 80, .argc = 3};
	char words[2048];
	int n = snprintf(words, sizeof(words), "sh%c-c%c%s", 0, 0, script);
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	int fds[2] = {pair[1], fd_memfd_sealed("words", words, (size_t)n + 1)};
	int status = ask(w, MSG_OP_EXEC, &op, sizeof(op), fds, 2);
	close(fds[0]);
	close(fds[1]);
	if (status == 0)
		status = read_frames(pair[0], out, cap);
	else
		status = -status;
	close(pair[0]);
	return status;
}

int
stage_logs(struct stage *w, const struct msg_logs *op)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	int status = ask(w, MSG_OP_LOGS, op, sizeof(*op), &pair[1], 1);
	close(pair[1]);
	if (status == 0)
		return pair[0];
	close(pair[0]);
	return -1;
}

void
stage_log_text(struct stage *w, uint64_t replica, char *out, size_t cap)
{
	struct msg_logs op = {.replica = replica, .tail = UINT32_MAX};
	int stream = stage_logs(w, &op);
	assert_true(stream >= 0);
	assert_int_equal(read_frames(stream, out, cap), 0);
	close(stream);
}

/* ---- counting ---- */

static unsigned
count_entries(const char *path, bool numbers_only)
{
	unsigned count = 0;
	DIR *dir = opendir(path);
	if (dir == NULL)
		return 0;
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
		count += e->d_name[0] != '.' &&
			 (!numbers_only || (e->d_name[0] >= '0' && e->d_name[0] <= '9'));
	closedir(dir);
	return count;
}

static void
count_group(void *arg, uint64_t replica)
{
	(void)replica;
	++*(unsigned *)arg;
}

int
stage_fabric(struct stage *w, const char *command)
{
	char path[256];
	int status;
	path_of(w, "run/netns/fabric", path);
	pid_t pid = fork();
	if (pid == 0) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (setns(fd, CLONE_NEWNET) < 0)
			_exit(99);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(98);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void
stage_count(struct stage *w, struct stage_count *out)
{
	char path[256], line[1024];
	struct cgroups *groups;
	struct err err = {0};
	*out = (struct stage_count){0};
	out->links = (unsigned)stage_fabric(w, "exit $(ip -o link | wc -l)");
	path_of(w, "run/netns", path);
	out->namespaces = count_entries(path, false);
	path_of(w, "run/containers", path);
	out->folders = count_entries(path, true);
	static const char *const kept[] = {"claims", "exits", "logs", "anonymous", "upper"};
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		snprintf(path, sizeof(path), "%s/data/containers/%s", w->scratch, kept[i]);
		out->folders += count_entries(path, false);
	}
	if (cgroups_open(w->instance, &groups, &err) == 0) {
		cgroups_each(groups, count_group, &out->groups);
		cgroups_close(groups);
	}
	FILE *f = fopen("/proc/self/mountinfo", "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		out->mounts += strstr(line, w->scratch) != NULL;
	if (f != NULL)
		fclose(f);
}
