/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device rules of cgroup v2: there are no files for them, but a small BPF program that is asked at
 * each open and mknod. It is a straight list: each allowed rule compares type, access, major and
 * minor and ends with 1; the end of the list is 0. Made and loaded by hand: with a dozen
 * instructions per rule no library is worth its place in this process.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fd.h"
#include "runtime/cgroups.h"

enum { PROGRAM_MAX = 16 * CGROUPS_DEVICES_MAX, LOAD_TRIES = 64 };

static const struct cgroups_device defaults[] = {
	/* Making any node is harmless: opening it is what counts. */
	{.type = 'c', .any_major = true, .any_minor = true, .mknod = true},
	{.type = 'b', .any_major = true, .any_minor = true, .mknod = true},
	{.type = 'c', .major = 1, .minor = 3, .read = true, .write = true, .mknod = true},
	{.type = 'c', .major = 1, .minor = 5, .read = true, .write = true, .mknod = true},
	{.type = 'c', .major = 1, .minor = 7, .read = true, .write = true, .mknod = true},
	{.type = 'c', .major = 1, .minor = 8, .read = true, .write = true, .mknod = true},
	{.type = 'c', .major = 1, .minor = 9, .read = true, .write = true, .mknod = true},
	{.type = 'c', .major = 5, .minor = 0, .read = true, .write = true, .mknod = true},
	{.type = 'c', .major = 5, .minor = 2, .read = true, .write = true, .mknod = true},
	{.type = 'c', .major = 136, .any_minor = true, .read = true, .write = true, .mknod = true},
};

const struct cgroups_device *
cgroups_device_defaults(size_t *count_out)
{
	*count_out = sizeof(defaults) / sizeof(defaults[0]);
	return defaults;
}

struct program {
	uint64_t items[PROGRAM_MAX];
	size_t count;
	bool full;
};

/* struct bpf_insn as one little-endian word: its 4-bit fields do not convert quietly. */
static void
put(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	if (p->count == PROGRAM_MAX) {
		p->full = true;
		return;
	}
	p->items[p->count++] = code | (uint64_t)dst << 8 | (uint64_t)src << 12 |
			       (uint64_t)(uint16_t)off << 16 | (uint64_t)(uint32_t)imm << 32;
}

/* Registers: r2 type, r3 access, r4 major, r5 minor. */
static void
put_head(struct program *p)
{
	put(p, BPF_LDX | BPF_MEM | BPF_W, 2, 1, 0, 0);
	put(p, BPF_ALU | BPF_MOV | BPF_X, 3, 2, 0, 0);
	put(p, BPF_ALU | BPF_AND | BPF_K, 2, 0, 0, 0xffff);
	put(p, BPF_ALU | BPF_RSH | BPF_K, 3, 0, 0, 16);
	put(p, BPF_LDX | BPF_MEM | BPF_W, 4, 1, 4, 0);
	put(p, BPF_LDX | BPF_MEM | BPF_W, 5, 1, 8, 0);
}

static void
put_rule(struct program *p, const struct cgroups_device *d)
{
	int32_t type = d->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
	int32_t access = (d->mknod ? BPF_DEVCG_ACC_MKNOD : 0) | (d->read ? BPF_DEVCG_ACC_READ : 0) |
			 (d->write ? BPF_DEVCG_ACC_WRITE : 0);
	/* Instructions of this rule, so that a mismatch jumps behind it. */
	int16_t left = (int16_t)((d->type != 'a') + 3 + !d->any_major + !d->any_minor + 2);
	if (d->type != 'a')
		put(p, BPF_JMP | BPF_JNE | BPF_K, 2, 0, --left, type);
	/* All that is asked for must be allowed: access & ~allowed == 0. */
	put(p, BPF_ALU | BPF_MOV | BPF_X, 0, 3, 0, 0);
	put(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, 0, ~access & 7);
	left = (int16_t)(left - 3);
	put(p, BPF_JMP | BPF_JNE | BPF_K, 0, 0, left, 0);
	if (!d->any_major)
		put(p, BPF_JMP | BPF_JNE | BPF_K, 4, 0, --left, (int32_t)d->major);
	if (!d->any_minor)
		put(p, BPF_JMP | BPF_JNE | BPF_K, 5, 0, --left, (int32_t)d->minor);
	put(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
	put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void
build(struct program *p, const struct cgroups_limits *limits)
{
	put_head(p);
	for (size_t i = 0; i < limits->devices_count; i++)
		put_rule(p, &limits->devices[i]);
	put(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
	put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

size_t
cgroups_device_program(const struct cgroups_limits *limits, uint64_t *out, size_t cap)
{
	struct program p = {.count = 0};
	build(&p, limits);
	if (p.full || p.count > cap)
		return 0;
	memcpy(out, p.items, p.count * sizeof(p.items[0]));
	return p.count;
}

/* A group that is taken over has a program of ours already: it goes when the new one stands. */
static uint32_t
attached_program(int group)
{
	uint32_t ids[8] = {0};
	union bpf_attr attr = {0};
	attr.query.target_fd = (uint32_t)group;
	attr.query.attach_type = BPF_CGROUP_DEVICE;
	attr.query.prog_ids = (uintptr_t)ids;
	attr.query.prog_cnt = 8;
	if (syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)) < 0 || attr.query.prog_cnt == 0)
		return 0;
	return ids[0];
}

static void
detach_program(int group, uint32_t id)
{
	union bpf_attr attr = {0};
	attr.prog_id = id;
	defer_close int fd = (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));
	if (fd < 0)
		return;
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)group;
	attr.attach_bpf_fd = (uint32_t)fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	syscall(SYS_bpf, BPF_PROG_DETACH, &attr, sizeof(attr));
}

/* The kernel gives up checking a program when a signal comes in between, and says EAGAIN. */
static int
load_program(union bpf_attr *attr)
{
	int fd = -1;

	for (int tries = 0; tries < LOAD_TRIES && fd < 0; tries++) {
		fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, attr, sizeof(*attr));
		if (fd < 0 && errno != EAGAIN && errno != EINTR)
			break;
	}
	return fd;
}

int
cgroups_device_attach(int group, const struct cgroups_limits *limits, struct err *err)
{
	struct program p = {.count = 0};
	union bpf_attr attr = {0};
	build(&p, limits);
	if (p.full)
		return err_set(err, ERR_LIMIT, "too many devices for one container");
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)p.items;
	attr.insn_cnt = (uint32_t)p.count;
	attr.license = (uintptr_t) "Apache-2.0";
	defer_close int fd = load_program(&attr);
	if (fd < 0)
		return err_sys(err, errno, "cannot load the container's device rules");
	uint32_t old = attached_program(group);
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)group;
	attr.attach_bpf_fd = (uint32_t)fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
		return err_sys(err, errno, "cannot put the device rules in force");
	if (old != 0)
		detach_program(group, old);
	return 0;
}
