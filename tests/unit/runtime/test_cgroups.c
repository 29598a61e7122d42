/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine's cgroups are, by the texts of its mountinfo; and device programs. */
#include "runtime/cgroups.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const char hybrid[] =
	"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
	"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	"34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime shared:5 - cgroup cgroup rw,cpuset\n"
	"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
	"40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
	"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
	"50 31 0:32 /sub /mnt/memory rw - cgroup cgroup rw,memory\n";
static const char unified[] =
	"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	"31 23 0:26 / /somewhere/else rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

static void
test_layouts(void **state)
{
	struct cgroups_layout l;
	(void)state;
	cgroups_parse(hybrid, &l);
	assert_int_equal(l.mode, CGROUPS_HYBRID);
	assert_int_equal(l.count, 4);
	assert_string_equal(l.trees[0].path, "/sys/fs/cgroup/cpu,cpuacct");
	assert_string_equal(l.trees[0].names, "cpu,cpuacct");
	assert_int_equal(l.trees[0].controllers, CGROUPS_CPU | CGROUPS_CPUACCT);
	assert_true(l.trees[3].unified);
	cgroups_parse(unified, &l);
	assert_int_equal(l.mode, CGROUPS_V2);
	assert_int_equal(l.count, 1);
	assert_string_equal(l.trees[0].path, "/sys/fs/cgroup");
	cgroups_parse("", &l);
	assert_int_equal(l.mode, 0);
	cgroups_parse("nonsense - cgroup\n1 2 - cgroup2 x\n - \n", &l);
	assert_int_equal(l.count, 0);
}

static void
test_cut_texts(void **state)
{
	struct cgroups_layout l;
	char text[sizeof(hybrid)];
	(void)state;
	for (size_t i = 0; i < sizeof(hybrid); i++) {
		memcpy(text, hybrid, i);
		text[i] = '\0';
		cgroups_parse(text, &l);
		assert_true(l.count <= 4);
	}
}

static void
test_parent(void **state)
{
	char out[256];
	(void)state;
	cgroups_parent("1:cpu:/\n0::/\n", "one", out, sizeof(out));
	assert_string_equal(out, "zlayer/one");
	cgroups_parent("0::/system.slice/zlayer.service/zlayer/one/roles\n", "one", out,
		       sizeof(out));
	assert_string_equal(out, "system.slice/zlayer.service/zlayer/one");
	cgroups_parent("0::/zlayer/other/roles\n", "one", out, sizeof(out));
	assert_string_equal(out, "zlayer/one");
}

static void
test_weight(void **state)
{
	(void)state;
	assert_int_equal(cgroups_weight(0), 1);
	assert_int_equal(cgroups_weight(2), 1);
	assert_int_equal(cgroups_weight(1024), 39);
	assert_int_equal(cgroups_weight(262144), 10000);
	assert_int_equal(cgroups_weight(UINT64_MAX), 10000);
}

/* Runs the program's few instructions as the kernel would. */
static bool
allows(const struct cgroups_limits *limits, uint32_t type, uint32_t access, uint32_t major,
       uint32_t minor)
{
	static uint64_t code[2048];
	uint32_t context[3] = {type | access << 16, major, minor};
	uint64_t reg[11] = {0};
	size_t count = cgroups_device_program(limits, code, 2048);
	assert_true(count > 0);
	for (size_t at = 0; at < count; at++) {
		uint8_t op = (uint8_t)code[at], dst = code[at] >> 8 & 15, src = code[at] >> 12 & 15;
		int16_t off = (int16_t)(code[at] >> 16);
		uint32_t imm = (uint32_t)(code[at] >> 32);
		switch (op) {
		case 0x61: /* ldx word */
			reg[dst] = context[off / 4];
			break;
		case 0xbc: /* mov32 reg */
			reg[dst] = (uint32_t)reg[src];
			break;
		case 0x54: /* and32 */
			reg[dst] = (uint32_t)reg[dst] & imm;
			break;
		case 0x74: /* rsh32 */
			reg[dst] = (uint32_t)reg[dst] >> imm;
			break;
		case 0x55: /* jne */
			if (reg[dst] != imm)
				at += (size_t)off;
			break;
		case 0xb7: /* mov64 */
			reg[dst] = imm;
			break;
		case 0x95:
			return reg[0] != 0;
		default:
			fail_msg("instruction %02x", op);
		}
	}
	fail_msg("the program has no end");
	return false;
}

static void
test_device_program(void **state)
{
	enum { MKNOD = 1, READ = 2, WRITE = 4, BLOCK = 1, CHAR = 2 };
	struct cgroups_limits limits = {0};
	struct cgroups_device rules[] = {
		{.type = 'c', .major = 1, .minor = 3, .read = true, .write = true},
		{.type = 'b', .major = 8, .any_minor = true, .read = true},
		{.type = 'c', .any_major = true, .any_minor = true, .mknod = true},
	};
	(void)state;
	assert_false(allows(&limits, CHAR, READ, 1, 3));
	limits.devices = rules;
	limits.devices_count = 3;
	assert_true(allows(&limits, CHAR, READ | WRITE, 1, 3));
	assert_false(allows(&limits, CHAR, READ, 1, 4));
	assert_false(allows(&limits, BLOCK, READ, 1, 3));
	assert_true(allows(&limits, BLOCK, READ, 8, 77));
	assert_false(allows(&limits, BLOCK, WRITE, 8, 77));
	assert_true(allows(&limits, CHAR, MKNOD, 200, 1));
	assert_false(allows(&limits, CHAR, MKNOD | READ, 200, 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts),        cmocka_unit_test(test_cut_texts),
		cmocka_unit_test(test_parent),         cmocka_unit_test(test_weight),
		cmocka_unit_test(test_device_program),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
