/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image's way through three processes, with this test as node: api gives an archive to runtime,
 * runtime to unpack (confined as in the product, but for its user namespace), and back. unpack is
 * killed in the middle once.
 *
 *   api --IMAGE_IMPORT--> runtime --UNPACK--> unpack --> images/
 */
#include "runtime/image_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/tree.h"
#include "runtime/unpack.h"
#include "tests/support/sides.h"

static char top[] = "image-ops-XXXXXX";
static int topfd = -1;
static int images = -1;

/* ---- runtime, as far as images go ---- */

static struct image_ops *ops;

static void
runtime_layout(const struct leash_welcome *w, struct ring_layout *layout)
{
	(void)w;
	layout->tables[0] = (struct ring_table_layout){MSG_TABLE_IMAGE, 1, sizeof(struct msg_image),
						       IMAGE_OPS_ROWS_MAX};
	layout->tables_count = 1;
	layout->request_slots = MSG_SLOTS;
	layout->request_body_bytes = RING_BODY_MAX;
	layout->answers[0] = (struct ring_answers_layout){ROLE_API, 1, 64, RING_BODY_MAX};
	layout->answers_count = 1;
	layout->metric_series = 16;
}

static int
runtime_start(struct station *st, struct err *err)
{
	struct image_store *store;

	if (image_store_open(station_folder(st, 0), &store, err) < 0)
		return -1;
	return image_ops_new(st, store, &ops, err);
}

static void
runtime_request(struct station *st, const struct station_request *r, const void *body, size_t bytes,
		int *fds, size_t count)
{
	(void)st;
	if (!image_ops_request(ops, r, body, bytes, fds, count))
		_exit(60);
}

static const struct station_role runtime_role = {
	.role = ROLE_RUNTIME,
	.layout = runtime_layout,
	.start = runtime_start,
	.request = runtime_request,
};

/* ---- api: a list of steps ---- */

static const struct step {
	uint16_t op;
	const char *archive;
	const char *name;
	int status;       /* expected */
	const char *text; /* in the answer's name, or in the error */
	unsigned layers_new;
	unsigned rows; /* of the table afterwards */
} steps[] = {
	{MSG_OP_IMAGE_IMPORT, "big.tar", "big", 0, "docker.io/library/big:latest", 2, 1},
	{MSG_OP_IMAGE_IMPORT, "good.tar", "", 0, "docker.io/shop/web:1", 1, 2},
	{MSG_OP_IMAGE_IMPORT, "good.tar", "shop.test/web:2", 0, "shop.test/web:2", 0, 3},
	{MSG_OP_IMAGE_IMPORT, "bad_config.tar", "x", ERR_CORRUPT, "damaged", 0, 3},
	{MSG_OP_IMAGE_IMPORT, "evil_symlink.tar", "x", ERR_CORRUPT, "refused", 0, 3},
	{MSG_OP_IMAGE_IMPORT, "good.tar", "No Name", ERR_INVALID, "reference", 0, 3},
	{MSG_OP_IMAGE_IMPORT, "other_machine.tar", "x", ERR_UNSUPPORTED, "another CPU", 0, 3},
	{MSG_OP_IMAGE_REMOVE, NULL, "shop/web:1", 0, "docker.io/shop/web:1", 0, 2},
	{MSG_OP_IMAGE_REMOVE, NULL, "shop/web:1", ERR_NOT_FOUND, "not on this node", 0, 2},
	{MSG_OP_IMAGE_REMOVE, NULL, "big", 0, "docker.io/library/big:latest", 0, 1},
};
enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

static size_t step;
static struct station *api_st;
static bool answered_step;
static uint64_t keys[16]; /* of the rows that are there */
static size_t rows;

static void api_next(void);

static void
expect(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "step %zu: %s\n", step, what);
		_exit(70);
	}
}

static void
check_rows(void)
{
	if (!answered_step || rows != steps[step].rows)
		return;
	answered_step = false;
	if (++step == STEPS)
		station_leave(api_st, 0);
	else
		api_next();
}

static void
answered(void *arg, int status, const struct err *err, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	const struct step *s = &steps[step];
	struct msg_imported imported;

	(void)arg;
	(void)fds;
	(void)count;
	if (status != s->status)
		err_print(err, "answer", stderr);
	expect(status == s->status, "status");
	if (status) {
		expect(strstr(err->what, s->text) != NULL, err->what);
	} else {
		expect(bytes == sizeof(imported), "body");
		memcpy(&imported, body, sizeof(imported));
		expect(text_equal(imported.name, s->text), imported.name);
		expect(imported.layers_new == s->layers_new, "new layers");
	}
	answered_step = true;
	check_rows();
}

static void
api_next(void)
{
	struct msg_import body = {0};
	struct err err = {0};
	char path[256];
	int fd = -1;

	text_copy(body.name, sizeof(body.name), steps[step].name);
	if (steps[step].archive) {
		snprintf(path, sizeof(path), "made/%s", steps[step].archive);
		fd = openat(topfd, path, O_RDONLY | O_CLOEXEC);
		expect(fd >= 0, "archive");
	}
	expect(station_ask(api_st, ROLE_RUNTIME, 0, steps[step].op, &body, sizeof(body), &fd,
			   fd >= 0, 60000, answered, NULL, &err) == 0,
	       "ask");
	fd_close(&fd);
}

static void
api_layout(const struct leash_welcome *w, struct ring_layout *layout)
{
	(void)w;
	layout->request_slots = 64;
	layout->request_body_bytes = RING_BODY_MAX;
	layout->metric_series = 16;
}

static int
api_start(struct station *st, struct err *err)
{
	(void)err;
	api_st = st;
	api_next();
	return 0;
}

static void
row_changed(void *arg, uint64_t key, const void *row)
{
	const struct msg_image *image = row;
	size_t i = 0;

	(void)arg;
	while (i < rows && keys[i] != key)
		i++;
	if (image) {
		expect(MSG_OK(image->name) && image->layers == 2 && image->bytes > 0, "row");
		keys[i] = key;
		rows += i == rows;
	} else if (i < rows) {
		keys[i] = keys[--rows];
	}
}

static void
api_wake(struct station *st, struct ring_reader *reader)
{
	(void)st;
	ring_table_sync(reader, MSG_TABLE_IMAGE, sizeof(struct msg_image), row_changed, NULL);
	check_rows();
}

static const struct station_role api_role = {
	.role = ROLE_API,
	.layout = api_layout,
	.start = api_start,
	.wake = api_wake,
};

/* ---- the hub ---- */

enum { API, RUNTIME, UNPACK, SIDES };

static bool
is_unpacking(void)
{
	int fd = openat(images, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	bool there = fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink > 2;

	fd_close(&fd);
	return there;
}

static void
test_import_and_remove(void **state)
{
	struct side sides[SIDES] = {
		[API] = {.role = &api_role, .leash = -1, .segment = -1},
		[RUNTIME] = {.role = &runtime_role,
			     .caps = 1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_FOWNER,
			     .leash = -1,
			     .segment = -1},
		[UNPACK] = {.role = &unpack_role,
			    .caps = 1ULL << CAP_CHOWN | 1ULL << CAP_DAC_OVERRIDE |
				    1ULL << CAP_FOWNER | 1ULL << CAP_FSETID | 1ULL << CAP_SETFCAP,
			    .landlock = true,
			    .leash = -1,
			    .segment = -1},
	};
	int status = -1;
	bool killed = false;

	(void)state;
	for (size_t i = 0; i < SIDES; i++)
		sides[i].folder = images;
	for (size_t i = SIDES; i > 0; i--)
		sides_start(sides, SIDES, &sides[i - 1]);
	for (uint64_t end = world_mono_ns() + UINT64_C(60000000000); world_mono_ns() < end;) {
		struct pollfd p[SIDES];

		for (size_t i = 0; i < SIDES; i++)
			p[i] = (struct pollfd){.fd = sides[i].leash, .events = POLLIN};
		poll(p, SIDES, killed ? 100 : 1);
		for (size_t i = 0; i < SIDES; i++) {
			if (p[i].revents & POLLIN)
				sides_message(sides, SIDES, &sides[i]);
		}
		if (!killed && is_unpacking()) {
			killed = true;
			kill(sides[UNPACK].pid, SIGKILL);
		}
		if (waitpid(sides[API].pid, &status, WNOHANG) == sides[API].pid)
			break;
		if (waitpid(sides[UNPACK].pid, NULL, WNOHANG) == sides[UNPACK].pid)
			sides_start(sides, SIDES, &sides[UNPACK]);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(sides[UNPACK].generation, killed ? 2 : 1);
	for (size_t i = RUNTIME; i < SIDES; i++)
		fd_close(&sides[i].leash);
	for (size_t i = RUNTIME; i < SIDES; i++) {
		assert_int_equal(waitpid(sides[i].pid, &status, 0), sides[i].pid);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	for (size_t i = 0; i < SIDES; i++) {
		fd_close(&sides[i].leash);
		fd_close(&sides[i].segment);
	}
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_import_and_remove)};
	char line[600];

	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root to change users\n");
		return 0;
	}
	if (argc != 2 || !mkdtemp(top))
		return 1;
	chmod(top, 0755);
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mkdirat(topfd, "made", 0755);
	mkdirat(topfd, "images", 0700);
	if (fchownat(topfd, "images", 61000 + ROLE_UNPACK, 61000 + ROLE_UNPACK, 0) < 0)
		return 1;
	images = openat(topfd, "images", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(line, sizeof(line), "/usr/bin/python3 '%s' %s/made", argv[1], top);
	int rc = system(line) ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
	tree_empty(topfd);
	fd_close(&images);
	fd_close(&topfd);
	rmdir(top);
	return rc;
}
