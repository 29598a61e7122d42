/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/backup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "scheduler/restore.h"
#include "scheduler/sqlite.h"
#include "scheduler/store_row.h"
#include "scheduler/store_serve.h"
#include "scheduler/store_sqlite.h"
#include "tests/support/backup_craft.h"
#include "tests/support/store_folder.h"
#include "tests/support/sweep.h"

enum { FILE_BYTES = 64 << 20 };

static const char pem[] = "-----BEGIN PRIVATE KEY-----\n";

/* ---- stores ---- */

static void
put(struct store *s, enum store_kind kind, void *row)
{
	struct err err = {0};

	if (store_put(s, kind, row, &err) < 0) {
		err_print(&err, "put", stderr);
		fail();
	}
}

/* One of each kind, and documents of several lengths. */
static void
fill(struct store *s, const char *name, size_t document_bytes)
{
	struct store_deployment d = {.revision = 2, .target = 2, .newest = 2};
	struct store_service v = {.name = "web", .desired = 3, .wanted = 3};
	struct store_revision r = {.revision = 1, .result = 2}, r2 = {.revision = 2, .copy_of = 1};
	struct store_pin pin = {.service = "web", .image = "test:1", .image_digest = "sha256:1"};
	struct store_operation o = {.kind = 1, .state = 2, .revision = 2};
	struct store_route route = {.endpoint = "https"};
	struct store_cron cron = {.schedule = "0 * * * * * *", .mark_s = 5};
	struct store_firing firing = {.at_s = 60, .state = 2, .owner = 3, .replica = 9};
	struct store_node node = {.node = 1, .name = "edge-1"};
	struct store_ticket ticket = {.ticket = 77, .uses_left = 1};
	struct store_cluster cluster = {.admission = 1, .writer = 1};
	char *text = calloc(1, document_bytes + 1);
	struct err err = {0};

	assert_non_null(text);
	for (size_t i = 0; i < document_bytes; i++)
		text[i] = (char)('a' + i % 26);
	strcpy(d.name, name);
	strcpy(o.deployment_name, name);
	node.sign_public[0] = (uint8_t)name[0];
	node.node = (uint8_t)name[0];
	ticket.ticket = node.node;
	assert_int_equal(store_begin(s, &err), 0);
	put(s, STORE_DEPLOYMENT, &d);
	v.deployment = r.deployment = r2.deployment = o.deployment = d.id;
	put(s, STORE_SERVICE, &v);
	put(s, STORE_REVISION, &r);
	put(s, STORE_REVISION, &r2);
	assert_int_equal(store_put_blob(s, STORE_DOCUMENT, r.id, text, document_bytes, &err), 0);
	assert_int_equal(store_put_blob(s, STORE_DOCUMENT, r2.id, "two", 3, &err), 0);
	pin.revision = r2.id;
	put(s, STORE_PIN, &pin);
	route.service = cron.service = firing.service = o.service = v.id;
	put(s, STORE_OPERATION, &o);
	put(s, STORE_ROUTE, &route);
	put(s, STORE_CRON, &cron);
	put(s, STORE_FIRING, &firing);
	put(s, STORE_NODE, &node);
	put(s, STORE_TICKET, &ticket);
	put(s, STORE_CLUSTER, &cluster);
	d.operation = o.id;
	put(s, STORE_DEPLOYMENT, &d);
	assert_int_equal(store_commit(s, &err), 0);
	free(text);
}

/* ---- files ---- */

static int
to_buf(void *arg, const void *data, size_t bytes, struct err *err)
{
	buf_put(arg, data, bytes);
	return buf_ok(arg) ? 0 : err_set(err, ERR_NO_MEMORY, "no memory");
}

static int
try_write(struct store *s, bool keys, struct buf *out, struct err *err)
{
	struct backup_head head = {
		.version = "0.1.0",
		.node = "edge-1",
		.created_wall_ns = 5,
	};
	int64_t revision;

	buf_init(out, MEM_BASE, FILE_BYTES);
	if (store_copy_read(s, head.store, &head.entry, &revision, err) < 0)
		return -1;
	return backup_write(&head, s, keys ? pem : NULL, keys ? strlen(pem) : 0, to_buf, out, err);
}

static void
write_file(struct store *s, bool keys, struct buf *out)
{
	struct err err = {0};

	if (try_write(s, keys, out, &err) < 0) {
		err_print(&err, "write", stderr);
		fail();
	}
}

static int
read_file(const void *data, size_t bytes, size_t slice, struct err *err)
{
	static const struct backup_read_calls none;
	const uint8_t *at = data;
	struct backup_read *r;

	if (backup_read_new(&none, &r, err) < 0)
		return -1;
	int rc = 0;
	for (size_t i = 0; i < bytes && rc == 0; i += slice)
		rc = backup_read_add(r, at + i, bytes - i < slice ? bytes - i : slice, err);
	if (rc == 0)
		rc = backup_read_end(r, err);
	backup_read_free(r);
	return rc;
}

static int
as_fd(const struct buf *b)
{
	int fd = fd_memfd_sealed("backup", b->data, b->length);

	assert_true(fd >= 0);
	return fd;
}

/* ---- what is wanted, as one digest ---- */

static int
add_wanted(void *arg, const struct store_change *change, struct err *err)
{
	const struct store_key *key = &change->key;

	(void)err;
	if (key->blob || (key->kind != STORE_NODE && key->kind != STORE_TICKET &&
			  key->kind != STORE_CLUSTER && key->kind != STORE_FIRING))
		store_digest_add(arg, key, change->data, change->bytes);
	return 0;
}

static void
sum_wanted(struct store *s, struct store_digest *out)
{
	struct err err = {0};

	memset(out, 0, sizeof(*out));
	assert_int_equal(store_copy_each(s, add_wanted, out, &err), 0);
}

/* ---- there and back ---- */

static void
test_there_and_back(void **state)
{
	static const size_t lengths[] = {0, 7, STORE_CHUNK_BYTES, 2 * STORE_CHUNK_BYTES + 1};
	struct store_digest before, after;
	struct backup_scan report;
	struct err err = {0};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct store *a = store_folder_open(state, "a.db"),
			     *b = store_folder_open(state, "b.db");
		struct buf file;

		fill(a, "shop", lengths[i]);
		fill(a, "blog", 9);
		fill(b, "other", 9);
		write_file(a, false, &file);
		assert_int_equal(read_file(file.data, file.length, 1 + i * 1000, &err), 0);
		int fd = as_fd(&file);
		assert_int_equal(restore_check(fd, &report, &err), 0);
		assert_string_equal(report.head.node, "edge-1");
		assert_int_equal(report.rows[STORE_DEPLOYMENT], 2);
		assert_int_equal(report.rows[STORE_REVISION], 4);
		assert_int_equal(report.bytes, file.length);
		assert_int_equal(store_begin(b, &err), 0);
		assert_int_equal(restore_put(fd, b, 0, &err), 0);
		assert_int_equal(store_commit(b, &err), 0);
		sum_wanted(a, &before);
		sum_wanted(b, &after);
		assert_memory_equal(&before, &after, sizeof(before));
		/* Who is in the cluster is not in it. */
		struct store_node node;
		assert_int_equal(store_get(b, STORE_NODE, 1, &node, &err), 0);
		assert_int_equal(node.node, 'o');
		close(fd);
		buf_fini(&file);
		store_free(a);
		store_free(b);
		folder_remove_store(*state, "a.db");
		folder_remove_store(*state, "b.db");
	}
}

struct found {
	struct store_deployment d[4];
	struct store_service v[4];
	struct store_operation o[4];
	struct store_firing f[4];
	size_t ds, vs, os, fs;
};

static void
keep_deployment(void *arg, const void *row)
{
	struct found *f = arg;

	f->d[f->ds++] = *(const struct store_deployment *)row;
}

static void
keep_service(void *arg, const void *row)
{
	struct found *f = arg;

	f->v[f->vs++] = *(const struct store_service *)row;
}

static void
keep_operation(void *arg, const void *row)
{
	struct found *f = arg;

	f->o[f->os++] = *(const struct store_operation *)row;
}

static void
keep_firing(void *arg, const void *row)
{
	struct found *f = arg;

	f->f[f->fs++] = *(const struct store_firing *)row;
}

static void
done(void *arg, const struct err *err)
{
	if (err)
		err_print(err, "submit", stderr);
	*(bool *)arg = !err;
}

/* Where ids may have been given to others since, rows come under new ones, and find each other. */
static void
test_into_a_shared_store(void **state)
{
	struct store *a = store_folder_open(state, "a.db"),
		     *rows = store_folder_open(state, "b.db"), *b;
	struct store_serve *serve;
	struct found f = {0};
	struct err err = {0};
	struct buf file, text;
	bool kept = false;

	fill(a, "shop", 600 << 10);
	fill(a, "blog", 9);
	write_file(a, false, &file);
	fill(rows, "other", 9);
	assert_int_equal(store_serve_open(rows, &b, &serve, &err), 0);
	int fd = as_fd(&file);
	assert_int_equal(store_begin(b, &err), 0);
	if (restore_put(fd, b, 7, &err) < 0) {
		err_print(&err, "put", stderr);
		fail();
	}
	store_submit(b, done, &kept);
	assert_true(kept);
	assert_int_equal(store_each(b, STORE_DEPLOYMENT, 0, 0, keep_deployment, &f, &err), 0);
	assert_int_equal(store_each(b, STORE_SERVICE, 0, 0, keep_service, &f, &err), 0);
	assert_int_equal(store_each(b, STORE_OPERATION, 0, 0, keep_operation, &f, &err), 0);
	assert_int_equal(store_each(b, STORE_FIRING, 0, 0, keep_firing, &f, &err), 0);
	assert_int_equal(f.ds, 2);
	assert_int_equal(f.vs, 2);
	assert_int_equal(f.os, 2);
	assert_int_equal(f.fs, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(f.v[i].deployment, f.d[i].id);
		assert_int_equal(f.o[i].deployment, f.d[i].id);
		assert_int_equal(f.o[i].service, f.v[i].id);
		assert_int_equal(f.d[i].operation, f.o[i].id);
		assert_int_equal(f.f[i].service, f.v[i].id);
		assert_int_equal(f.f[i].owner, 7);
		assert_int_equal(f.f[i].replica, 0);
	}
	assert_string_equal(f.d[0].name, "shop");
	/* The document of its first revision, whole. */
	struct store_revision r;
	uint64_t id = f.d[0].id;
	buf_init(&text, MEM_BASE, FILE_BYTES);
	for (id++; store_get(b, STORE_REVISION, id, &r, &err) < 0; id++)
		err_clear(&err);
	assert_int_equal(store_get_blob(b, STORE_DOCUMENT, id, &text, &err), 0);
	assert_int_equal(text.length, 600 << 10);
	/* A copy of it is as good as any. */
	buf_fini(&file);
	write_file(b, false, &file);
	assert_int_equal(read_file(file.data, file.length, file.length, &err), 0);
	close(fd);
	buf_fini(&text);
	buf_fini(&file);
	store_free(a);
	store_free(b);
}

/* ---- what is wrong ---- */

static void
refused(const void *data, size_t bytes, size_t slice)
{
	struct err err = {0};

	assert_int_equal(read_file(data, bytes, slice, &err), -1);
	assert_true(err.kind == ERR_CORRUPT || err.kind == ERR_UNSUPPORTED);
	assert_true(err.wheres > 0 && err.what[0] && (err.fix[0] || err.whys > 0));
}

static void
test_every_prefix_and_bit(void **state)
{
	struct store *a = store_folder_open(state, "a.db");
	struct err err = {0};
	struct buf file;

	fill(a, "shop", 40);
	for (unsigned keys = 0; keys < 2; keys++) {
		write_file(a, keys > 0, &file);
		for (size_t n = 0; n < file.length; n++)
			refused(file.data, n, 1 + n % 50);
		for (size_t bit = 0; bit < file.length * 8; bit++) {
			file.data[bit / 8] = (uint8_t)(file.data[bit / 8] ^ 1u << bit % 8);
			refused(file.data, file.length, file.length);
			file.data[bit / 8] = (uint8_t)(file.data[bit / 8] ^ 1u << bit % 8);
		}
		buf_putc(&file, 'x');
		refused(file.data, file.length, 3);
		assert_int_equal(read_file(file.data, file.length - 1, 1, &err), 0);
		buf_fini(&file);
	}
	store_free(a);
}

static void
put_row(struct buf *out, enum store_kind kind, const void *row)
{
	struct store_change change = {.key.kind = kind};
	struct buf value;

	memcpy(&change.key.id, row, sizeof(change.key.id));
	buf_init(&value, MEM_BASE, 1 << 20);
	store_row_put(&value, kind, row);
	change.data = value.data;
	change.bytes = value.length;
	store_change_put(out, &change);
	buf_fini(&value);
}

static void
put_part(struct buf *out, uint64_t id, uint32_t chunk, size_t bytes)
{
	static uint8_t zeros[STORE_CHUNK_BYTES];
	struct store_change change = {
		.key = {.blob = true, .kind = STORE_DOCUMENT, .id = id, .chunk = chunk},
		.data = zeros,
		.bytes = bytes,
	};

	store_change_put(out, &change);
}

/* A file of these changes whose sums are right. why: NULL: it is fine. */
static void
expect(struct buf *changes, const char *why)
{
	struct store_digest digest = {0};
	struct store_change change;
	struct err err = {0};
	uint64_t count = 0;
	struct cursor in;
	struct craft c;

	cursor_init(&in, changes->data, changes->length);
	while (cursor_left(&in) && store_change_get(&in, &change)) {
		if (!change.gone)
			store_digest_add(&digest, &change.key, change.data, change.bytes);
		count++;
	}
	craft_begin(&c);
	craft_head(&c, &digest, count, false);
	craft_record(&c, BACKUP_CHANGES, changes->data, changes->length);
	craft_end(&c, count);
	int rc = read_file(c.out.data, c.out.length, c.out.length, &err);
	if (why) {
		assert_int_equal(rc, -1);
		assert_string_equal(err.why[0], why);
	} else {
		assert_int_equal(rc, 0);
	}
	buf_fini(&c.out);
	buf_reset(changes);
}

static void
test_rows_that_do_not_fit(void **state)
{
	struct store_deployment d = {.id = 1, .version = 1, .name = "shop"};
	struct store_deployment d2 = {.id = 2, .version = 1, .name = "blog"};
	struct store_service v = {.id = 3, .version = 1, .deployment = 1, .name = "web"};
	struct store_revision r = {.id = 4, .version = 1, .deployment = 1, .revision = 1};
	struct store_change gone = {.key = {.kind = STORE_DEPLOYMENT, .id = 1}, .gone = true};
	struct buf b;

	(void)state;
	buf_init(&b, MEM_BASE, FILE_BYTES);
	put_row(&b, STORE_DEPLOYMENT, &d);
	put_row(&b, STORE_DEPLOYMENT, &d2);
	put_row(&b, STORE_SERVICE, &v);
	put_row(&b, STORE_REVISION, &r);
	put_part(&b, 4, 0, 10);
	expect(&b, NULL);
	put_row(&b, STORE_DEPLOYMENT, &d2);
	put_row(&b, STORE_DEPLOYMENT, &d);
	expect(&b, "a row is not in its place");
	put_row(&b, STORE_DEPLOYMENT, &d);
	put_row(&b, STORE_DEPLOYMENT, &d);
	expect(&b, "a row is not in its place");
	put_row(&b, STORE_DEPLOYMENT, &d2);
	put_row(&b, STORE_SERVICE, &v);
	expect(&b, "a row belongs to nothing");
	store_change_put(&b, &gone);
	expect(&b, "a row is said to be gone");
	put_part(&b, 4, 0, 10);
	expect(&b, "a part of a document is not in its place");
	put_row(&b, STORE_DEPLOYMENT, &d);
	put_row(&b, STORE_REVISION, &r);
	put_part(&b, 4, 1, 10);
	expect(&b, "a part of a document is not in its place");
	put_row(&b, STORE_DEPLOYMENT, &d);
	put_row(&b, STORE_REVISION, &r);
	put_part(&b, 4, 0, 10);
	put_part(&b, 4, 1, 10);
	expect(&b, "a part of a document is not in its place");
	put_row(&b, STORE_DEPLOYMENT, &d);
	put_row(&b, STORE_REVISION, &r);
	put_part(&b, 5, 0, 10);
	expect(&b, "a part of a document is not in its place");
	buf_puts(&b, "nonsense");
	expect(&b, "a row is cut");
	buf_fini(&b);
}

static void
expect_records(struct craft *c, const char *why)
{
	struct err err = {0};

	assert_int_equal(read_file(c->out.data, c->out.length, c->out.length, &err), -1);
	assert_string_equal(err.why[0], why);
	buf_fini(&c->out);
	craft_begin(c);
}

static void
test_records_that_do_not_fit(void **state)
{
	static const struct store_digest none, other = {.word = {1}};
	struct err err = {0};
	struct craft c;

	(void)state;
	craft_begin(&c);
	craft_end(&c, 0);
	expect_records(&c, "it has no head");
	craft_head(&c, &none, 0, false);
	craft_head(&c, &none, 0, false);
	expect_records(&c, "it has two heads");
	craft_head(&c, &other, 0, false);
	craft_end(&c, 0);
	expect_records(&c, "it does not hold what its head says");
	craft_head(&c, &none, 1, false);
	craft_end(&c, 0);
	expect_records(&c, "it does not hold what its head says");
	craft_head(&c, &none, 0, true);
	craft_end(&c, 0);
	expect_records(&c, "the keys that it announces are not there");
	craft_head(&c, &none, 0, false);
	craft_record(&c, BACKUP_KEYS, pem, strlen(pem));
	expect_records(&c, "keys stand where none are announced");
	craft_head(&c, &none, 0, true);
	craft_record(&c, BACKUP_KEYS, pem, strlen(pem));
	craft_record(&c, BACKUP_CHANGES, "", 0);
	expect_records(&c, "rows stand behind the keys");
	craft_head(&c, &none, 0, false);
	craft_record(&c, 9, "", 0);
	expect_records(&c, "it holds a record of no kind");
	craft_head(&c, &none, 0, false);
	craft_record(&c, BACKUP_END, "short", 5);
	expect_records(&c, "its checksum (SHA-256) is another one");
	craft_head(&c, &none, 0, false);
	buf_u32(&c.out, BACKUP_RECORD_MAX + 1);
	buf_u8(&c.out, BACKUP_CHANGES);
	buf_u8(&c.out, 0);
	expect_records(&c, "a record is longer than any can be");
	/* Another format is no damage. */
	c.out.data[BACKUP_MAGIC_BYTES - 2] = '2';
	assert_int_equal(read_file(c.out.data, c.out.length, c.out.length, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	buf_fini(&c.out);
}

static void
test_keys(void **state)
{
	static const struct backup_read_calls none;
	struct store *a = store_folder_open(state, "a.db");
	struct backup_read *r;
	struct err err = {0};
	struct buf file;
	size_t bytes;

	write_file(a, true, &file);
	assert_int_equal(backup_read_new(&none, &r, &err), 0);
	assert_null(backup_read_head(r));
	assert_int_equal(backup_read_add(r, file.data, file.length, &err), 0);
	assert_int_equal(backup_read_end(r, &err), 0);
	assert_true(backup_read_head(r)->keys);
	const char *keys = backup_read_keys(r, &bytes);
	assert_int_equal(bytes, strlen(pem));
	assert_memory_equal(keys, pem, bytes);
	backup_read_free(r);
	buf_fini(&file);
	store_free(a);
}

/* Half of it is never there. */
static void
test_refused_in_the_middle(void **state)
{
	struct store *a = store_folder_open(state, "a.db"), *b = store_folder_open(state, "b.db");
	struct store_digest before, after;
	struct err err = {0};
	struct buf file;

	fill(a, "shop", 40);
	fill(b, "other", 9);
	sum_wanted(b, &before);
	write_file(a, false, &file);
	for (size_t cut = 0; cut < file.length; cut += 97) {
		struct buf part = file;

		part.length = cut;
		int fd = as_fd(&part);
		assert_int_equal(store_begin(b, &err), 0);
		assert_int_equal(restore_put(fd, b, 0, &err), -1);
		store_abort(b);
		close(fd);
	}
	sum_wanted(b, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	buf_fini(&file);
	store_free(a);
	store_free(b);
}

/* ---- without memory ---- */

/* The database keeps some of what it allocates until it is closed: it is opened for each run. */
static struct store *
try_open(void **state, const char *name, struct err *err)
{
	struct folder *f = *state;
	struct store_sqlite_options options = {.dirfd = f->fd, .name = name};
	struct store *rows = NULL;

	err_clear(err);
	return store_sqlite_open(&options, &rows, err) < 0 ? NULL : rows;
}

static void
test_memory_to_write(void **state)
{
	struct store *a = store_folder_open(state, "a.db");
	struct err err = {0};
	struct buf file;

	fill(a, "shop", 40);
	store_free(a);
	sweep_each(s)
	{
		struct store *rows = try_open(state, "a.db", &err);
		int rc = -1;

		if (rows) {
			rc = try_write(rows, true, &file, &err);
			buf_fini(&file);
		}
		store_free(rows);
		assert_true(rc == 0 || sweep_failed());
	}
}

static void
test_memory_to_restore(void **state)
{
	struct store *a = store_folder_open(state, "a.db");
	struct backup_scan report;
	struct err err = {0};
	struct buf file;

	fill(a, "shop", 40);
	write_file(a, true, &file);
	store_free(a);
	int fd = as_fd(&file);
	sweep_each(s)
	{
		err_clear(&err);
		int rc = restore_check(fd, &report, &err);

		assert_int_equal(rc < 0, sweep_failed());
	}
	sweep_each(s)
	{
		struct store *rows = try_open(state, "b.db", &err);
		int rc = -1;

		if (rows && store_begin(rows, &err) == 0) {
			rc = restore_put(fd, rows, 0, &err);
			store_abort(rows);
		}
		store_free(rows);
		assert_true(rc == 0 || sweep_failed());
	}
	close(fd);
	buf_fini(&file);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_FOLDER_TEST(test_there_and_back),
		STORE_FOLDER_TEST(test_into_a_shared_store),
		STORE_FOLDER_TEST(test_every_prefix_and_bit),
		cmocka_unit_test(test_rows_that_do_not_fit),
		cmocka_unit_test(test_records_that_do_not_fit),
		STORE_FOLDER_TEST(test_keys),
		STORE_FOLDER_TEST(test_refused_in_the_middle),
		STORE_FOLDER_TEST(test_memory_to_write),
		STORE_FOLDER_TEST(test_memory_to_restore),
	};
	struct err err = {0};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
