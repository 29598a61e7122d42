/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes of the cluster as they were known last: over a death, and whatever is in the file. */
#include "overlay/peers_keep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "tests/support/sweep.h"

enum { NODES = 5 };

static struct peers known, found;

static void
make(unsigned count)
{
	char text[ADDR_TEXT_BYTES];

	memset(&known, 0, sizeof(known));
	known.self = 100;
	known.rotate_wall_s = 1700000000;
	for (unsigned i = 0; i < count; i++) {
		struct msg_mesh *row = &known.mesh[known.mesh_count++];

		row->node = i + 1;
		row->port = 9882;
		row->ways = MSG_WAY_SEALED;
		memset(row->key, (int)i + 1, sizeof(row->key));
		text_format(row->name, sizeof(row->name), "n%u", i);
		text_format(text, sizeof(text), "192.0.2.%u", i + 1);
		assert_true(addr_parse_ip(text, &row->address));
		text_format(text, sizeof(text), "10.200.%u.0/24", i + 1);
		assert_true(addr_parse_prefix(text, &row->v4));
		text_format(text, sizeof(text), "fd00:%u::/64", i + 1);
		assert_true(addr_parse_prefix(text, &row->v6));
	}
}

static bool
take(const void *data, size_t bytes)
{
	memset(&found, 0, sizeof(found));
	return peers_keep_take(data, bytes, &found);
}

static void
put(struct buf *out)
{
	buf_init(out, MEM_OVERLAY, PEERS_KEEP_BYTES_MAX);
	assert_true(peers_keep_put(&known, out));
}

static void
test_there_and_back(void **state)
{
	struct buf b;

	(void)state;
	make(NODES);
	put(&b);
	assert_true(take(b.data, b.length));
	assert_int_equal(found.self, 100);
	assert_int_equal(found.rotate_wall_s, 1700000000);
	assert_int_equal(found.mesh_count, NODES);
	assert_memory_equal(found.mesh, known.mesh, NODES * sizeof(known.mesh[0]));
	buf_fini(&b);
}

/* Nothing of a file that was changed anywhere counts, but for what no check is over: the head. */
static void
test_damaged(void **state)
{
	struct buf b;

	(void)state;
	make(2);
	put(&b);
	for (size_t i = 0; i < b.length; i++) {
		bool own = i >= 16 && i < 32; /* own id, request */

		((uint8_t *)b.data)[i] ^= 0x10;
		assert_int_equal(take(b.data, b.length), own);
		assert_true(own || (found.mesh_count == 0 && found.self == 0));
		((uint8_t *)b.data)[i] ^= 0x10;
	}
	for (size_t bytes = 0; bytes < b.length; bytes++)
		assert_false(take(b.data, bytes));
	buf_fini(&b);
}

/* With a right sum over it, too: rows that say nothing, the same again, this node itself. */
static void
test_rows_that_do_not_hold(void **state)
{
	struct buf b;

	(void)state;
	make(NODES);
	memset(known.mesh[0].name, 'x', sizeof(known.mesh[0].name));
	known.mesh[1].v4.bits = 0;
	known.mesh[2].self = 1;
	text_copy(known.mesh[3].name, sizeof(known.mesh[3].name), "n4");
	put(&b);
	assert_true(take(b.data, b.length));
	assert_int_equal(found.mesh_count, 1);
	assert_int_equal(found.mesh[0].node, 4);
	buf_fini(&b);
	make(NODES);
	known.mesh[0].node = known.self;
	known.mesh[1].node = 3;
	known.mesh[4].node = 0;
	put(&b);
	assert_true(take(b.data, b.length));
	assert_int_equal(found.mesh_count, 2);
	assert_int_equal(found.mesh[0].node, 3);
	assert_string_equal(found.mesh[0].name, "n1");
	assert_int_equal(found.mesh[1].node, 4);
	buf_fini(&b);
}

static void
test_file(void **state)
{
	char path[] = "/tmp/zlayer-keep-XXXXXX";
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(path));
	defer_close int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder >= 0);
	/* Of a node that is in no cluster there is none. */
	make(0);
	known.self = 0;
	peers_keep_load(folder, &found);
	peers_keep_save(folder, &known);
	assert_int_equal(fstatat(folder, "mesh", &st, 0), -1);
	make(NODES);
	peers_keep_save(folder, &known);
	assert_int_equal(fstatat(folder, "mesh", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	ino_t inode = st.st_ino;
	peers_keep_save(folder, &known);
	assert_int_equal(fstatat(folder, "mesh", &st, 0), 0);
	assert_int_equal(st.st_ino, inode); /* it says that already */
	memset(&found, 0, sizeof(found));
	peers_keep_load(folder, &found);
	assert_int_equal(found.mesh_count, NODES);
	/* It has left. */
	make(0);
	known.self = 0;
	peers_keep_save(folder, &known);
	memset(&found, 0, sizeof(found));
	peers_keep_load(folder, &found);
	assert_int_equal(found.mesh_count, 0);
	assert_int_equal(unlinkat(folder, "mesh", 0), 0);
	assert_int_equal(rmdir(path), 0);
}

static void
test_without_memory(void **state)
{
	(void)state;
	make(NODES);
	sweep_each(run)
	{
		struct buf b;

		buf_init(&b, MEM_OVERLAY, PEERS_KEEP_BYTES_MAX);
		bool ok = peers_keep_put(&known, &b);
		assert_int_equal(ok, !sweep_failed());
		buf_fini(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),        cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_rows_that_do_not_hold), cmocka_unit_test(test_file),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
