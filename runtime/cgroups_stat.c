/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a replica uses, from the files of its groups. A file that is missing (an old kernel, a
 * controller that is off) leaves a zero: figures are for people and metrics, nothing decides on
 * them alone.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "runtime/cgroups_write.h"

static bool
read_file(int group, const char *file, char *out, size_t cap)
{
	defer_close int fd = openat(group, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);
	out[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static uint64_t
read_u64(int group, const char *file)
{
	char text[64];
	return read_file(group, file, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

/* The number behind "key " at the beginning of a line. */
static uint64_t
read_key(int group, const char *file, const char *key)
{
	char text[8192];
	size_t length = strlen(key);
	if (!read_file(group, file, text, sizeof(text)))
		return 0;
	for (const char *at = text; at != NULL; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, key, length) == 0 && at[length] == ' ')
			return strtoull(at + length + 1, NULL, 10);
	}
	return 0;
}

static uint64_t
without(uint64_t all, uint64_t part)
{
	return all > part ? all - part : 0;
}

static void
stats_v2(int group, struct cgroups_stats *out)
{
	out->cpu_ns = read_key(group, "cpu.stat", "usage_usec") * 1000;
	out->memory_bytes = without(read_u64(group, "memory.current"),
				    read_key(group, "memory.stat", "inactive_file"));
	out->memory_peak = read_u64(group, "memory.peak");
	out->oom_kills = read_key(group, "memory.events", "oom_kill");
	out->pids = read_u64(group, "pids.current");
}

static void
stats_v1(int group, unsigned controllers, struct cgroups_stats *out)
{
	if ((controllers & CGROUPS_CPUACCT) != 0)
		out->cpu_ns = read_u64(group, "cpuacct.usage");
	if ((controllers & CGROUPS_PIDS) != 0)
		out->pids = read_u64(group, "pids.current");
	if ((controllers & CGROUPS_MEMORY) == 0)
		return;
	out->memory_bytes = without(read_u64(group, "memory.usage_in_bytes"),
				    read_key(group, "memory.stat", "total_inactive_file"));
	out->memory_peak = read_u64(group, "memory.max_usage_in_bytes");
	out->oom_kills = read_key(group, "memory.oom_control", "oom_kill");
}

void
cgroups_stats(struct cgroups *cg, uint64_t replica, struct cgroups_stats *out)
{
	*out = (struct cgroups_stats){0};
	for (size_t i = 0; i < cg->layout.count; i++) {
		const struct cgroups_tree *tree = &cg->layout.trees[i];
		defer_close int group = cgroups_group(cg, i, replica);
		if (group < 0)
			continue;
		if (!tree->unified)
			stats_v1(group, tree->controllers, out);
		else if (cg->layout.mode == CGROUPS_V2)
			stats_v2(group, out);
	}
}
