/* SPDX-License-Identifier: Apache-2.0 */
/* What node makes of an order for etcd, of what etcd says, and of its folders. */
#include "node/etcd_folder.h"
#include "node/etcd_wal.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/text.h"
#include "node/etcd_log.h"
#include "node/etcd_program.h"
#include "node/etcd_record.h"
#include "node/etcd_spawn.h"
#include "tests/support/etcd_home.h"
#include "tests/support/sweep.h"

/* ---- orders and words ---- */

static struct msg_etcd_order
some_order(void)
{
	struct msg_etcd_order o = {.life = 1, .run = 1};

	text_copy(o.name, sizeof(o.name), "edge-1");
	text_copy(o.token, sizeof(o.token), "4a1f");
	text_copy(o.cluster, sizeof(o.cluster),
		  "edge-1=https://10.0.0.1:9886,edge-2=https://[fd00::2]:9886");
	assert_true(addr_parse("10.0.0.1:9885", &o.client));
	assert_true(addr_parse("10.0.0.1:9886", &o.peer));
	return o;
}

static bool
holds(const struct msg_etcd_order *o)
{
	struct err err = {0};

	return etcd_spawn_order_holds(o, &err) == 0;
}

static void
test_orders(void **state)
{
	struct msg_etcd_order nothing = {0}, o = some_order();

	(void)state;
	assert_true(holds(&nothing));
	assert_true(holds(&o));
	o.cluster[3] = ' ';
	assert_false(holds(&o));
	o = some_order();
	text_copy(o.name, sizeof(o.name), "-name");
	assert_false(holds(&o));
	o = some_order();
	text_copy(o.token, sizeof(o.token), "a\nb");
	assert_false(holds(&o));
	o = some_order();
	memset(o.name, 'a', sizeof(o.name));
	assert_false(holds(&o));
	o = some_order();
	o.peer.port = 0;
	assert_false(holds(&o));
	o = some_order();
	memset(o.client.ip, 0, sizeof(o.client.ip));
	assert_false(holds(&o));
	o = some_order();
	o.cluster[0] = '\0';
	assert_false(holds(&o));
}

static bool
has_word(const struct etcd_spawn_words *w, const char *word)
{
	for (size_t i = 0; i < w->count; i++)
		if (text_equal(w->argv[i], word))
			return true;
	return false;
}

static void
test_words(void **state)
{
	static struct etcd_spawn_words w;
	struct msg_etcd_order o = some_order();
	struct addr listen;
	struct err err = {0};

	(void)state;
	assert_true(addr_parse("0.0.0.0:9885", &listen));
	assert_int_equal(etcd_spawn_words(&o, &listen, "/d/1", "/d/shown", &w, &err), 0);
	assert_string_equal(w.argv[0], "etcd");
	assert_null(w.argv[w.count]);
	assert_true(has_word(&w, "--data-dir=/d/1"));
	assert_true(has_word(&w, "--listen-client-urls=https://0.0.0.0:9885"));
	assert_true(has_word(&w, "--listen-peer-urls=https://0.0.0.0:9886"));
	assert_true(has_word(&w, "--initial-cluster-state=new"));
	assert_true(has_word(&w, "--client-cert-auth=true"));
	assert_true(has_word(&w, "--peer-client-cert-auth=true"));
	o.existing = 1;
	assert_true(addr_parse("[::]:9885", &listen));
	assert_int_equal(etcd_spawn_words(&o, &listen, "/d/1", "/d/shown", &w, &err), 0);
	assert_true(has_word(&w, "--listen-peer-urls=https://[::]:9886"));
	assert_true(has_word(&w, "--initial-cluster-state=existing"));
	/* No more than there is room for. */
	static char path[ETCD_SPAWN_TEXT_MAX];
	memset(path, 'p', sizeof(path) - 1);
	assert_int_equal(etcd_spawn_words(&o, &listen, path, path, &w, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
}

static void
test_memory(void **state)
{
	(void)state;
	assert_int_equal(etcd_spawn_memory(0), 0);
	assert_int_equal(etcd_spawn_memory(UINT64_C(1) << 30), UINT64_C(512) << 20);
	assert_int_equal(etcd_spawn_memory(UINT64_C(8) << 30), UINT64_C(2) << 30);
	assert_int_equal(etcd_spawn_memory(UINT64_C(1) << 40), UINT64_C(4) << 30);
}

/* ---- what it says ---- */

static enum err_kind
version(const char *text, char out[ETCD_PROGRAM_VERSION])
{
	struct err err = {0};

	return etcd_program_read(text, strlen(text), out, &err) == 0 ? ERR_NONE : err.kind;
}

static void
test_versions(void **state)
{
	char v[ETCD_PROGRAM_VERSION];

	(void)state;
	assert_int_equal(version("etcd Version: 3.4.23\nGit SHA: x\nGo Version: go1.19.8\n", v),
			 ERR_NONE);
	assert_string_equal(v, "3.4.23");
	assert_int_equal(version("etcd Version: 3.6.0-rc.1\nGo Version: go1.23\n", v), ERR_NONE);
	assert_string_equal(v, "3.6.0-rc.1");
	assert_int_equal(version("etcd Version: 3.3.25\n", v), ERR_UNSUPPORTED);
	assert_int_equal(version("etcd Version: 4.0.0\n", v), ERR_UNSUPPORTED);
	assert_int_equal(version("etcd Version: 3.4.1\nGo Version: go1.12.9\n", v),
			 ERR_UNSUPPORTED);
	assert_int_equal(version("hello", v), ERR_INVALID);
	assert_int_equal(version("etcd Version: three", v), ERR_INVALID);
	assert_int_equal(version("", v), ERR_INVALID);
}

static enum log_level
said(const char *line, char out[ETCD_LOG_SAID])
{
	enum log_level level;

	etcd_log_read(line, strlen(line), &level, out);
	return level;
}

static void
test_lines(void **state)
{
	char text[ETCD_LOG_SAID];

	(void)state;
	assert_int_equal(said("{\"level\":\"info\",\"msg\":\"ready\"}", text), LOG_DEBUG);
	assert_string_equal(text, "ready");
	assert_int_equal(said("{\"level\":\"warn\",\"msg\":\"slow \\\"disk\\\"\"}", text),
			 LOG_WARN);
	assert_string_equal(text, "slow \"disk\"");
	assert_int_equal(said("{\"level\":\"fatal\",\"msg\":\"discovery failed\",\"error\":"
			      "\"listen tcp: in use\"}",
			      text),
			 LOG_ERROR);
	assert_string_equal(text, "discovery failed: listen tcp: in use");
	assert_int_equal(said("panic: assertion failed", text), LOG_ERROR);
	assert_string_equal(text, "panic: assertion failed");
	assert_int_equal(said("flag provided but not defined: -max-wals", text), LOG_ERROR);
	assert_int_equal(said("goroutine 1 [running]:\x1b[0m", text), LOG_INFO);
	assert_null(strchr(text, '\x1b'));
	assert_int_equal(said("{\"level\":\"warn\",\"msg\":\"ignoring common name in gRPC-gateway "
			      "proxy request\"}",
			      text),
			 LOG_DEBUG);
	said("{\"level\":\"warn\",\"msg\":\"", text);
	said("", text);
	assert_string_equal(text, "");
}

static void
test_ruin(void **state)
{
	(void)state;
	assert_true(
		etcd_log_is_ruin("discovery failed: walpb: crc mismatch", "exited with status 1"));
	assert_true(etcd_log_is_ruin("failed to open database: invalid database",
				     "exited with status 2"));
	assert_true(etcd_log_is_ruin("fatal error: fault", "exited with status 2"));
	assert_true(etcd_log_is_ruin("panic: freepages: failed to get all reachable pages",
				     "exited with status 2"));
	/* Nobody says so: it may be a flag that this etcd does not know. */
	assert_false(etcd_log_is_ruin("", "exited with status 2"));
	assert_false(etcd_log_is_ruin("flag provided but not defined: -max-snapshots",
				      "exited with status 2"));
	assert_false(etcd_log_is_ruin("a warning", "exited with status 2"));
	assert_false(etcd_log_is_ruin("fatal error: newosproc", "exited with status 2"));
	assert_false(etcd_log_is_ruin("", "exited with status 1"));
	assert_false(etcd_log_is_ruin("", "killed by signal 9"));
	assert_false(etcd_log_is_ruin("discovery failed: listen tcp: bind: address already in use",
				      "exited with status 1"));
	assert_false(etcd_log_is_ruin("wal: failed to create: no space left on device",
				      "exited with status 2"));
	assert_false(
		etcd_log_is_ruin("fatal error: runtime: out of memory", "exited with status 2"));
}

/* ---- the pipe ---- */

static void
say(const struct etcd_log *l, const char *text)
{
	int fd = etcd_log_writer(l);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* What was said while nobody was there is read by who comes later; a line in pieces is one. */
static void
test_pipe(void **state)
{
	struct etcd_log *l, *next;
	struct err err = {0};
	uv_loop_t loop;

	(void)state;
	log_setup(&(struct log_config){.level = LOG_ERROR, .fd = -1});
	uv_loop_init(&loop);
	assert_int_equal(etcd_log_new(&loop, at, &l, &err), 0);
	int held = etcd_log_writer(l); /* as etcd holds it */
	say(l, "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"fa");
	etcd_log_drain(l);
	assert_string_equal(etcd_log_complaint(l), "first");
	say(l, "tal\",\"msg\":\"second\"}\n");
	etcd_log_drain(l);
	assert_string_equal(etcd_log_complaint(l), "second");
	/* As a full disk ends it: a panic with the same words tells less. */
	say(l,
	    "{\"level\":\"error\",\"msg\":\"failed to create WAL\",\"error\":\"no space left on "
	    "device\"}\n{\"level\":\"panic\",\"msg\":\"failed to create WAL\",\"error\":\"no space "
	    "left on device\"}\npanic: failed to create WAL\n");
	etcd_log_drain(l);
	assert_string_equal(etcd_log_complaint(l), "failed to create WAL: no space left on device");
	assert_false(etcd_log_is_ruin(etcd_log_complaint(l), "exited with status 2"));
	say(l, "panic: freepages\n");
	etcd_log_drain(l);
	assert_string_equal(etcd_log_complaint(l), "panic: freepages");
	etcd_log_forget(l);
	assert_string_equal(etcd_log_complaint(l), "");
	etcd_log_free(l);
	assert_int_equal(write(held, "panic: third\n", 13), 13);
	assert_int_equal(etcd_log_new(&loop, at, &next, &err), 0);
	etcd_log_drain(next);
	assert_string_equal(etcd_log_complaint(next), "panic: third");
	etcd_log_tick(next);
	etcd_log_free(next);
	close(held);
	etcd_log_remove(at);
	assert_int_equal(faccessat(at, "etcd.log", F_OK, 0), -1);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void
test_pipe_without_memory(void **state)
{
	uv_loop_t loop;

	(void)state;
	uv_loop_init(&loop);
	sweep_each(s)
	{
		struct etcd_log *l = NULL;
		struct err err = {0};

		int rc = etcd_log_new(&loop, at, &l, &err);
		assert_int_equal(rc, sweep_failed() ? -1 : 0);
		if (rc == 0)
			etcd_log_free(l);
		uv_run(&loop, UV_RUN_DEFAULT);
	}
	etcd_log_remove(at);
	assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- folders ---- */

static void
put(const char *path, const char *text)
{
	int fd = openat(at, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void
test_lives(void **state)
{
	char path[ETCD_FOLDER_NAME];
	struct etcd_folder f;
	struct err err = {0};
	int fd = -1;

	(void)state;
	if (geteuid() != 0)
		return;
	assert_int_equal(etcd_folder_open(at, home, 790129, &f, &err), 0);
	assert_int_equal(etcd_folder_life(&f), 0);
	assert_int_equal(etcd_folder_data(&f, 0xab, &fd, path, &err), 0);
	close(fd);
	assert_string_equal(path, "00000000000000ab");
	assert_int_equal(etcd_folder_life(&f), 0xab);
	assert_int_equal(mkdirat(at, "etcd/00000000000000ab/member", 0700), 0);
	assert_int_equal(mkdirat(at, "etcd/00000000000000ab/member/snap", 0700), 0);
	put("etcd/00000000000000ab/member/snap/db", "x");
	(void)etcd_folder_bytes(&f, 0xab);
	assert_int_equal(etcd_folder_data(&f, 0xcd, &fd, path, &err), 0);
	close(fd);
	put("etcd/else", "not etcd's");
	/* It has had its log here, and that is known when it is lost. */
	assert_false(etcd_folder_has_log(&f, 0xab));
	assert_int_equal(etcd_folder_noted(&f), 0);
	assert_int_equal(mkdirat(at, "etcd/00000000000000ab/member/wal", 0700), 0);
	assert_false(etcd_folder_has_log(&f, 0xab));
	put("etcd/00000000000000ab/member/wal/0-0.wal", "x");
	assert_true(etcd_folder_has_log(&f, 0xab));
	assert_int_equal(etcd_folder_note(&f, 0xab, &err), 0);
	assert_int_equal(etcd_folder_noted(&f), 0xab);
	assert_int_equal(etcd_folder_prune(&f, 0xcd, &err), 0);
	assert_int_equal(etcd_folder_noted(&f), 0xab);
	assert_false(etcd_folder_has_log(&f, 0xab));
	put("etcd.life", "something else");
	assert_int_equal(etcd_folder_noted(&f), 0);
	assert_int_equal(etcd_folder_note(&f, UINT64_MAX, &err), 0);
	assert_int_equal(etcd_folder_noted(&f), UINT64_MAX);
	assert_int_equal(faccessat(at, "etcd/00000000000000ab", F_OK, 0), -1);
	assert_int_equal(etcd_folder_life(&f), 0xcd);
	assert_int_equal(etcd_folder_prune(&f, 0, &err), 0);
	assert_int_equal(etcd_folder_noted(&f), 0);
	assert_int_equal(faccessat(at, "etcd.life", F_OK, 0), -1);
	assert_int_equal(etcd_folder_life(&f), 0);
	assert_int_equal(faccessat(at, "etcd/else", F_OK, 0), 0);
	etcd_folder_close(&f);
}

enum { NAMED = 80, LOG_BYTES = 4096 };

/* What etcd 3.4 leaves when it is killed before its first entry: a checksum, the member's name, a
 * snapshot of nothing. */
static void
make_log(uint8_t out[LOG_BYTES])
{
	static const uint8_t checksum[] = {4, 0, 0, 0, 0, 0, 0, 0x84, 8, 4, 0x10, 0},
			     name[] = {9, 0, 0, 0, 0, 0, 0, 0x87, 8, 1, 0x10, 7, 0x1a, 3, 8, 9, 16},
			     snapshot[] = {9, 0,    0, 0,    0, 0, 0, 0x87, 8,
					   5, 0x10, 7, 0x1a, 3, 8, 0, 16};

	memset(out, 0, LOG_BYTES);
	memcpy(out, checksum, sizeof(checksum));
	memcpy(out + 16, name, sizeof(name));
	memcpy(out + 16 + 24, snapshot, sizeof(snapshot));
}

static void
test_a_log_without_entries(void **state)
{
	uint8_t log[LOG_BYTES];

	(void)state;
	make_log(log);
	assert_true(etcd_wal_is_blank(log, sizeof(log)));
	/* Cut in the middle of anything, and where nobody can know what follows. */
	for (size_t bytes = 0; bytes < 64 + 8; bytes++)
		assert_false(etcd_wal_is_blank(log, bytes));
	assert_true(etcd_wal_is_blank(log, 64 + 8));
	/* Anything behind the end, and any other record. */
	log[LOG_BYTES - 1] = 1;
	assert_false(etcd_wal_is_blank(log, sizeof(log)));
	for (unsigned type = 0; type < 256; type++) {
		make_log(log);
		log[16 + 24 + 9] = (uint8_t)type;
		assert_int_equal(etcd_wal_is_blank(log, sizeof(log)),
				 type == 1 || type == 4 || type == 5);
	}
	/* Lengths that do not hold. */
	for (unsigned i = 1; i < 7; i++) {
		make_log(log);
		log[16 + i] = 0xff;
		assert_false(etcd_wal_is_blank(log, sizeof(log)));
	}
	memset(log, 0, sizeof(log));
	assert_false(etcd_wal_is_blank(log, sizeof(log)));
}

static void
put_log(const char *path)
{
	uint8_t log[LOG_BYTES];
	int fd = openat(at, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	make_log(log);
	assert_int_equal(write(fd, log, sizeof(log)), sizeof(log));
	close(fd);
}

static void
test_nothing_was_written(void **state)
{
	static const char first[] =
		"etcd/00000000000000ab/member/wal/0000000000000000-0000000000000000.wal";
	char path[ETCD_FOLDER_NAME];
	struct etcd_folder f;
	struct err err = {0};
	int fd;

	(void)state;
	if (geteuid() != 0)
		return;
	assert_int_equal(etcd_folder_open(at, home, 790129, &f, &err), 0);
	assert_false(etcd_folder_is_blank(&f, 0xab));
	assert_int_equal(etcd_folder_data(&f, 0xab, &fd, path, &err), 0);
	close(fd);
	assert_int_equal(mkdirat(at, "etcd/00000000000000ab/member", 0700), 0);
	assert_int_equal(mkdirat(at, "etcd/00000000000000ab/member/wal", 0700), 0);
	assert_false(etcd_folder_is_blank(&f, 0xab));
	put(first, "x");
	assert_false(etcd_folder_is_blank(&f, 0xab));
	put_log(first);
	assert_true(etcd_folder_is_blank(&f, 0xab));
	/* As long as etcd makes them; with something far behind a hole. */
	fd = openat(at, first, O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 64 << 20), 0);
	assert_true(etcd_folder_is_blank(&f, 0xab));
	assert_int_equal(pwrite(fd, "x", 1, 4 * ETCD_WAL_LOOK - 1), 1);
	assert_false(etcd_folder_is_blank(&f, 0xab));
	assert_int_equal(pwrite(fd, "", 1, 4 * ETCD_WAL_LOOK - 1), 1);
	assert_true(etcd_folder_is_blank(&f, 0xab));
	assert_int_equal(pwrite(fd, "x", 1, (64 << 20) - 1), 1);
	assert_false(etcd_folder_is_blank(&f, 0xab));
	assert_int_equal(ftruncate(fd, (off_t)ETCD_WAL_BYTES_MAX + 1), 0);
	assert_false(etcd_folder_is_blank(&f, 0xab));
	close(fd);
	put_log("etcd/00000000000000ab/member/wal/0000000000000001-0000000000000009.wal");
	assert_false(etcd_folder_is_blank(&f, 0xab));
	assert_int_equal(etcd_folder_note(&f, 0xab, &err), 0);
	assert_int_equal(etcd_folder_empty(&f, 0xab, &err), 0);
	assert_int_equal(etcd_folder_noted(&f), 0);
	assert_int_equal(faccessat(at, "etcd/00000000000000ab", F_OK, 0), -1);
	/* Again: nothing is there. */
	assert_int_equal(etcd_folder_empty(&f, 0xab, &err), 0);
	etcd_folder_close(&f);
}

/* Only what the scheduler's user wrote itself is shown. */
static void
test_shown(void **state)
{
	static const char *const names[] = {"clients.crt", "peers.crt", "server.key",
					    "server.crt",  "peer.crt",  "revoked.crl"};
	struct etcd_folder f;
	struct err err = {0};
	struct stat st;
	char path[128];

	(void)state;
	if (geteuid() != 0)
		return;
	assert_int_equal(etcd_folder_open(at, home, 790129, &f, &err), 0);
	assert_int_equal(etcd_folder_show(&f, 0, &err), -1);
	err_clear(&err);
	int made = fd_make_dirs(at, "state/cluster/etcd", 0700);
	close(made);
	for (size_t i = 0; i < 6; i++) {
		text_format(path, sizeof(path), "state/cluster/etcd/%s", names[i]);
		put(path, names[i]);
	}
	assert_int_equal(etcd_folder_show(&f, 0, &err), 0);
	assert_int_equal(fstatat(at, "etcd/shown/server.key", &st, 0), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_gid, 790129);
	assert_int_equal(st.st_mode & 07777, 0640);
	/* Of another user, reached by a link, linked twice: refused, the old one stays. */
	assert_int_equal(etcd_folder_show(&f, 12345, &err), -1);
	assert_int_equal(err.kind, ERR_DENIED);
	err_clear(&err);
	assert_int_equal(unlinkat(at, "state/cluster/etcd/server.crt", 0), 0);
	assert_int_equal(symlinkat("/etc/shadow", at, "state/cluster/etcd/server.crt"), 0);
	assert_int_equal(etcd_folder_show(&f, 0, &err), -1);
	err_clear(&err);
	assert_int_equal(unlinkat(at, "state/cluster/etcd/server.crt", 0), 0);
	assert_int_equal(
		linkat(at, "state/cluster/etcd/peer.crt", at, "state/cluster/etcd/server.crt", 0),
		0);
	assert_int_equal(etcd_folder_show(&f, 0, &err), -1);
	assert_int_equal(err.kind, ERR_DENIED);
	err_clear(&err);
	assert_int_equal(unlinkat(at, "state/cluster/etcd/server.crt", 0), 0);
	assert_int_equal(mkfifoat(at, "state/cluster/etcd/server.crt", 0600), 0);
	assert_int_equal(etcd_folder_show(&f, 0, &err), -1);
	assert_int_equal(faccessat(at, "etcd/shown/server.crt", F_OK, 0), 0);
	etcd_folder_close(&f);
}

/* ---- records ---- */

static void
test_records(void **state)
{
	struct etcd_record r = {.life = 1, .pid = (uint32_t)getpid()}, found;
	struct err err = {0};
	int fd;

	(void)state;
	r.begun = etcd_record_begun(getpid());
	assert_int_not_equal(r.begun, 0);
	/* This very process, as if it was etcd: no user of this number has others. */
	if (geteuid() != 0)
		return;
	assert_false(etcd_record_find(at, 790129, &found, &fd));
	assert_int_equal(etcd_record_write(at, &r, &err), 0);
	assert_false(etcd_record_find(at, 790129, &found, &fd)); /* another user's */
	put("etcd.process", "short");
	assert_false(etcd_record_find(at, 790129, &found, &fd));
	etcd_record_remove(at);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_ruin),
		cmocka_unit_test_setup_teardown(test_pipe, etcd_home_setup, etcd_home_teardown),
		cmocka_unit_test_setup_teardown(test_pipe_without_memory, etcd_home_setup,
						etcd_home_teardown),
		cmocka_unit_test_setup_teardown(test_lives, etcd_home_setup, etcd_home_teardown),
		cmocka_unit_test_setup_teardown(test_a_log_without_entries, etcd_home_setup,
						etcd_home_teardown),
		cmocka_unit_test_setup_teardown(test_nothing_was_written, etcd_home_setup,
						etcd_home_teardown),
		cmocka_unit_test_setup_teardown(test_shown, etcd_home_setup, etcd_home_teardown),
		cmocka_unit_test_setup_teardown(test_records, etcd_home_setup, etcd_home_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
