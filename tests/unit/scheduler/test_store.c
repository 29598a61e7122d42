/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/sqlite.h"
#include "scheduler/store_sqlite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "scheduler/store_schema.h"
#include "tests/support/full_disk.h"
#include "tests/support/store_contract.h"
#include "tests/support/store_folder.h"
#include "tests/support/sweep.h"

static int
try_open(struct folder *f, uint64_t bytes_max, struct store **out, struct err *err)
{
	struct store_sqlite_options options = {
		.dirfd = f->fd,
		.name = "a.db",
		.bytes_max = bytes_max,
		.busy_ms = 0,
	};

	return store_sqlite_open(&options, out, err);
}

static struct store *
open_store(struct folder *f)
{
	struct err err = {0};
	struct store *s = NULL;

	if (try_open(f, 0, &s, &err) < 0) {
		err_print(&err, "test", stderr);
		fail();
	}
	return s;
}

static void
commit(struct store *s)
{
	struct err err = {0};

	if (store_commit(s, &err) < 0) {
		err_print(&err, "test", stderr);
		fail();
	}
}

static struct store *
contract_open(void **state)
{
	return open_store(*state);
}

static struct store *
contract_reopen(void **state, struct store *s)
{
	store_free(s);
	return open_store(*state);
}

/* It waits for the disk only. */
static void
contract_wait(void **state, const bool *over)
{
	(void)state;
	assert_true(*over);
}

static uint64_t
fill(struct store *s, struct store_deployment *d, struct store_replica *p)
{
	struct store_service v = {.name = "web", .desired = 1};
	struct store_revision r = {.revision = 1, .result = STORE_RESULT_GOOD};
	struct store_route route = {.endpoint = "http"};
	struct store_pin pin = {.service = "web", .image = "a"};
	struct err err = {0};

	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, d);
	v.deployment = r.deployment = d->id;
	contract_put(s, STORE_SERVICE, &v);
	contract_put(s, STORE_REVISION, &r);
	assert_int_equal(store_put_blob(s, STORE_DOCUMENT, r.id, "text", 4, &err), 0);
	pin.revision = r.id;
	contract_put(s, STORE_PIN, &pin);
	route.service = p->service = v.id;
	contract_put(s, STORE_ROUTE, &route);
	contract_put(s, STORE_REPLICA, p);
	assert_int_equal(store_put_blob(s, STORE_PLAN, p->id, "plan", 4, &err), 0);
	commit(s);
	return r.id;
}

/* A file that may not grow is what a full disk looks like to SQLite. */
static void
test_full_disk(void **state)
{
	struct store *s = NULL;
	struct err err = {0};
	char *big = calloc(1, 1 << 20);
	size_t before;

	assert_non_null(big);
	assert_int_equal(try_open(*state, 512 * 1024, &s, &err), 0);
	struct store_deployment d = {.name = "shop"}, e = {.name = "other"};
	struct store_replica p = {.index = 1};
	fill(s, &d, &p);
	before = contract_count(s, STORE_DEPLOYMENT, 0, 0);
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &e);
	assert_int_equal(store_put_blob(s, STORE_PLAN, p.id, big, 1 << 20, &err), -1);
	assert_int_equal(err.kind, ERR_NO_SPACE);
	assert_true(strlen(err.fix) > 0);
	store_abort(s);
	assert_int_equal(contract_count(s, STORE_DEPLOYMENT, 0, 0), before);
	/* Smaller things go on. */
	d.revision = 5;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	commit(s);
	store_free(s);
	free(big);
}

/* A file that could not be written is tried again once a second, when somebody asks. */
static void
until_writable(struct store *s)
{
	struct store_status status = {0};

	for (unsigned looks = 0; looks < 6000 && !status.writable; looks++) {
		usleep(10000);
		store_status(s, &status);
	}
	assert_true(status.writable);
}

/* A disk without any room, for writes into the file, too; it is over when there is room, whether
 * anybody changes something or not. */
static void
test_no_room(void **state)
{
	struct store *s = open_store(*state);
	struct store_deployment d = {.name = "shop"};
	struct store_status status;
	struct err err = {0};
	struct rlimit was;

	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	disk_full(&was);
	assert_int_equal(store_commit(s, &err), -1);
	assert_int_equal(err.kind, ERR_NO_SPACE);
	assert_non_null(strstr(err.what, "no space left on state"));
	assert_int_equal(contract_count(s, STORE_DEPLOYMENT, 0, 0), 0);
	store_status(s, &status);
	assert_true(status.unwritten && !status.writable);
	assert_int_equal(status.why.kind, ERR_NO_SPACE);
	disk_has_room(&was);
	until_writable(s);
	d.id = d.version = 0;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	commit(s);
	store_free(s);
}

/* What was removed while it is open takes nothing that would be lost; it can be read. */
static void
test_removed(void **state)
{
	struct folder *f = *state;
	struct store *s = open_store(f);
	struct store_deployment d = {.name = "shop"};
	struct store_status status;
	struct err err = {0};

	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	commit(s);
	assert_int_equal(renameat(f->fd, "a.db", f->fd, "b.db"), 0);
	assert_int_equal(store_begin(s, &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	assert_non_null(strstr(err.what, "the store's file is gone"));
	assert_true(strstr(err.fix, "zlayer backup") && err.whys == 1);
	assert_int_equal(contract_count(s, STORE_DEPLOYMENT, 0, 0), 1);
	/* Another file of that name is not this one either. */
	int fd = openat(f->fd, "a.db", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(store_begin(s, &err), -1);
	store_status(s, &status);
	assert_true(status.unwritten);
	assert_int_equal(renameat(f->fd, "b.db", f->fd, "a.db"), 0);
	until_writable(s);
	d.revision = 1;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	commit(s);
	store_free(s);
}

/* Somebody who may only read it is told that, and not that its file system is a wrong one. */
static void
test_read_only(void **state)
{
	struct folder *f = *state;
	struct store *s = open_store(f);
	struct err err = {0};

	store_free(s);
	assert_int_equal(fchmodat(f->fd, "a.db", 0400, 0), 0);
	assert_int_equal(chmod(f->path, 0555), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* Root may write what nobody may. */
		if (geteuid() == 0 && (chown(f->path, 65534, 65534) < 0 ||
				       fchownat(f->fd, "a.db", 65534, 65534, 0) < 0 ||
				       setgid(65534) < 0 || setuid(65534) < 0))
			_exit(2);
		_exit(try_open(f, 0, &s, &err) == 0     ? 3
		      : err.kind != ERR_DENIED          ? 4
		      : !strstr(err.what, "be written") ? 5
		      : err.whys == 0 || !err.fix[0]    ? 6
							: 0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod(f->path, 0755), 0);
	assert_int_equal(status, 0);
}

static void
overwrite(struct folder *f, off_t at, size_t bytes)
{
	int fd = openat(f->fd, "a.db", O_WRONLY | O_CLOEXEC);
	char junk[4096];

	memset(junk, 0x5a, sizeof(junk));
	assert_true(fd >= 0);
	while (bytes > 0) {
		size_t n = bytes < sizeof(junk) ? bytes : sizeof(junk);

		assert_int_equal(pwrite(fd, junk, n, at), n);
		at += (off_t)n;
		bytes -= n;
	}
	close(fd);
}

static void
test_damage_is_told(void **state)
{
	struct store *s = open_store(*state);
	struct store_deployment d = {.name = "shop"};
	struct store_replica p = {.index = 1};
	struct err err = {0};

	fill(s, &d, &p);
	store_free(s);
	overwrite(*state, 4096 * 2, 4096 * 6);
	assert_int_equal(try_open(*state, 0, &s, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	overwrite(*state, 0, 4096);
	assert_int_equal(try_open(*state, 0, &s, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_true(strlen(err.fix) > 0);
}

static void
test_one_holder(void **state)
{
	struct store *s = open_store(*state), *other = NULL;
	struct err err = {0};

	contract_begin(s);
	struct store_deployment d = {.name = "shop"};
	contract_put(s, STORE_DEPLOYMENT, &d);
	commit(s);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int rc = try_open(*state, 0, &other, &err);

		_exit(rc < 0 && err.kind == ERR_CONFLICT ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	store_free(s);
}

/* A writer killed at any moment: its successor finds whole transactions only. */
static void
test_killed_writer(void **state)
{
	for (int round = 0; round < 10; round++) {
		struct err err = {0};
		int ready[2];
		char byte;

		assert_int_equal(pipe(ready), 0);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			struct store *s = NULL;

			if (try_open(*state, 0, &s, &err) < 0)
				_exit(1);
			for (uint64_t i = 1;; i++) {
				struct store_event e = {0};

				if (store_begin(s, &err) < 0)
					_exit(1);
				for (uint64_t k = 0; k < 3; k++) {
					e = (struct store_event){.id = ((uint64_t)round << 32) +
								       i * 3 + k};
					if (store_put(s, STORE_EVENT, &e, &err) < 0)
						_exit(1);
				}
				if (store_commit(s, &err) < 0)
					_exit(1);
				if (write(ready[1], "x", 1) != 1)
					_exit(1);
			}
		}
		for (int i = 0; i <= round; i++)
			assert_int_equal(read(ready[0], &byte, 1), 1);
		assert_int_equal(kill(pid, SIGKILL), 0);
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		close(ready[0]);
		close(ready[1]);
		struct store *s = open_store(*state);
		size_t n = contract_count(s, STORE_EVENT, (uint64_t)round << 32, 0);
		assert_true(n >= 3 * (size_t)(round + 1));
		assert_int_equal(n % 3, 0);
		store_free(s);
	}
}

static void
test_out_of_memory(void **state)
{
	struct store *s = open_store(*state);
	struct store_deployment d = {.name = "shop"};

	sweep_each(sweep)
	{
		struct store_deployment copy = d;
		struct err err = {0};
		int rc = store_begin(s, &err);

		if (rc == 0) {
			copy.revision++;
			rc = store_put(s, STORE_DEPLOYMENT, &copy, &err);
			if (rc == 0)
				rc = store_commit(s, &err);
			else
				store_abort(s);
		}
		if (rc == 0)
			d = copy;
		else
			assert_true(sweep_failed());
		/* What SQLite keeps is not lost: it is given back below. */
		sweep.used_bytes = mem_used_all();
	}
	assert_int_equal(contract_count(s, STORE_DEPLOYMENT, 0, 0), 1);
	store_free(s);
}

static void
test_newer_schema(void **state)
{
	struct store *s = open_store(*state);
	struct err err = {0};
	struct folder *f = *state;
	char command[256];

	store_free(s);
	snprintf(command, sizeof(command), "sqlite3 %s/a.db 'PRAGMA user_version=99'", f->path);
	if (system("command -v sqlite3 >/dev/null") != 0)
		return;
	assert_int_equal(system(command), 0);
	assert_int_equal(try_open(f, 0, &s, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

int
main(void)
{
	struct err err = {0};

	const struct CMUnitTest tests[] = {
		CONTRACT_TESTS(store_folder_setup, store_folder_teardown),
		STORE_FOLDER_TEST(test_full_disk),
		STORE_FOLDER_TEST(test_no_room),
		STORE_FOLDER_TEST(test_removed),
		STORE_FOLDER_TEST(test_read_only),
		STORE_FOLDER_TEST(test_damage_is_told),
		STORE_FOLDER_TEST(test_one_holder),
		STORE_FOLDER_TEST(test_killed_writer),
		STORE_FOLDER_TEST(test_out_of_memory),
		STORE_FOLDER_TEST(test_newer_schema),
	};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP no SQLite here: %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
