/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/PID/stat, statm, fd and limits as metrics. A process that has just ended gives nothing. */
#include "node/usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "node/roles.h"
#include "ring/metrics.h"

void
usage_component(unsigned role, unsigned index, char *out, size_t cap)
{
	const struct roles_entry *entry = roles_get(role);

	if (entry && entry->many)
		text_format(out, cap, "%s.%u", role_name(role), index);
	else
		text_copy(out, cap, role_name(role));
}

static struct metric_series *
series(struct metric_page *page, enum metrics_id id, const char *component)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "component", component);
	return metrics_get(page, id, &labels);
}

static bool
read_file(pid_t pid, const char *name, char *out, size_t cap)
{
	char path[64];

	text_format(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	defer_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, cap - 1) : -1;
	out[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static int64_t
count_fds(pid_t pid)
{
	char path[64];
	int64_t count = 0;

	text_format(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	if (!dir)
		return 0;
	for (struct dirent *e; (e = readdir(dir));)
		count += e->d_name[0] != '.';
	closedir(dir);
	return count;
}

static int64_t
fds_max(pid_t pid)
{
	char text[4096];
	unsigned long long soft = 0;

	if (!read_file(pid, "limits", text, sizeof(text)))
		return 0;
	const char *line = strstr(text, "Max open files");
	if (!line || sscanf(line, "Max open files %llu", &soft) != 1)
		return 0;
	return (int64_t)soft;
}

void
usage_update(struct metric_page *page, const char *component, struct usage *usage)
{
	char text[1024];
	unsigned long long user = 0, system = 0, start = 0, resident = 0;
	uint64_t tick_ns = UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK);

	if (!read_file(usage->pid, "stat", text, sizeof(text)))
		return;
	/* The name may hold anything: fields are counted from its closing bracket. */
	const char *at = strrchr(text, ')');
	if (!at || sscanf(at,
			  ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d "
			  "%*d %*d %llu",
			  &user, &system, &start) != 3)
		return;
	uint64_t cpu_ns = (user + system) * tick_ns;
	metric_add(series(page, METRICS_PROCESS_CPU, component),
		   cpu_ns > usage->cpu_ns ? cpu_ns - usage->cpu_ns : 0);
	usage->cpu_ns = cpu_ns;
	int64_t boot_ns = world_wall_ns() - (int64_t)world_mono_ns();
	metric_set(series(page, METRICS_PROCESS_START, component),
		   boot_ns + (int64_t)(start * tick_ns));
	if (read_file(usage->pid, "statm", text, sizeof(text)) &&
	    sscanf(text, "%*u %llu", &resident) == 1)
		metric_set(series(page, METRICS_PROCESS_MEMORY, component),
			   (int64_t)(resident * (uint64_t)sysconf(_SC_PAGESIZE)));
	metric_set(series(page, METRICS_PROCESS_FDS, component), count_fds(usage->pid));
	metric_set(series(page, METRICS_PROCESS_FDS_MAX, component), fds_max(usage->pid));
}

uint64_t
usage_memory(struct metric_page *page, const char *component)
{
	const struct metric_series *s = series(page, METRICS_PROCESS_MEMORY, component);

	return s ? __atomic_load_n(&s->values[0], __ATOMIC_RELAXED) : 0;
}

void
usage_end(struct metric_page *page, const char *component)
{
	metric_set(series(page, METRICS_PROCESS_MEMORY, component), 0);
	metric_set(series(page, METRICS_PROCESS_FDS, component), 0);
	metric_set(series(page, METRICS_PROCESS_FDS_MAX, component), 0);
	usage_up(page, component, false);
}

void
usage_up(struct metric_page *page, const char *component, bool up)
{
	metric_set(series(page, METRICS_PROCESS_UP, component), up);
}

void
usage_restart(struct metric_page *page, const char *component, const char *reason)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "component", component);
	metric_label(&labels, "reason", reason);
	metric_add(metrics_get(page, METRICS_PROCESS_RESTARTS, &labels), 1);
}
