/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node's etcd with the real program, in namespaces of this test's own: what is ordered is done, and
 * goes on after each kind of failure. Needs root and etcd.
 *
 *   this test (node/etcd.c) --starts--> etcd :9885, :9886 on the loopback <--TLS-- etcd_rpc
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "node/etcd.h"
#include "node/folder.h"
#include "node/publish.h"
#include "node/roles.h"
#include "scheduler/credentials.h"
#include "scheduler/etcd_rpc.h"
#include "tests/net/etcd_rig.h"

enum { TURN_MS = 100, TURNS_MAX = 1200, CLIENT = 7 };

static struct {
	uv_loop_t loop;
	uv_timer_t timer;
	char folder[64];
	struct instance inst;
	struct config config;
	struct cgroup cgroup;
	struct ring_writer *own;
	struct hub *hub;
	struct etcd *etcd;
	struct msg_etcd_order order;
	struct identity_authority authority;
	struct identity_keys server, client;
	struct buf key, leaf, trusted; /* the client's, PEM */
	unsigned files;                /* so many times written */
	bool turned;
} t;

static int64_t
now_s(void)
{
	return world_wall_ns() / 1000000000;
}

static const struct msg_etcd *
row(void)
{
	return ring_table_own(t.own, MSG_TABLE_ETCD, 1);
}

/* ---- the loop ---- */

static void
on_timer(uv_timer_t *timer)
{
	(void)timer;
	t.turned = true;
	if (t.etcd)
		etcd_tick(t.etcd, &t.config, &t.order);
}

static void
turn(void)
{
	t.turned = false;
	/* Again and again: one that is late must not be the last that the loop waits for. */
	uv_timer_start(&t.timer, on_timer, TURN_MS, TURN_MS);
	while (!t.turned)
		uv_run(&t.loop, UV_RUN_ONCE);
	uv_timer_stop(&t.timer);
}

static const char *
why(void)
{
	const struct msg_etcd *r = row();

	return r ? r->reason.why[0] ? r->reason.why : r->reason.what : "no row";
}

static void
wait_for(enum msg_etcd_state state)
{
	for (int i = 0; i < TURNS_MAX; i++) {
		if (row() && row()->state == state && row()->life == t.order.life)
			return;
		turn();
	}
	fail_msg("it is in state %u, not %d: %s", row() ? row()->state : 0, state, why());
}

static void
wait_for_reason(const char *text)
{
	for (int i = 0; i < TURNS_MAX; i++) {
		const struct msg_etcd *r = row();

		if (r && (strstr(r->reason.what, text) || strstr(r->reason.why, text)))
			return;
		turn();
	}
	fail_msg("it does not say \"%s\" but: %s", text, why());
}

static uint32_t
wait_for_another(uint32_t pid)
{
	for (int i = 0; i < TURNS_MAX; i++) {
		if (row()->pid && row()->pid != pid && row()->state == MSG_ETCD_UP)
			return row()->pid;
		turn();
	}
	fail_msg("no other process came: %s", why());
	return 0;
}

/* ---- what scheduler writes ---- */

static void
write_file(const char *name, const struct buf *b)
{
	uid_t owner = roles_uid(roles_get(ROLE_SCHEDULER), 0, t.inst.uid_base);
	struct err err = {0};
	int fd = fd_open_beneath(t.inst.data_fd, "state/cluster/etcd", O_RDONLY | O_DIRECTORY, 0);

	assert_true(fd >= 0);
	assert_int_equal(fd_replace(fd, name, b->data, b->length, 0600, &err), 0);
	assert_int_equal(fchownat(fd, name, owner, owner, 0), 0);
	close(fd);
}

static void
make_leaf(enum credentials_authority of, const struct credentials_who *who, int64_t wall_s,
	  struct buf *authority, struct buf *leaf)
{
	struct identity_authority from;
	struct err err = {0};

	assert_int_equal(credentials_authority(&t.authority, of, &from, &err), 0);
	assert_int_equal(credentials_put_authority(&from, authority, &err), 0);
	assert_int_equal(credentials_issue(&from, of, who, wall_s, leaf, &err), 0);
	identity_authority_fini(&from);
}

static void
make_files(int64_t wall_s, const uint32_t *revoked, size_t count)
{
	struct addr at;
	const struct credentials_who who = {.node = 1,
					    .name = "edge-1",
					    .sign_public = t.server.sign_public,
					    .addresses = &at,
					    .addresses_count = 1};
	struct buf files[6];
	struct identity_authority from;
	struct err err = {0};

	assert_true(addr_parse_ip("127.0.0.1", &at));
	for (size_t i = 0; i < 6; i++)
		buf_init(&files[i], MEM_BASE, CREDENTIALS_REVOKED_PEM_MAX);
	make_leaf(CREDENTIALS_CLIENTS, &who, wall_s, &files[0], &files[3]);
	make_leaf(CREDENTIALS_PEERS, &who, wall_s, &files[1], &files[4]);
	assert_int_equal(credentials_put_key(t.server.sign, &files[2], &err), 0);
	assert_int_equal(credentials_authority(&t.authority, CREDENTIALS_CLIENTS, &from, &err), 0);
	assert_int_equal(credentials_revoke(&from, CREDENTIALS_CLIENTS, revoked, count, now_s(),
					    &files[5], &err),
			 0);
	identity_authority_fini(&from);
	static const char *const names[] = {"clients.crt", "peers.crt", "server.key",
					    "server.crt",  "peer.crt",  "revoked.crl"};
	for (size_t i = 0; i < 6; i++) {
		write_file(names[i], &files[i]);
		buf_fini(&files[i]);
	}
	text_format(t.order.files, sizeof(t.order.files), "%x", ++t.files);
}

static void
make_client(void)
{
	const struct credentials_who who = {
		.node = CLIENT, .name = "edge-7", .sign_public = t.client.sign_public};
	struct err err = {0};

	buf_init(&t.key, MEM_BASE, CREDENTIALS_PEM_MAX);
	buf_init(&t.leaf, MEM_BASE, CREDENTIALS_PEM_MAX);
	buf_init(&t.trusted, MEM_BASE, CREDENTIALS_PEM_MAX);
	assert_int_equal(credentials_put_key(t.client.sign, &t.key, &err), 0);
	make_leaf(CREDENTIALS_CLIENTS, &who, now_s(), &t.trusted, &t.leaf);
	buf_u8(&t.key, 0);
	buf_u8(&t.leaf, 0);
	buf_u8(&t.trusted, 0);
}

/* ---- calls ---- */

static struct {
	bool done;
	enum err_kind kind;
	char why[256];
	char text[4096];
} answer;

static void
answered(void *arg, const struct etcd_rpc_answer *a)
{
	(void)arg;
	answer.done = true;
	answer.kind = a->err ? a->err->kind : ERR_NONE;
	text_copy(answer.why, sizeof(answer.why), a->err ? a->err->what : "");
	text_ncopy(answer.text, sizeof(answer.text), a->text ? a->text : "", a->bytes);
}

/* With a connection of its own. */
static enum err_kind
call(const char *path, const char *json, bool with_certificate)
{
	static const char *const endpoints[] = {"https://127.0.0.1:9885"};
	const struct etcd_rpc_options options = {
		.loop = &t.loop,
		.endpoints = endpoints,
		.endpoints_count = 1,
		.authorities = (const char *)t.trusted.data,
		.certificate = with_certificate ? (const char *)t.leaf.data : NULL,
		.key = with_certificate ? (const char *)t.key.data : NULL,
		.timeout_ms = 10000};
	struct etcd_rpc *r;
	struct err err = {0};
	struct buf body;

	memset(&answer, 0, sizeof(answer));
	buf_init(&body, MEM_BASE, 4096);
	buf_puts(&body, json);
	assert_int_equal(etcd_rpc_open(&options, &r, &err), 0);
	assert_non_null(etcd_rpc_call(r, path, &body, answered, NULL, &err));
	while (!answer.done)
		turn();
	etcd_rpc_close(r);
	turn();
	buf_fini(&body);
	return answer.kind;
}

/* "a" is "b" in base64: YQ==, Yg==. */
static void
put(void)
{
	if (call("/v3/kv/put", "{\"key\":\"YQ==\",\"value\":\"Yg==\"}", true) != ERR_NONE)
		fail_msg("etcd does not take a key: %s", answer.why);
}

static bool
has(void)
{
	if (call("/v3/kv/range", "{\"key\":\"YQ==\"}", true) != ERR_NONE)
		fail_msg("etcd does not give a key: %s", answer.why);
	return strstr(answer.text, "Yg==") != NULL;
}

/* ---- set up ---- */

static void
hub_ready(void *arg, struct hub_member *m, uint64_t abi)
{
	(void)arg, (void)m, (void)abi;
}

static void
hub_broken(void *arg, struct hub_member *m, const char *how)
{
	(void)arg, (void)m, (void)how;
}

static void
hub_asked(void *arg, struct hub_member *m, const struct leash_message *message, int *fds,
	  size_t count)
{
	(void)arg, (void)m, (void)message, (void)fds, (void)count;
}

static void
hub_stirred(void *arg, struct ring_reader *scheduler)
{
	(void)arg, (void)scheduler;
}

static const struct hub_events hub_events = {hub_ready, hub_broken, hub_asked, hub_stirred};

static void
new_etcd(void)
{
	struct err err = {0};

	if (etcd_new(&t.loop, t.own, t.hub, &t.inst, &t.cgroup, &t.etcd, &err) < 0)
		fail_msg("%s: %s", err.what, err.whys ? err.why[0] : "");
}

static void
order_life(uint64_t life)
{
	t.order.life = life;
	t.order.run = life != 0;
	text_copy(t.order.name, sizeof(t.order.name), "edge-1");
	text_format(t.order.token, sizeof(t.order.token), "t%u", (unsigned)life);
	text_copy(t.order.cluster, sizeof(t.order.cluster), "edge-1=https://127.0.0.1:9886");
	assert_true(addr_parse("127.0.0.1:9885", &t.order.client));
	assert_true(addr_parse("127.0.0.1:9886", &t.order.peer));
}

static int
begin(void **state)
{
	char name[32];
	struct err err = {0};

	(void)state;
	log_setup(&(struct log_config){.level = LOG_WARN, .fd = STDERR_FILENO});
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	strcpy(t.folder, "/tmp/zlayer-etcd-XXXXXX");
	assert_non_null(mkdtemp(t.folder));
	/* Stays 0700: etcd needs no way through the folders above its own. */
	text_format(name, sizeof(name), "etcd-%d", (int)getpid());
	uv_loop_init(&t.loop);
	uv_timer_init(&t.loop, &t.timer);
	if (instance_open(name, t.folder, 790000, NULL, &t.inst, &err) < 0)
		fail_msg("%s: %s", err.what, err.whys ? err.why[0] : "");
	if (cgroup_open("auto", name, &t.cgroup, &err) < 0)
		fail_msg("%s", err.what);
	config_defaults(&t.config);
	assert_true(addr_parse("127.0.0.1:9885", &t.config.listen.store.addr));
	assert_int_equal(publish_new(1, &t.own, &err), 0);
	t.hub = hub_new(&t.loop, t.own, 1, &hub_events, NULL);
	assert_int_equal(identity_authority_create(&t.authority, now_s(), &err), 0);
	assert_int_equal(identity_keys_new(&t.server, &err), 0);
	assert_int_equal(identity_keys_new(&t.client, &err), 0);
	int fd = fd_make_dirs(t.inst.data_fd, "state/cluster/etcd", 0700);
	assert_true(fd >= 0);
	close(fd);
	make_client();
	make_files(now_s(), NULL, 0);
	assert_int_equal(etcd_rpc_load(&err), 0);
	order_life(1);
	new_etcd();
	return 0;
}

static bool stopped;

static void
on_stopped(void *arg)
{
	(void)arg;
	stopped = true;
}

static int
end(void **state)
{
	(void)state;
	etcd_stop(t.etcd, on_stopped, NULL);
	for (int i = 0; i < TURNS_MAX && !stopped; i++)
		turn();
	assert_true(stopped);
	assert_int_equal(row()->pid, 0);
	etcd_free(t.etcd);
	t.etcd = NULL;
	hub_free(t.hub);
	uv_close((uv_handle_t *)&t.timer, NULL);
	while (uv_run(&t.loop, UV_RUN_DEFAULT) != 0)
		;
	assert_int_equal(uv_loop_close(&t.loop), 0);
	ring_writer_free(t.own);
	cgroup_remove(&t.cgroup);
	etcd_remove(&t.inst);
	instance_remove(&t.inst);
	identity_authority_fini(&t.authority);
	buf_fini(&t.key);
	buf_fini(&t.leaf);
	buf_fini(&t.trusted);
	return folder_remove(AT_FDCWD, t.folder);
}

/* ---- tests ---- */

static void
status_line(uint32_t pid, const char *key, char *out, size_t cap)
{
	char path[64], line[256];

	out[0] = '\0';
	text_format(path, sizeof(path), "/proc/%u/status", pid);
	FILE *f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (text_starts(line, key))
			text_copy(out, cap, line + strlen(key) + 1);
	fclose(f);
	out[strcspn(out, "\n")] = '\0';
}

/* It serves who shows a certificate, and is confined. */
static void
test_serves(void **state)
{
	char text[128], uid[32];

	(void)state;
	wait_for(MSG_ETCD_UP);
	assert_int_equal(row()->able, 1);
	assert_true(text_starts(row()->version, "3."));
	assert_int_equal(row()->restarts, 0);
	assert_int_equal(row()->reason.kind, 0);
	assert_int_equal(row()->listen.port, 9885);
	put();
	assert_true(has());
	assert_int_not_equal(call("/v3/kv/range", "{\"key\":\"YQ==\"}", false), ERR_NONE);
	text_format(uid, sizeof(uid), "%u\t", t.inst.uid_base + ROLES_UID_ETCD);
	status_line(row()->pid, "Uid:", text, sizeof(text));
	assert_true(text_starts(text, uid));
	status_line(row()->pid, "CapBnd:", text, sizeof(text));
	assert_string_equal(text, "0000000000000000");
	status_line(row()->pid, "CapPrm:", text, sizeof(text));
	assert_string_equal(text, "0000000000000000");
	status_line(row()->pid, "NoNewPrivs:", text, sizeof(text));
	assert_string_equal(text, "1");
	status_line(row()->pid, "Seccomp:", text, sizeof(text));
	assert_string_equal(text, "2");
}

static void
test_killed(void **state)
{
	uint32_t pid = row()->pid;

	(void)state;
	assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
	wait_for_another(pid);
	assert_int_equal(row()->restarts, 1);
	assert_true(has());
}

/* A certificate that is renewed is shown at the next connection, by the same process; and who is
 * revoked has none. */
static void
shown_serial(char *out, size_t cap)
{
	FILE *f = popen("openssl s_client -connect 127.0.0.1:9885 </dev/null 2>/dev/null | "
			"openssl x509 -noout -startdate",
			"r");

	assert_non_null(f);
	assert_non_null(fgets(out, (int)cap, f));
	pclose(f);
}

static void
test_renewed(void **state)
{
	const uint32_t revoked[] = {CLIENT};
	uint32_t pid = row()->pid;
	char before[128], after[128];

	(void)state;
	shown_serial(before, sizeof(before));
	make_files(now_s() - 7200, NULL, 0);
	for (int i = 0; i < 5; i++)
		turn();
	shown_serial(after, sizeof(after));
	assert_string_not_equal(before, after);
	assert_true(has());
	make_files(now_s(), revoked, 1);
	for (int i = 0; i < 5; i++)
		turn();
	assert_int_not_equal(call("/v3/kv/range", "{\"key\":\"YQ==\"}", true), ERR_NONE);
	make_files(now_s(), NULL, 0);
	for (int i = 0; i < 5; i++)
		turn();
	assert_true(has());
	assert_int_equal(row()->pid, pid);
}

static void
test_turn(void **state)
{
	uint32_t pid = row()->pid, restarts = row()->restarts;

	(void)state;
	t.order.turn++;
	wait_for_another(pid);
	assert_int_equal(row()->turn, t.order.turn);
	assert_int_equal(row()->restarts, restarts);
	assert_true(has());
}

/* A node that dies leaves it; the next one finds it, with or without a record of it. */
static void
test_next_node(void **state)
{
	uint32_t pid = row()->pid;

	(void)state;
	etcd_free(t.etcd);
	t.etcd = NULL;
	turn();
	assert_true(has());
	new_etcd();
	wait_for(MSG_ETCD_UP);
	assert_int_equal(row()->pid, pid);
	etcd_free(t.etcd);
	t.etcd = NULL;
	turn();
	assert_int_equal(unlinkat(t.inst.run_fd, "etcd.process", 0), 0);
	new_etcd();
	/* It was this process' child. */
	while (waitpid((pid_t)pid, NULL, WNOHANG) < 0 && errno == EINTR)
		continue;
	wait_for_another(pid);
	assert_true(has());
}

static void
test_stopped(void **state)
{
	(void)state;
	t.order.run = 0;
	wait_for(MSG_ETCD_STOPPED);
	assert_int_equal(row()->pid, 0);
}

static void
test_port_in_use(void **state)
{
	struct addr at = t.order.client;
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	assert_int_equal(listen(fd, 1), 0);
	t.order.run = 1;
	wait_for_reason("address already in use");
	assert_non_null(strstr(row()->reason.fix, "listen.store"));
	close(fd);
	wait_for(MSG_ETCD_UP);
	assert_int_equal(row()->reason.kind, 0);
	assert_true(has());
}

static void
test_unwritable(void **state)
{
	char path[128];

	(void)state;
	test_stopped(NULL);
	etcd_free(t.etcd);
	t.etcd = NULL;
	turn();
	text_format(path, sizeof(path), "%s/etcd", t.folder);
	assert_int_equal(mount(path, path, NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
	t.order.run = 1;
	new_etcd();
	wait_for_reason("Read-only file system");
	assert_int_equal(row()->state, MSG_ETCD_FAILED);
	etcd_free(t.etcd);
	t.etcd = NULL;
	turn();
	assert_int_equal(umount(path), 0);
	new_etcd();
	wait_for(MSG_ETCD_UP);
	assert_true(has());
}

static void
test_wrong_program(void **state)
{
	static const char text[] = "#!/bin/sh\necho hello\n";
	char path[128];

	(void)state;
	test_stopped(NULL);
	text_format(path, sizeof(path), "%s/wrong", t.folder);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	assert_int_equal(mount(path, "/usr/bin/etcd", NULL, MS_BIND, NULL), 0);
	t.order.run = 1;
	wait_for_reason("is not etcd");
	assert_int_equal(row()->able, 0);
	assert_string_equal(row()->version, "");
	assert_int_equal(chmod(path, 0777), 0);
	wait_for_reason("can be changed by others than root");
	assert_int_equal(umount("/usr/bin/etcd"), 0);
	wait_for(MSG_ETCD_UP);
	assert_int_equal(row()->able, 1);
	assert_true(has());
}

static void
test_liar(void **state)
{
	struct msg_etcd_order before = t.order;
	uint32_t pid = row()->pid;

	(void)state;
	text_copy(t.order.cluster, sizeof(t.order.cluster), "edge-1=https://x --config-file=/x");
	wait_for_reason("does not hold");
	memset(t.order.cluster, 'a', sizeof(t.order.cluster));
	turn();
	t.order = before;
	turn();
	assert_int_equal(row()->pid, pid);
}

static size_t
entries(void)
{
	char command[160], text[16];

	text_format(command, sizeof(command), "ls -A %s/etcd | wc -l", t.folder);
	FILE *f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	pclose(f);
	return (size_t)strtoul(text, NULL, 10);
}

/* Another life begins empty; at the end nothing is left. */
static void
test_lives(void **state)
{
	uint32_t pid = row()->pid;

	(void)state;
	assert_int_equal(entries(), 2); /* data, certificates */
	order_life(2);
	wait_for_another(pid);
	assert_int_equal(row()->life, 2);
	assert_false(has());
	assert_int_equal(entries(), 2);
	order_life(0);
	wait_for(MSG_ETCD_ABSENT);
	assert_int_equal(row()->pid, 0);
	assert_int_equal(entries(), 0);
	order_life(3);
	wait_for(MSG_ETCD_UP);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_serves),        cmocka_unit_test(test_killed),
		cmocka_unit_test(test_renewed),       cmocka_unit_test(test_turn),
		cmocka_unit_test(test_next_node),     cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_port_in_use),   cmocka_unit_test(test_unwritable),
		cmocka_unit_test(test_wrong_program), cmocka_unit_test(test_liar),
		cmocka_unit_test(test_lives),
	};

	if (geteuid() != 0 || !etcd_rig_available()) {
		puts("1..0 # SKIP needs root and etcd");
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	etcd_rig_enter();
	return cmocka_run_group_tests(tests, begin, end);
}
