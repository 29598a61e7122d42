/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "tests/support/sweep.h"
#include "tests/support/tarball.h"

enum { OUT_BYTES = 1 << 20 };

/* Writes down what the reader tells: "F path mode uid gid size mtime [link] {xattr=value}: data".
 */
static enum tar_event
tell(struct tar *t, struct buf *out)
{
	enum tar_event e;

	while ((e = tar_next(t)) != TAR_MORE) {
		const struct tar_entry *x = &t->entry;

		if (e == TAR_ENTRY) {
			buf_printf(out, "%c %s %o %u %u %llu %lld.%09u", "FDSHPCB"[x->type],
				   x -> path, x -> mode, x -> uid, x -> gid,
				   (unsigned long long)x -> size, (long long)x -> mtime_s,
				   x -> mtime_ns);
			if (x->link[0])
				buf_printf(out, " -> %s", x->link);
			for (size_t i = 0; i < x->xattrs_count; i++)
				buf_printf(out, " {%s=%.*s}", x->xattrs[i].name,
					   (int)x->xattrs[i].bytes,
					   (const char *)x->xattrs[i].value);
			buf_puts(out, ":");
		} else if (e == TAR_DATA) {
			buf_put(out, t->chunk, t->chunk_bytes);
		} else if (e == TAR_DONE) {
			buf_puts(out, "\n");
		} else {
			buf_puts(out, e == TAR_END ? "end\n" : "bad\n");
			return e;
		}
	}
	return e;
}

static void
read_in_steps(const struct buf *in, size_t step, struct buf *out, bool *complete)
{
	struct tar t;
	size_t at = 0;

	tar_init(&t);
	while (at < in->length) {
		size_t n = in->length - at < step ? in->length - at : step;

		tar_give(&t, in->data + at, n);
		at += n;
		enum tar_event e = tell(&t, out);
		if (e == TAR_BAD)
			break;
	}
	*complete = tar_complete(&t);
	tar_fini(&t);
}

static void
expect(const struct buf *in, const char *text)
{
	static const size_t steps[] = {1 << 20, 512, 1000, 7, 1};

	for (size_t i = 0; i < 5; i++) {
		struct buf out;
		bool complete;

		buf_init(&out, MEM_BASE, OUT_BYTES);
		read_in_steps(in, steps[i], &out, &complete);
		assert_string_equal(buf_cstr(&out), text);
		assert_int_equal(complete, strstr(text, "end\n") != NULL);
		buf_fini(&out);
	}
}

static void
test_kinds(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, MEM_BASE, OUT_BYTES);
	tarball_folder(&b, "./etc/");
	tarball_add(&b, &(struct tarball_entry){.path = "etc/passwd",
						.mode = 04755,
						.uid = 7,
						.gid = 8,
						.mtime = 1234567890,
						.data = "root",
						.bytes = 4});
	tarball_link(&b, '2', "lib", "usr/lib");
	tarball_link(&b, '1', "etc/shadow", "etc/passwd");
	tarball_add(&b, &(struct tarball_entry){.path = "pipe", .type = '6'});
	tarball_add(&b, &(struct tarball_entry){.path = "null", .type = '3'});
	tarball_file(&b, "empty", "");
	tarball_file(&b, "old/", "");
	tarball_end(&b);
	buf_puts(&b, "what follows is nobody's business");
	expect(&b, "D ./etc/ 755 0 0 0 0.000000000:\n"
		   "F etc/passwd 4755 7 8 4 1234567890.000000000:root\n"
		   "S lib 644 0 0 0 0.000000000 -> usr/lib:\n"
		   "H etc/shadow 644 0 0 0 0.000000000 -> etc/passwd:\n"
		   "P pipe 644 0 0 0 0.000000000:\n"
		   "C null 644 0 0 0 0.000000000:\n"
		   "F empty 644 0 0 0 0.000000000:\n"
		   "D old/ 644 0 0 0 0.000000000:\n"
		   "end\n");
	buf_fini(&b);
}

static void
test_long_names(void **state)
{
	struct buf b;
	char path[300];
	char want[2000];

	(void)state;
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	buf_init(&b, MEM_BASE, OUT_BYTES);
	tarball_pax(&b, "path", path, strlen(path));
	tarball_file(&b, "short", "1");
	tarball_add(&b, &(struct tarball_entry){.path = "././@LongLink",
						.type = 'L',
						.data = path,
						.bytes = sizeof(path)});
	tarball_add(&b, &(struct tarball_entry){.path = "././@LongLink",
						.type = 'K',
						.data = path,
						.bytes = sizeof(path)});
	tarball_link(&b, '2', "short", "short");
	tarball_file(&b, "next", "2");
	tarball_end(&b);
	snprintf(want, sizeof(want),
		 "F %s 644 0 0 1 0.000000000:1\nS %s 644 0 0 0 0.000000000 -> %s:\n"
		 "F next 644 0 0 1 0.000000000:2\nend\n",
		 path, path, path);
	expect(&b, want);
	buf_fini(&b);
}

static void
test_pax(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, MEM_BASE, OUT_BYTES);
	tarball_pax(&b, "SCHILY.xattr.user.a", "b\0c", 3);
	tarball_file(&b, "a", "1");
	tarball_pax(&b, "mtime", "-1.25", 5);
	tarball_file(&b, "b", "");
	tarball_pax(&b, "mtime", "12.123456789123", 15);
	tarball_file(&b, "c", "");
	tarball_pax(&b, "uid", "3000000", 7);
	tarball_file(&b, "d", "");
	tarball_add(&b,
		    &(struct tarball_entry){
			    .path = "g", .type = 'g', .data = "19 path=everywhere\n", .bytes = 19});
	tarball_file(&b, "e", "");
	tarball_end(&b);
	expect(&b, "F a 644 0 0 1 0.000000000 {user.a=b}:1\n"
		   "F b 644 0 0 0 -2.750000000:\n"
		   "F c 644 0 0 0 12.123456789:\n"
		   "F d 644 3000000 0 0 0.000000000:\n"
		   "F e 644 0 0 0 0.000000000:\n"
		   "end\n");
	buf_fini(&b);
}

static void
expect_bad(void (*make)(struct buf *))
{
	struct buf b;
	struct buf out;
	bool complete;

	buf_init(&b, MEM_BASE, OUT_BYTES);
	buf_init(&out, MEM_BASE, OUT_BYTES);
	make(&b);
	read_in_steps(&b, 1 << 20, &out, &complete);
	assert_true(strstr(buf_cstr(&out), "bad\n") != NULL);
	assert_false(complete);
	buf_fini(&b);
	buf_fini(&out);
}

static void
bad_checksum(struct buf *b)
{
	tarball_file(b, "a", "");
	b->data[0] = 'b';
}

static void
bad_pax_length(struct buf *b)
{
	tarball_add(b, &(struct tarball_entry){
			       .path = "p", .type = 'x', .data = "99 path=a\n", .bytes = 10});
	tarball_file(b, "a", "");
}

static void
bad_pax_nul(struct buf *b)
{
	tarball_pax(b, "path", "a\0b", 3);
	tarball_file(b, "a", "");
}

static void
bad_sparse(struct buf *b)
{
	tarball_link(b, 'S', "a", "");
}

static void
bad_pax_sparse(struct buf *b)
{
	tarball_pax(b, "GNU.sparse.major", "1", 1);
	tarball_file(b, "a", "");
}

static void
bad_size(struct buf *b)
{
	tarball_file(b, "a", "");
	memset(b->data + 124, 0xff, 12); /* -1 in base 256 */
	tarball_checksum(b->data);
}

static void
bad_pax_size(struct buf *b)
{
	tarball_pax(b, "size", "18446744073709551615", 20);
	tarball_file(b, "a", "");
}

static void
bad_lone_zero(struct buf *b)
{
	static const uint8_t zeros[512];

	buf_put(b, zeros, 512);
	tarball_file(b, "a", "");
}

static void
bad_no_name(struct buf *b)
{
	tarball_file(b, "", "");
}

static void
bad_two_pax(struct buf *b)
{
	tarball_pax(b, "path", "a", 1);
	tarball_pax(b, "path", "b", 1);
	tarball_file(b, "c", "");
}

static void
bad_pax_without_entry(struct buf *b)
{
	tarball_pax(b, "path", "a", 1);
	tarball_end(b);
}

static void
test_bad(void **state)
{
	(void)state;
	expect_bad(bad_checksum);
	expect_bad(bad_pax_length);
	expect_bad(bad_pax_nul);
	expect_bad(bad_sparse);
	expect_bad(bad_pax_sparse);
	expect_bad(bad_size);
	expect_bad(bad_pax_size);
	expect_bad(bad_lone_zero);
	expect_bad(bad_no_name);
	expect_bad(bad_two_pax);
	expect_bad(bad_pax_without_entry);
}

static void
test_truncated(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, MEM_BASE, OUT_BYTES);
	tarball_pax(&b, "path", "abc", 3);
	tarball_file(&b, "a", "some data");
	tarball_link(&b, '2', "b", "a");
	tarball_end(&b);
	size_t whole = b.length;
	for (size_t n = 0; n < whole; n += 128) {
		struct buf out;
		bool complete;

		b.length = n;
		buf_init(&out, MEM_BASE, OUT_BYTES);
		read_in_steps(&b, 512, &out, &complete);
		assert_false(complete);
		buf_fini(&out);
	}
	buf_fini(&b);
}

static void
test_skip(void **state)
{
	struct buf b;
	struct tar t;

	(void)state;
	buf_init(&b, MEM_BASE, OUT_BYTES);
	tarball_file(&b, "a", "some data");
	tarball_file(&b, "b", "");
	tar_init(&t);
	tar_give(&t, b.data, 600);
	assert_int_equal(tar_next(&t), TAR_ENTRY);
	assert_int_equal(tar_skip(&t), 1024 - 600);
	tar_give(&t, b.data + 1024, 512);
	assert_int_equal(tar_next(&t), TAR_DONE);
	assert_int_equal(tar_next(&t), TAR_ENTRY);
	assert_string_equal(t.entry.path, "b");
	assert_int_equal(tar_skip(&t), 0);
	assert_int_equal(tar_next(&t), TAR_DONE);
	assert_int_equal(tar_next(&t), TAR_MORE);
	tar_fini(&t);
	buf_fini(&b);
}

static void
test_no_memory(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, MEM_BASE, OUT_BYTES);
	tarball_pax(&b, "path", "abc", 3);
	tarball_file(&b, "a", "some data");
	tarball_end(&b);
	sweep_each(s)
	{
		struct tar t;
		enum tar_event e = TAR_MORE;

		tar_init(&t);
		tar_give(&t, b.data, b.length);
		while (e != TAR_END && e != TAR_BAD)
			e = tar_next(&t);
		assert_int_equal(e == TAR_BAD, sweep_failed());
		tar_fini(&t);
	}
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),     cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_pax),       cmocka_unit_test(test_bad),
		cmocka_unit_test(test_truncated), cmocka_unit_test(test_skip),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
