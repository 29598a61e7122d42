/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits as the two versions write them. A limit of the plan that the machine cannot enforce (swap
 * accounting switched off) is an error only when somebody asked for it; the default of "no swap
 * beyond the memory limit" is not.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "runtime/cgroups_write.h"

enum { CPU_PERIOD_US = 100000, CPU_QUOTA_MIN_US = 1000 };

int
cgroups_write(int group, const char *file, const char *text)
{
	size_t length = strlen(text);
	defer_close int fd = openat(group, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n;
	/* A limit of memory may have to wait for pages to go: a signal ends that. */
	do {
		n = write(fd, text, length);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)length ? 0 : -1;
}

static int
write_u64(int group, const char *file, uint64_t value)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, value);
	return cgroups_write(group, file, text);
}

static int
limit_u64(int group, const char *file, uint64_t value, struct err *err)
{
	if (value == 0 || write_u64(group, file, value) == 0)
		return 0;
	return err_sys(err, errno, "cannot set %s to %" PRIu64, file, value);
}

void
cgroups_delegate(int group)
{
	static const char *const names[] = {"+cpu", "+memory", "+pids", "+cpuset", "+io"};
	/* One by one: a controller that is missing or in use by v1 must not hold back the rest. */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (cgroups_write(group, "cgroup.subtree_control", names[i]) < 0)
			continue;
}

static bool
read_small(int group, const char *file, char *out, size_t cap)
{
	defer_close int fd = openat(group, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);
	out[n > 0 ? n : 0] = '\0';
	return n > 1;
}

void
cgroups_inherit_cpuset(int group)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	char text[4096];
	for (size_t i = 0; i < 2; i++) {
		if (read_small(group, files[i], text, sizeof(text)))
			continue;
		defer_close int above = openat(group, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (above >= 0 && read_small(above, files[i], text, sizeof(text)))
			cgroups_write(group, files[i], text);
	}
}

static uint64_t
quota_us(uint64_t cpu_milli)
{
	uint64_t quota = cpu_milli * (CPU_PERIOD_US / 1000);
	return quota < CPU_QUOTA_MIN_US ? CPU_QUOTA_MIN_US : quota;
}

uint64_t
cgroups_weight(uint64_t shares)
{
	if (shares < 2)
		shares = 2;
	if (shares > 262144)
		shares = 262144;
	return 1 + (shares - 2) * 9999 / 262142;
}

static int
limit_cpuset(int group, const struct cgroups_limits *l, struct err *err)
{
	if (l->cpuset == NULL || cgroups_write(group, "cpuset.cpus", l->cpuset) == 0)
		return 0;
	err_sys(err, errno, "cannot pin the container to the CPUs %s", l->cpuset);
	return err_fix(err, "resources.cpuset must name CPUs that this node has");
}

/* ---- v1 ---- */

static int
limit_cpu_v1(int group, const struct cgroups_limits *l, struct err *err)
{
	if (limit_u64(group, "cpu.shares", l->cpu_shares, err) < 0)
		return -1;
	if (l->cpu_milli == 0)
		return 0;
	if (limit_u64(group, "cpu.cfs_period_us", CPU_PERIOD_US, err) < 0)
		return -1;
	return limit_u64(group, "cpu.cfs_quota_us", quota_us(l->cpu_milli), err);
}

static int
limit_memory_v1(int group, const struct cgroups_limits *l, struct err *err)
{
	uint64_t both = l->memory_swap_bytes != 0 ? l->memory_swap_bytes : l->memory_bytes;
	if (l->memory_bytes == 0)
		return limit_u64(group, "memory.soft_limit_in_bytes", l->memory_reservation_bytes,
				 err);
	/* A group taken over may have limits: the sum must never be below the memory's. */
	if (cgroups_write(group, "memory.memsw.limit_in_bytes", "-1") < 0 && errno != ENOENT)
		return err_sys(err, errno, "cannot reset the memory limit");
	if (limit_u64(group, "memory.limit_in_bytes", l->memory_bytes, err) < 0)
		return -1;
	if (write_u64(group, "memory.memsw.limit_in_bytes", both) < 0 && l->memory_swap_bytes != 0)
		return err_sys(err, errno, "cannot limit swap");
	return limit_u64(group, "memory.soft_limit_in_bytes", l->memory_reservation_bytes, err);
}

static int
allow_device_v1(int group, const struct cgroups_device *d, struct err *err)
{
	char text[64], major[16], minor[16];
	snprintf(major, sizeof(major), "%u", d->major);
	snprintf(minor, sizeof(minor), "%u", d->minor);
	snprintf(text, sizeof(text), "%c %s:%s %s%s%s", d->type, d->any_major ? "*" : major,
		 d->any_minor ? "*" : minor, d->read ? "r" : "", d->write ? "w" : "",
		 d->mknod ? "m" : "");
	if (cgroups_write(group, "devices.allow", text) < 0)
		return err_sys(err, errno, "cannot allow the device %s", text);
	return 0;
}

static int
limit_devices_v1(int group, const struct cgroups_limits *l, struct err *err)
{
	if (l->all_devices)
		return cgroups_write(group, "devices.allow", "a") < 0
			       ? err_sys(err, errno, "cannot allow all devices")
			       : 0;
	if (cgroups_write(group, "devices.deny", "a") < 0)
		return err_sys(err, errno, "cannot forbid devices");
	for (size_t i = 0; i < l->devices_count; i++)
		if (allow_device_v1(group, &l->devices[i], err) < 0)
			return -1;
	return 0;
}

int
cgroups_limit_v1(int group, unsigned controllers, const struct cgroups_limits *l, struct err *err)
{
	if ((controllers & CGROUPS_CPU) != 0 && limit_cpu_v1(group, l, err) < 0)
		return -1;
	if ((controllers & CGROUPS_CPUSET) != 0) {
		if (limit_cpuset(group, l, err) < 0)
			return -1;
		cgroups_inherit_cpuset(group);
	}
	if ((controllers & CGROUPS_MEMORY) != 0 && limit_memory_v1(group, l, err) < 0)
		return -1;
	if ((controllers & CGROUPS_PIDS) != 0 && limit_u64(group, "pids.max", l->pids, err) < 0)
		return -1;
	if ((controllers & CGROUPS_DEVICES) != 0 && limit_devices_v1(group, l, err) < 0)
		return -1;
	return 0;
}

/* ---- v2 ---- */

static int
limit_cpu_v2(int group, const struct cgroups_limits *l, struct err *err)
{
	char text[48];
	if (l->cpu_shares != 0 &&
	    limit_u64(group, "cpu.weight", cgroups_weight(l->cpu_shares), err) < 0)
		return -1;
	if (l->cpu_milli == 0)
		return 0;
	snprintf(text, sizeof(text), "%" PRIu64 " %d", quota_us(l->cpu_milli), CPU_PERIOD_US);
	if (cgroups_write(group, "cpu.max", text) < 0)
		return err_sys(err, errno, "cannot set cpu.max to %s", text);
	return 0;
}

static int
limit_memory_v2(int group, const struct cgroups_limits *l, struct err *err)
{
	uint64_t swap =
		l->memory_swap_bytes > l->memory_bytes ? l->memory_swap_bytes - l->memory_bytes : 0;
	if (limit_u64(group, "memory.low", l->memory_reservation_bytes, err) < 0 ||
	    limit_u64(group, "memory.max", l->memory_bytes, err) < 0)
		return -1;
	if (l->memory_bytes != 0 && write_u64(group, "memory.swap.max", swap) < 0 && swap != 0)
		return err_sys(err, errno, "cannot limit swap");
	return 0;
}

int
cgroups_limit_v2(int group, const struct cgroups_limits *l, struct err *err)
{
	if (limit_cpu_v2(group, l, err) < 0 || limit_memory_v2(group, l, err) < 0 ||
	    limit_cpuset(group, l, err) < 0 || limit_u64(group, "pids.max", l->pids, err) < 0)
		return -1;
	return l->all_devices ? 0 : cgroups_device_attach(group, l, err);
}
