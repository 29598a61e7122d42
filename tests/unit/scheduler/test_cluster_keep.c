/* SPDX-License-Identifier: Apache-2.0 */
/* What a node keeps of its cluster: it comes back as it was, or is refused as damaged; and there is
 * never a moment in which it is half of something. */
#include "scheduler/cluster_keep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "tests/support/sweep.h"

enum { NOW_S = 1800000000 };

static char path[64];
static int state, folder;

static int
set_up(void **unused)
{
	struct err err = {0};

	(void)unused;
	strcpy(path, "/tmp/zl-keep-XXXXXX");
	assert_non_null(mkdtemp(path));
	state = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(state >= 0);
	assert_int_equal(cluster_keep_open(state, &folder, &err), 0);
	return 0;
}

static int
tear_down(void **unused)
{
	char command[128];

	(void)unused;
	fd_close(&folder);
	fd_close(&state);
	text_format(command, sizeof(command), "rm -rf %s", path);
	return system(command);
}

static void
make(struct cluster_keep *k, bool keeper)
{
	struct identity who = {.node = 7};
	struct err err = {0};

	cluster_keep_init(k);
	k->node = 7;
	k->founder = keeper;
	k->since_s = NOW_S;
	k->via = 3;
	assert_true(addr_parse("192.0.2.3:9881", &k->via_address));
	text_copy(k->name, sizeof(k->name), "edge-7");
	assert_int_equal(identity_authority_create(&k->authority, NOW_S, &err), 0);
	assert_int_equal(identity_keys_new(&k->keys, &err), 0);
	text_copy(who.name, sizeof(who.name), k->name);
	memcpy(who.sign_public, k->keys.sign_public, IDENTITY_KEY);
	memcpy(who.gossip_public, k->keys.gossip_public, IDENTITY_KEY);
	assert_int_equal(identity_issue(&k->authority, &who, NOW_S, &k->chain, &err), 0);
	if (!keeper) { /* as a node that joined has it */
		struct identity_authority public;
		struct buf der;

		buf_init(&der, MEM_BASE, IDENTITY_CERTIFICATE_MAX);
		assert_int_equal(identity_authority_der(&k->authority, &der, &err), 0);
		assert_int_equal(identity_authority_of(&public, der.data, der.length, NULL, &err),
				 0);
		buf_fini(&der);
		identity_authority_fini(&k->authority);
		k->authority = public;
	}
}

static void
assert_same(const struct cluster_keep *a, const struct cluster_keep *b)
{
	assert_int_equal(a->node, b->node);
	assert_int_equal(a->founder, b->founder);
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->since_s, b->since_s);
	assert_int_equal(a->via, b->via);
	assert_true(addr_equal(&a->via_address, &b->via_address));
	assert_memory_equal(&a->keys, &b->keys, sizeof(a->keys));
	assert_int_equal(a->authority.key != NULL, b->authority.key != NULL);
	assert_memory_equal(a->authority.cluster, b->authority.cluster, IDENTITY_CLUSTER);
	assert_int_equal(a->chain.length, b->chain.length);
	assert_memory_equal(a->chain.data, b->chain.data, a->chain.length);
}

static void
test_identity(void **unused)
{
	struct cluster_keep k, back;
	struct err err = {0};
	struct stat st;

	(void)unused;
	for (int keeper = 0; keeper < 2; keeper++) {
		make(&k, keeper);
		cluster_keep_init(&back);
		assert_int_equal(cluster_keep_write(folder, &k, &err), 0);
		assert_int_equal(cluster_keep_read(folder, &back, &err), 0);
		assert_same(&k, &back);
		assert_int_equal(fstatat(folder, "identity", &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
		cluster_keep_fini(&k);
		cluster_keep_fini(&back);
	}
	assert_int_equal(fstatat(state, "cluster", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void
test_nothing_kept(void **unused)
{
	struct cluster_keep k;
	struct err err = {0};

	(void)unused;
	cluster_keep_init(&k);
	assert_int_equal(cluster_keep_read(folder, &k, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(cluster_keep_left(folder), CLUSTER_KEEP_STAYED);
	cluster_keep_fini(&k);
}

/* Each byte of it counts, and each end. */
static void
test_damage(void **unused)
{
	struct cluster_keep k, back;
	struct err err = {0};
	struct buf file;

	(void)unused;
	make(&k, true);
	assert_int_equal(cluster_keep_write(folder, &k, &err), 0);
	buf_init(&file, MEM_BASE, CLUSTER_KEEP_MAX);
	assert_int_equal(fd_read_file(folder, "identity", &file, &err), 0);
	for (size_t i = 0; i < file.length; i += 97) {
		file.data[i] ^= 0x40;
		assert_int_equal(fd_replace(folder, "identity", file.data, file.length, 0600, &err),
				 0);
		file.data[i] ^= 0x40;
		cluster_keep_init(&back);
		assert_int_equal(cluster_keep_read(folder, &back, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
		assert_int_equal(back.node, 0);
		assert_int_equal(fd_replace(folder, "identity", file.data, i, 0600, &err), 0);
		assert_int_equal(cluster_keep_read(folder, &back, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
	}
	buf_fini(&file);
	cluster_keep_fini(&k);
}

static void
test_session(void **unused)
{
	const int64_t now = INT64_C(1800000000123456789);
	uint64_t first, second, third;
	struct err err = {0};

	(void)unused;
	assert_int_equal(cluster_keep_session(folder, now, &first, &err), 0);
	assert_int_equal(cluster_keep_session(folder, now, &second, &err), 0);
	assert_true(second > first);
	/* A clock that went back. */
	assert_int_equal(cluster_keep_session(folder, 0, &third, &err), 0);
	assert_true(third > second);
	/* A file that was lost, and a clock that goes on. */
	assert_int_equal(unlinkat(folder, "session", 0), 0);
	assert_int_equal(cluster_keep_session(folder, now + 1000000000, &first, &err), 0);
	assert_true(first > third);
	assert_int_equal(fd_replace(folder, "session", "x", 1, 0600, &err), 0);
	assert_int_equal(cluster_keep_session(folder, now + 2000000000, &second, &err), 0);
	assert_true(second > first);
	/* When a node began does not say which session it has: a million to one. */
	assert_int_equal(unlinkat(folder, "session", 0), 0);
	assert_int_equal(cluster_keep_session(folder, now, &first, &err), 0);
	assert_int_equal(unlinkat(folder, "session", 0), 0);
	assert_int_equal(cluster_keep_session(folder, now, &second, &err), 0);
	assert_int_not_equal(first, second);
}

static void
test_keys_for_joining(void **unused)
{
	struct ticket a = {.id = 1, .cluster = {1}}, b = {.id = 2, .cluster = {1}};
	struct ticket other = {.id = 1, .cluster = {2}};
	struct identity_keys first, again, next;
	struct err err = {0};

	(void)unused;
	assert_int_equal(cluster_keep_joining(folder, &a, &first, &err), 0);
	assert_int_equal(cluster_keep_joining(folder, &b, &again, &err), 0);
	assert_memory_equal(&first, &again, sizeof(first));
	assert_int_equal(cluster_keep_joining(folder, &other, &next, &err), 0);
	assert_memory_not_equal(&first, &next, sizeof(first));
	cluster_keep_not_joining(folder);
	assert_int_equal(cluster_keep_joining(folder, &other, &again, &err), 0);
	assert_memory_not_equal(&again, &next, sizeof(next));
}

static void
test_list_of_nodes(void **unused)
{
	struct admission_node nodes[2] = {{.id = 1, .name = "a"}, {.id = 4, .name = "b"}};
	struct admission_answer list;
	struct err err = {0};
	struct buf bytes;

	(void)unused;
	assert_true(addr_parse("[2001:db8::1]:9881", &nodes[1].address));
	assert_int_equal(cluster_keep_put_nodes(folder, nodes, 2, &err), 0);
	buf_init(&bytes, MEM_BASE, CLUSTER_KEEP_NODES_MAX);
	assert_int_equal(cluster_keep_get_nodes(folder, &bytes, &list, &err), 0);
	assert_int_equal(list.nodes_count, 2);
	assert_string_equal(list.nodes[1].name, "b");
	assert_true(addr_equal(&list.nodes[1].address, &nodes[1].address));
	admission_answer_fini(&list);
	buf_fini(&bytes);
}

static void
test_leaving(void **unused)
{
	struct cluster_keep k, back;
	struct err err = {0};

	(void)unused;
	make(&k, false);
	cluster_keep_init(&back);
	assert_int_equal(cluster_keep_write(folder, &k, &err), 0);
	assert_int_equal(cluster_keep_leave(folder, CLUSTER_KEEP_LEFT_OWN, &err), 0);
	assert_int_equal(cluster_keep_left(folder), CLUSTER_KEEP_LEFT_OWN);
	assert_int_equal(cluster_keep_read(folder, &back, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	/* Ended between the two files: it has left all the same. */
	assert_int_equal(cluster_keep_write(folder, &k, &err), 0);
	assert_int_equal(cluster_keep_left(folder), CLUSTER_KEEP_LEFT_OWN);
	assert_int_equal(cluster_keep_clear(folder, &err), 0);
	assert_int_equal(cluster_keep_left(folder), CLUSTER_KEEP_STAYED);
	assert_int_equal(cluster_keep_read(folder, &back, &err), -1);
	/* What nobody understands takes nothing along. */
	assert_int_equal(fd_replace(folder, "left", "??", 2, 0600, &err), 0);
	assert_int_equal(cluster_keep_left(folder), CLUSTER_KEEP_LEFT_ALL);
	cluster_keep_fini(&k);
	cluster_keep_fini(&back);
}

static void
test_without_memory(void **unused)
{
	struct ticket ticket = {.id = 1};
	struct cluster_keep k;

	(void)unused;
	make(&k, true);
	size_t used = mem_used_all();
	sweep_each(s)
	{
		struct cluster_keep back;
		struct identity_keys keys;
		struct err err = {0};
		uint64_t session;

		cluster_keep_init(&back);
		int rc = cluster_keep_write(folder, &k, &err);
		rc = rc < 0 ? rc : cluster_keep_read(folder, &back, &err);
		rc = rc < 0 ? rc : cluster_keep_session(folder, 0, &session, &err);
		rc = rc < 0 ? rc : cluster_keep_joining(folder, &ticket, &keys, &err);
		assert_int_equal(rc < 0, sweep_failed());
		cluster_keep_fini(&back);
	}
	assert_int_equal(mem_used_all(), used);
	cluster_keep_fini(&k);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(test_identity), CASE(test_nothing_kept),     CASE(test_damage),
		CASE(test_session),  CASE(test_keys_for_joining), CASE(test_list_of_nodes),
		CASE(test_leaving),  CASE(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
