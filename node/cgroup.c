/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control groups v1 and v2. Only folders are made and processes placed; limits of containers are
 * runtime's. On a pure v2 machine the controllers are delegated from the parent down, which the
 * kernel allows only when no process stands in between: under systemd node moves itself from the
 * unit's group to its sub-group "node" first.
 */
#include "node/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "node/folder.h"

/* /proc/self/mountinfo: "36 25 0:32 / /sys/fs/cgroup/cpu rw ... - cgroup cgroup rw,cpu" */
static void
take_mount(struct cgroup *cg, char *line)
{
	char root[256];
	char *dash = strstr(line, " - ");
	bool v2 = dash && text_starts(dash, " - cgroup2 ");

	if (!dash || (!v2 && !text_starts(dash, " - cgroup ")) ||
	    cg->count >= CGROUP_HIERARCHIES_MAX)
		return;
	if (sscanf(line, "%*u %*u %*s %*s %255s", root) != 1 ||
	    !text_copy(cg->hierarchies[cg->count].root, sizeof(cg->hierarchies[0].root), root))
		return;
	cg->hierarchies[cg->count++].v2 = v2;
}

static void
find_hierarchies(struct cgroup *cg)
{
	char line[4096];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	bool v1 = false, v2 = false;

	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		take_mount(cg, line);
	fclose(f);
	for (unsigned i = 0; i < cg->count; i++) {
		v2 |= cg->hierarchies[i].v2;
		v1 |= !cg->hierarchies[i].v2;
	}
	cg->mode = v1 && v2 ? CGROUP_HYBRID : v2 ? CGROUP_V2 : v1 ? CGROUP_V1 : CGROUP_NONE;
}

/* Our own group in the v2 hierarchy: "0::/system.slice/zlayer.service". */
static void
own_group(char *out, size_t cap)
{
	char line[4096];
	FILE *f = fopen("/proc/self/cgroup", "re");

	out[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (text_starts(line, "0::/"))
			text_copy(out, cap, strcmp(line + 3, "/") == 0 ? "" : line + 3);
	}
	if (f)
		fclose(f);
	size_t length = strlen(out);
	if (text_ends(out, "/node"))
		out[length - 5] = '\0';
}

bool
cgroup_holder(const char *own, char *out, size_t cap)
{
	static const char suffix[] = ".service";
	size_t length = strlen(own);

	return length < cap && text_ends(own, suffix) &&
	       text_format(out, cap, "%.*s-containers%s", (int)(length - sizeof(suffix) + 1), own,
			   suffix);
}

/* The unit that holds the containers' cgroup, when it is there; else the own group is the parent,
 * and this process must leave it: a group with controllers may hold no process. */
static void
choose_parent(struct cgroup *cg)
{
	char own[sizeof(cg->parent)], holder[sizeof(cg->parent)], path[CGROUP_PATH];

	own_group(own, sizeof(own));
	text_copy(cg->parent, sizeof(cg->parent), own);
	cg->within = own[0] != '\0';
	if (!cgroup_holder(own, holder, sizeof(holder)))
		return;
	for (unsigned i = 0; i < cg->count; i++) {
		text_format(path, sizeof(path), "%s%s", cg->hierarchies[i].root, holder);
		if (!cg->hierarchies[i].v2 || access(path, F_OK) < 0)
			continue;
		text_copy(cg->parent, sizeof(cg->parent), holder);
		cg->within = false;
	}
}

static int
take_parent(struct cgroup *cg, const char *parent, struct err *err)
{
	char own[sizeof(cg->parent)];

	if (!text_format(cg->parent, sizeof(cg->parent), "%s%s",
			 parent[0] == '/' || !parent[0] ? "" : "/", parent))
		return err_set(err, ERR_INVALID, "runtime.cgroup_parent is too long");
	own_group(own, sizeof(own));
	cg->within = own[0] != '\0' && text_equal(own, cg->parent);
	return 0;
}

static int
write_file(const char *path, const char *text)
{
	defer_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	return write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

static void
delegate(const char *folder)
{
	static const char *const controllers[] = {"+cpu", "+memory", "+pids", "+io", "+cpuset"};
	char path[CGROUP_PATH + 160];

	text_format(path, sizeof(path), "%s/cgroup.subtree_control", folder);
	for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++)
		(void)write_file(path, controllers[i]);
}

static void
step_aside(const char *parent)
{
	char path[CGROUP_PATH + 160];

	text_format(path, sizeof(path), "%s/node", parent);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return;
	text_format(path, sizeof(path), "%s/node/cgroup.procs", parent);
	(void)write_file(path, "0");
}

static int
make_group(struct cgroup *cg, unsigned i, const char *instance)
{
	char path[CGROUP_PATH + 160];
	bool v2 = cg->hierarchies[i].v2;
	/* The unit's group is delegated in v2 only. */
	const char *parent = v2 || cg->mode == CGROUP_V2 ? cg->parent : "";

	text_format(path, sizeof(path), "%s%s", cg->hierarchies[i].root, parent);
	if (v2 && cg->within)
		step_aside(path);
	if (v2)
		delegate(path);
	text_format(path, sizeof(path), "%s%s/zlayer", cg->hierarchies[i].root, parent);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -1;
	if (v2)
		delegate(path);
	text_format(path, sizeof(path), "%s%s/zlayer/%s", cg->hierarchies[i].root, parent,
		    instance);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -1;
	if (!v2)
		return 0;
	delegate(path);
	text_format(path, sizeof(path), "%s%s/zlayer/%s/roles", cg->hierarchies[i].root, parent,
		    instance);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -1;
	text_format(path, sizeof(path), "%s%s/zlayer/%s/roles/cgroup.procs",
		    cg->hierarchies[i].root, parent, instance);
	cg->roles_fd = open(path, O_WRONLY | O_CLOEXEC);
	return cg->roles_fd < 0 ? -1 : 0;
}

int
cgroup_open(const char *parent, const char *instance, struct cgroup *cg, struct err *err)
{
	*cg = (struct cgroup){.roles_fd = -1};
	find_hierarchies(cg);
	if (text_equal(parent, "auto"))
		choose_parent(cg);
	else if (take_parent(cg, parent, err) < 0)
		return -1;
	text_format(cg->group, sizeof(cg->group), "/zlayer/%s", instance);
	for (unsigned i = 0; i < cg->count; i++)
		if (make_group(cg, i, instance) < 0)
			log_event(LOG_WARN, "cannot make a cgroup",
				  log_s("root", cg->hierarchies[i].root), log_i("errno", errno),
				  LOG_END);
	return 0;
}

void
cgroup_close(struct cgroup *cg)
{
	fd_close(&cg->roles_fd);
}

/* ---- a part ---- */

static void
part_path(const struct cgroup *cg, unsigned i, const char *name, const char *file, char *out,
	  size_t cap)
{
	bool own = cg->hierarchies[i].v2 || cg->mode == CGROUP_V2;

	text_format(out, cap, "%s%s%s/%s%s%s", cg->hierarchies[i].root, own ? cg->parent : "",
		    cg->group, name, file[0] ? "/" : "", file);
}

void
cgroup_part_make(const struct cgroup *cg, const char *name, uint64_t memory_bytes)
{
	char path[CGROUP_PATH + 256], limit[32];
	bool limited = memory_bytes == 0;

	text_format(limit, sizeof(limit), "%llu", (unsigned long long)memory_bytes);
	for (unsigned i = 0; i < cg->count; i++) {
		part_path(cg, i, name, "", path, sizeof(path));
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			continue;
		part_path(cg, i, name,
			  cg->hierarchies[i].v2 ? "memory.max" : "memory.limit_in_bytes", path,
			  sizeof(path));
		limited |= memory_bytes && write_file(path, limit) == 0;
	}
	if (!limited)
		log_event(LOG_WARN, "no cgroup limits the memory of a process",
			  log_s("process", name), LOG_END);
}

void
cgroup_part_enter(const struct cgroup *cg, const char *name)
{
	char path[CGROUP_PATH + 256];

	for (unsigned i = 0; i < cg->count; i++) {
		part_path(cg, i, name, "cgroup.procs", path, sizeof(path));
		(void)write_file(path, "0");
	}
}

static bool
populated(const char *path)
{
	char line[64];
	bool some = false;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f))
		some |= text_starts(line, "populated 1");
	if (f)
		fclose(f);
	return some;
}

bool
cgroup_busy(const struct cgroup *cg)
{
	for (unsigned i = 0; i < cg->count; i++) {
		char path[CGROUP_PATH + 160];

		if (!cg->hierarchies[i].v2)
			continue;
		text_format(path, sizeof(path), "%s%s%s/cgroup.events", cg->hierarchies[i].root,
			    cg->parent, cg->group);
		if (populated(path))
			return true;
	}
	return false;
}

void
cgroup_remove(struct cgroup *cg)
{
	cgroup_close(cg);
	for (unsigned i = 0; i < cg->count; i++) {
		char path[CGROUP_PATH + 160];
		bool v2 = cg->hierarchies[i].v2;

		text_format(path, sizeof(path), "%s%s/zlayer", cg->hierarchies[i].root,
			    v2 ? cg->parent : "");
		defer_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (folder_prune(fd, cg->group + strlen("/zlayer/"), false) < 0)
			log_event(LOG_WARN, "cannot remove a cgroup", log_s("path", path),
				  log_i("errno", errno), LOG_END);
		(void)rmdir(path);
	}
}
