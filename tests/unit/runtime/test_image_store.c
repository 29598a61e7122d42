/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/image_store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/log.h"
#include "runtime/tree.h"
#include "tests/support/image.h"
#include "tests/support/sweep.h"

static char top[] = "store-XXXXXX";
static int dir = -1;
static struct image_store *store;

static int
setup(void **state)
{
	struct err err = {0};

	(void)state;
	return image_store_open(dir, &store, &err);
}

static int
teardown(void **state)
{
	(void)state;
	image_store_close(store);
	store = NULL;
	return tree_empty(dir);
}

static void
reopen(void)
{
	struct err err = {0};

	image_store_close(store);
	assert_int_equal(image_store_open(dir, &store, &err), 0);
}

/* As unpack leaves them. */
static void
make_layers(const struct image_record *r)
{
	char path[256];

	for (size_t i = 0; i < r->layers.count; i++) {
		snprintf(path, sizeof(path), "layers/%s/fs", r->layers.items[i]);
		int fd = fd_make_dirs(dir, path, 0755);
		assert_true(fd >= 0);
		close(fd);
	}
}

static void
add(const char *name, char digit)
{
	struct image_record r = image_sample(digit);
	struct err err = {0};

	make_layers(&r);
	assert_int_equal(image_store_add(store, name, &r, &err), 0);
}

static enum err_kind
find(const char *reference, char digit)
{
	struct image_record *r;
	struct arena arena;
	struct err err = {0};

	arena_init(&arena, MEM_BASE, 1 << 20);
	int rc = image_store_find(store, reference, &arena, &r, &err);
	assert_int_equal(rc < 0, err.kind != 0);
	if (rc == 0) {
		assert_string_equal(r->digest, image_sample(digit).digest);
		for (size_t i = 0; i < r->layers.count; i++) {
			int fd = image_store_open_layer(store, r->layers.items[i], &err);

			assert_true(fd >= 0);
			close(fd);
		}
	}
	arena_fini(&arena);
	return err.kind;
}

static bool
layer_there(char digit)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "layers/%s", image_sample(digit).layers.items[1]);
	return fstatat(dir, path, &st, 0) == 0;
}

static void
test_find(void **state)
{
	char at[256];

	(void)state;
	add("docker.io/library/web:1", 'a');
	add("docker.io/library/db:1", 'b');
	for (int again = 0; again < 2; again++) {
		assert_int_equal(find("docker.io/library/web:1", 'a'), 0);
		assert_int_equal(find("docker.io/library/db:1", 'b'), 0);
		assert_int_equal(find(image_sample('b').digest, 'b'), 0);
		snprintf(at, sizeof(at), "docker.io/library/x@%.80s", image_sample('a').digest);
		assert_int_equal(find(at, 'a'), 0);
		assert_int_equal(find("docker.io/library/web:2", 'a'), ERR_NOT_FOUND);
		assert_int_equal(find(image_sample('d').digest, 'd'), ERR_NOT_FOUND);
		reopen();
	}
}

static void
test_not_found_says_what_is_near(void **state)
{
	struct image_record *r;
	struct arena arena;
	struct err err = {0};

	(void)state;
	add("docker.io/library/web:1", 'a');
	arena_init(&arena, MEM_BASE, 1 << 20);
	assert_int_equal(image_store_find(store, "docker.io/library/wbe:1", &arena, &r, &err), -1);
	assert_non_null(strstr(err.why[0], "docker.io/library/web:1"));
	assert_non_null(strstr(err.fix, "zlayer image pull"));
	arena_fini(&arena);
}

static void
test_other_machine(void **state)
{
	struct image_record r = image_sample('a');
	struct err err = {0};

	(void)state;
	make_layers(&r);
	r.architecture = IMAGE_TEXT("pdp11");
	assert_int_equal(image_store_add(store, "a:1", &r, &err), 0);
	assert_int_equal(find("a:1", 'a'), ERR_UNSUPPORTED);
}

static void
test_names_move(void **state)
{
	struct err err = {0};

	(void)state;
	add("a:1", 'a');
	add("a:1", 'b');
	assert_int_equal(find("a:1", 'b'), 0);
	assert_int_equal(find(image_sample('a').digest, 'a'), ERR_NOT_FOUND);
	assert_false(layer_there('a'));
	assert_true(layer_there('b') && layer_there('c'));
	add("b:1", 'b');
	assert_int_equal(image_store_remove(store, "a:1", &err), 0);
	assert_int_equal(find("b:1", 'b'), 0);
	assert_int_equal(image_store_remove(store, "b:1", &err), 0);
	assert_false(layer_there('b') || layer_there('c'));
	assert_int_equal(image_store_remove(store, "b:1", &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void
test_in_use(void **state)
{
	struct err err = {0};
	const char *digest = image_sample('a').digest;

	(void)state;
	add("a:1", 'a');
	image_store_hold(store, digest);
	image_store_hold(store, digest);
	assert_int_equal(image_store_remove(store, "a:1", &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	/* The name moves on, containers keep what they have, also over a restart. */
	add("a:1", 'b');
	assert_int_equal(find(digest, 'a'), 0);
	reopen();
	assert_int_equal(find(digest, 'a'), 0);
	image_store_hold(store, digest);
	image_store_release(store, digest);
	assert_int_equal(find(digest, 'a'), ERR_NOT_FOUND);
	assert_false(layer_there('a'));
	assert_true(layer_there('c'));
	image_store_release(store, digest);
	image_store_hold(store, "sha256:nothing");
}

static void
test_layers_stay_during_imports(void **state)
{
	struct err err = {0};

	(void)state;
	add("a:1", 'a');
	image_store_import_begin(store);
	assert_int_equal(image_store_remove(store, "a:1", &err), 0);
	assert_true(layer_there('a'));
	image_store_import_end(store);
	assert_false(layer_there('a'));
}

static void
test_orphans_go_at_opening(void **state)
{
	struct image_record r = image_sample('e');

	(void)state;
	add("a:1", 'a');
	make_layers(&r);
	reopen();
	assert_false(layer_there('e'));
	assert_true(layer_there('a') && layer_there('c'));
}

static void
overwrite(const char *path, const char *text)
{
	int fd = fd_open_beneath(dir, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void
test_damaged(void **state)
{
	char path[256];

	(void)state;
	add("a:1", 'a');
	add("b:1", 'b');
	snprintf(path, sizeof(path), "records/%.64s", image_sample('a').digest + 7);
	overwrite(path, "garbage");
	reopen();
	assert_int_equal(find("a:1", 'a'), ERR_NOT_FOUND);
	assert_int_equal(find("b:1", 'b'), 0);
	/* Who knows what the damaged one listed: containers may run on it. */
	assert_true(layer_there('a'));
	reopen();
	assert_true(layer_there('a'));
	overwrite("names", "x\nno record 1\nb:1 sha256:1\n\n \n  \nb:1");
	reopen();
	assert_int_equal(find("b:1", 'b'), ERR_NOT_FOUND);
	assert_int_equal(find(image_sample('b').digest, 'b'), 0);
}

static void
test_bad_names(void **state)
{
	struct image_record r = image_sample('a');
	struct err err = {0};
	char longest[400];

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(image_store_add(store, "", &r, &err), -1);
	assert_int_equal(image_store_add(store, "a b", &r, &err), -1);
	assert_int_equal(image_store_add(store, "a\n", &r, &err), -1);
	assert_int_equal(image_store_add(store, longest, &r, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(image_store_open_layer(store, "../records", &err), -1);
	assert_int_equal(image_store_open_layer(store, r.layers.items[0], &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
}

static void
visit(void *arg, const struct image_entry *e)
{
	size_t *count = arg;

	assert_true(e->imported_wall_ns > 0);
	assert_int_equal(e->in_use, !strcmp(e->name, "a:1"));
	++*count;
}

static void
test_each(void **state)
{
	size_t count = 0;

	(void)state;
	add("a:1", 'a');
	add("b:1", 'b');
	image_store_hold(store, image_sample('a').digest);
	image_store_each(store, visit, &count);
	assert_int_equal(count, 2);
	assert_int_equal(image_store_bytes(store), 2 * 12345);
}

static const char *pinned_digest;

static bool
is_pinned(void *arg, const char *digest, struct err *err)
{
	assert_ptr_equal(arg, &pinned_digest);
	if (!pinned_digest || strcmp(digest, pinned_digest) != 0)
		return false;
	if (err) {
		err_why(err, "revision 7 of shop serves with it");
		err_fix(err, "zlayer rm shop");
	}
	return true;
}

static void
count_nameless(void *arg, const struct image_entry *e)
{
	size_t *count = arg;

	*count += e->name[0] == '\0' && e->pinned;
}

/* What a revision stands for stays when its name has moved on; it goes when nobody needs it. */
static void
test_pins(void **state)
{
	size_t nameless = 0;

	(void)state;
	pinned_digest = image_sample('a').digest;
	image_store_pins(store, is_pinned, &pinned_digest);
	add("a:1", 'a');
	add("a:1", 'b');
	assert_int_equal(find(image_sample('a').digest, 'a'), 0);
	image_store_each(store, count_nameless, &nameless);
	assert_int_equal(nameless, 1);
	assert_string_equal(image_store_digest(store, "a:1"), image_sample('b').digest);
	assert_string_equal(image_store_digest(store, "x:1"), "");
	pinned_digest = NULL;
	image_store_unpinned(store);
	assert_int_equal(find(image_sample('a').digest, 'a'), ERR_NOT_FOUND);
	assert_false(layer_there('a'));
	assert_int_equal(find("a:1", 'b'), 0);
}

/* One of several names may go; the last one not, and it is said who needs the image. */
static void
test_pinned_is_not_removed(void **state)
{
	struct err err = {0};

	(void)state;
	pinned_digest = image_sample('a').digest;
	image_store_pins(store, is_pinned, &pinned_digest);
	add("a:1", 'a');
	add("a:2", 'a');
	assert_int_equal(image_store_remove(store, "a:2", &err), 0);
	image_store_hold(store, pinned_digest);
	assert_int_equal(image_store_remove(store, "a:1", &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	assert_string_equal(err.why[0], "1 container of this node runs it");
	assert_string_equal(err.why[1], "revision 7 of shop serves with it");
	assert_string_equal(err.fix, "zlayer rm shop");
	image_store_release(store, pinned_digest);
	assert_int_equal(find("a:1", 'a'), 0);
	pinned_digest = NULL;
	assert_int_equal(image_store_remove(store, "a:1", &err), 0);
}

static void
test_prune(void **state)
{
	struct image_pruned would, did;
	struct err err = {0};

	(void)state;
	pinned_digest = image_sample('a').digest;
	image_store_pins(store, is_pinned, &pinned_digest);
	add("a:1", 'a');
	add("b:1", 'b');
	add("b:2", 'b');
	add("d:1", 'd');
	image_store_hold(store, image_sample('d').digest);
	image_store_import_begin(store);
	assert_int_equal(image_store_prune(store, false, &did, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	image_store_import_end(store);
	assert_int_equal(image_store_prune(store, true, &would, &err), 0);
	assert_int_equal(would.images, 1);
	assert_int_equal(find("b:1", 'b'), 0);
	assert_int_equal(image_store_prune(store, false, &did, &err), 0);
	assert_memory_equal(&would, &did, sizeof(did));
	assert_int_equal(find("b:1", 'b'), ERR_NOT_FOUND);
	assert_false(layer_there('b'));
	assert_int_equal(find("a:1", 'a'), 0);
	assert_int_equal(find("d:1", 'd'), 0);
	reopen();
	assert_int_equal(find("b:2", 'b'), ERR_NOT_FOUND);
	assert_int_equal(find("a:1", 'a'), 0);
}

static void
test_second_name(void **state)
{
	struct err err = {0};

	(void)state;
	add("a:1", 'a');
	assert_int_equal(image_store_name(store, "a:2", image_sample('a').digest, &err), 0);
	assert_int_equal(image_store_name(store, "a:2", image_sample('a').digest, &err), 0);
	assert_int_equal(find("a:2", 'a'), 0);
	assert_int_equal(image_store_name(store, "b:1", image_sample('b').digest, &err), -1);
}

static void
test_no_memory(void **state)
{
	struct image_record r = image_sample('a');

	(void)state;
	sweep_each(s)
	{
		struct image_store *own = NULL;
		struct err err = {0};
		int rc = image_store_open(dir, &own, &err);

		make_layers(&r);
		if (rc == 0)
			rc = image_store_add(own, "a:1", &r, &err);
		if (rc == 0)
			rc = image_store_add(own, "b:1", &r, &err);
		if (rc == 0)
			rc = image_store_remove(own, "a:1", &err);
		if (rc < 0)
			assert_true(sweep_failed());
		image_store_close(own);
	}
	reopen();
	assert_int_equal(find("b:1", 'a'), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_find),
		TEST(test_not_found_says_what_is_near),
		TEST(test_other_machine),
		TEST(test_names_move),
		TEST(test_in_use),
		TEST(test_layers_stay_during_imports),
		TEST(test_orphans_go_at_opening),
		TEST(test_damaged),
		TEST(test_pins),
		TEST(test_pinned_is_not_removed),
		TEST(test_prune),
		TEST(test_second_name),
		TEST(test_bad_names),
		TEST(test_each),
		TEST(test_no_memory),
	};
	int rc;

	if (!mkdtemp(top))
		return 1;
	dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	close(dir);
	rmdir(top);
	return rc;
}
