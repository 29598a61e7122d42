/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroups of a container with their limits, and the devices that they let it use: those of
 * every container, those of its plan, and for a privileged one all of the host.
 */
#include "runtime/container_build.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "base/fd.h"
#include "runtime/host_devices.h"

/* ---- devices ---- */

static int
fill_device(const struct plan_device *d, struct launch_device *node, struct cgroups_device *rule,
	    struct err *err)
{
	struct stat st;
	if (stat(d->path, &st) < 0 || (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))) {
		err_set(err, ERR_NOT_FOUND, "this node has no device %s", d->path);
		return err_fix(err, "load its driver, or place the service on another node");
	}
	*node = (struct launch_device){
		.path = d->path,
		.block = S_ISBLK(st.st_mode),
		.major = major(st.st_rdev),
		.minor = minor(st.st_rdev),
		.mode = st.st_mode & 0777,
	};
	*rule = (struct cgroups_device){
		.type = S_ISBLK(st.st_mode) ? 'b' : 'c',
		.major = node->major,
		.minor = node->minor,
		.read = d->read,
		.write = d->write,
		.mknod = d->mknod,
	};
	return 0;
}

/* After those of the plan, which have their own rights: a node that is there already stays. */
static int
add_host_devices(struct container_build *b, struct err *err)
{
	struct launch_device *host, *all;
	size_t count, have = b->l->devices_count;
	defer_close int dev = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dev < 0)
		return err_sys(err, errno, "cannot open /dev");
	if (host_devices_list(dev, "/dev", b->arena, &host, &count, err) < 0)
		return -1;
	all = arena_array(b->arena, have + count + 1, sizeof(*all));
	if (all == NULL)
		return container_no_memory(err);
	memcpy(all, b->l->devices, have * sizeof(*all));
	memcpy(all + have, host, count * sizeof(*all));
	b->l->devices = all;
	b->l->devices_count = have + count;
	return 0;
}

static int
fill_devices(struct container_build *b, struct cgroups_limits *limits, struct err *err)
{
	const struct plan *p = b->c->plan;
	size_t count;
	const struct cgroups_device *defaults = cgroups_device_defaults(&count);
	struct cgroups_device *rules =
		arena_array(b->arena, count + p->devices_count, sizeof(*rules));
	b->l->devices = arena_array(b->arena, p->devices_count + 1, sizeof(*b->l->devices));
	if (rules == NULL || b->l->devices == NULL)
		return container_no_memory(err);
	if (count + p->devices_count > CGROUPS_DEVICES_MAX)
		return err_set(err, ERR_LIMIT, "too many devices for one container");
	memcpy(rules, defaults, count * sizeof(*rules));
	for (size_t i = 0; i < p->devices_count; i++)
		if (fill_device(&p->devices[i], &b->l->devices[i], &rules[count + i], err) < 0)
			return -1;
	b->l->devices_count = p->devices_count;
	limits->devices = rules;
	limits->devices_count = count + p->devices_count;
	limits->all_devices = p->privileged;
	return p->privileged ? add_host_devices(b, err) : 0;
}

/* ---- cgroups ---- */

static int
pass_optional(struct container_build *b, int *fd, int32_t *number, struct err *err)
{
	*number = -1;
	if (*fd < 0)
		return 0;
	*number = container_build_pass(b, fd_take(fd), err);
	return *number < 0 ? -1 : 0;
}

int
container_groups_make(struct container_build *b, struct err *err)
{
	const struct plan *p = b->c->plan;
	struct cgroups *groups = b->c->host->groups;
	struct cgroups_fds fds;
	int done = -1;
	struct cgroups_limits limits = {
		.cpu_milli = p->cpu_milli,
		.cpu_shares = p->cpu_shares,
		.cpuset = p->cpuset,
		.memory_bytes = p->memory_bytes,
		.memory_swap_bytes = p->memory_swap_bytes,
		.memory_reservation_bytes = p->memory_reservation_bytes,
		.pids = p->pids,
	};
	if (fill_devices(b, &limits, err) < 0)
		return -1;
	b->c->groups_left = true;
	if (cgroups_create(groups, b->c->replica, &limits, err) < 0 ||
	    cgroups_fds_open(groups, b->c->replica, &fds, err) < 0)
		return -1;
	int32_t *numbers = arena_array(b->arena, fds.procs_count + 1, sizeof(*numbers));
	if (numbers == NULL) {
		container_no_memory(err);
		goto out;
	}
	for (size_t i = 0; i < fds.procs_count; i++)
		if (pass_optional(b, &fds.procs[i], &numbers[i], err) < 0)
			goto out;
	b->l->cgroup_procs = (struct launch_fds){.items = numbers, .count = fds.procs_count};
	fds.procs_count = 0;
	if (pass_optional(b, &fds.unified, &b->l->cgroup_fd, err) < 0 ||
	    pass_optional(b, &fds.kill, &b->l->kill_fd, err) < 0 ||
	    pass_optional(b, &fds.oom, &b->l->oom_fd, err) < 0)
		goto out;
	done = 0;
out:
	cgroups_fds_close(&fds);
	return done;
}

int
container_groups_mounts(struct container_build *b, struct err *err)
{
	const struct cgroups_layout *layout = cgroups_layout_of(b->c->host->groups);
	b->l->cgroup_v2_mount = layout->mode == CGROUPS_V2;
	char **items = arena_array(b->arena, layout->count + 1, sizeof(*items));
	if (items == NULL)
		return container_no_memory(err);
	for (size_t i = 0; i < layout->count; i++)
		if (!layout->trees[i].unified && layout->trees[i].names[0] != '\0')
			items[b->l->cgroup_v1_mounts.count++] =
				arena_strdup(b->arena, layout->trees[i].names);
	b->l->cgroup_v1_mounts.items = items;
	return 0;
}
