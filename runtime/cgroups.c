/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where cgroups are, and groups for replicas. What exists is read from mountinfo, never guessed
 * from paths: other programs make plain folders with controllers' names in the same tmpfs. Pure v2,
 * pure v1 and hybrid (v1 controllers, and a v2 tree that is only good for cgroup.kill and BPF) are
 * all the same list of trees here.
 *
 * In v1 a replica gets a group only in the hierarchies whose controllers are used; in all others it
 * stays where the runtime is.
 */
#include "runtime/cgroups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "runtime/cgroups_write.h"

enum { CGROUP2_MAGIC = 0x63677270, CGROUP1_MAGIC = 0x27e0eb };

static const struct {
	const char *name;
	unsigned bit;
} controllers[] = {
	{"cpu", CGROUPS_CPU},       {"cpuacct", CGROUPS_CPUACCT}, {"cpuset", CGROUPS_CPUSET},
	{"memory", CGROUPS_MEMORY}, {"pids", CGROUPS_PIDS},       {"devices", CGROUPS_DEVICES},
};

/* ---- what the machine has ---- */

/* Takes the controllers out of the super block's options; false when there is none of ours. */
static bool
take_controllers(const char *options, struct cgroups_tree *tree)
{
	char copy[256];
	char *save = NULL;
	text_copy(copy, sizeof(copy), options);
	for (char *name = strtok_r(copy, ",\n ", &save); name != NULL;
	     name = strtok_r(NULL, ",\n ", &save)) {
		for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++) {
			if (strcmp(name, controllers[i].name) != 0)
				continue;
			size_t used = strlen(tree->names);
			text_format(tree->names + used, sizeof(tree->names) - used, "%s%s",
				    used > 0 ? "," : "", name);
			tree->controllers |= controllers[i].bit;
		}
	}
	return tree->controllers != 0;
}

/* "36 25 0:32 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu" */
static void
take_line(const char *line, struct cgroups_layout *out)
{
	char root[CGROUPS_PATH], path[CGROUPS_PATH], type[32], options[256];
	const char *dash = strstr(line, " - ");
	struct cgroups_tree tree = {0};
	if (dash == NULL || out->count == CGROUPS_TREES_MAX)
		return;
	if (sscanf(line, "%*u %*u %*s %255s %255s", root, path) != 2 ||
	    sscanf(dash + 3, "%31s %*s %255s", type, options) != 2)
		return;
	tree.unified = strcmp(type, "cgroup2") == 0;
	/* A bind mount of somebody's sub-group is not the tree. */
	if ((!tree.unified && strcmp(type, "cgroup") != 0) || strcmp(root, "/") != 0)
		return;
	if (!tree.unified && !take_controllers(options, &tree))
		return;
	for (size_t i = 0; i < out->count; i++)
		if (out->trees[i].unified == tree.unified &&
		    out->trees[i].controllers == tree.controllers)
			return;
	text_copy(tree.path, sizeof(tree.path), path);
	out->trees[out->count++] = tree;
}

void
cgroups_parse(const char *mountinfo, struct cgroups_layout *out)
{
	bool v1 = false, v2 = false;
	char line[2048];
	*out = (struct cgroups_layout){0};
	while (*mountinfo != '\0') {
		size_t length = strcspn(mountinfo, "\n");
		if (text_ncopy(line, sizeof(line), mountinfo, length))
			take_line(line, out);
		mountinfo += length + (mountinfo[length] == '\n');
	}
	for (size_t i = 0; i < out->count; i++) {
		v2 = v2 || out->trees[i].unified;
		v1 = v1 || !out->trees[i].unified;
	}
	if (v1 && v2)
		out->mode = CGROUPS_HYBRID;
	else if (v1)
		out->mode = CGROUPS_V1;
	else if (v2)
		out->mode = CGROUPS_V2;
}

void
cgroups_parent(const char *self, const char *instance, char *out, size_t cap)
{
	char suffix[128], line[CGROUPS_PATH];
	text_format(suffix, sizeof(suffix), "/zlayer/%s/roles", instance);
	text_format(out, cap, "zlayer/%s", instance);
	while (*self != '\0') {
		size_t length = strcspn(self, "\n");
		if (text_ncopy(line, sizeof(line), self, length) && text_starts(line, "0::/") &&
		    text_ends(line, suffix)) {
			line[length - strlen("/roles")] = '\0';
			text_copy(out, cap, line + 4);
			return;
		}
		self += length + (self[length] == '\n');
	}
}

static int
read_text(const char *path, struct buf *out, struct err *err)
{
	defer_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", path);
	return fd_read_all(fd, out, err);
}

/* ---- the parent ---- */

static bool
is_cgroup(int fd, bool unified)
{
	struct statfs fs;
	return fstatfs(fd, &fs) == 0 &&
	       (unsigned long)fs.f_type == (unified ? CGROUP2_MAGIC : CGROUP1_MAGIC);
}

/* Makes parent step by step; in v2 the controllers are handed down on the way. */
static int
open_parent(const struct cgroups_tree *tree, const char *parent)
{
	char copy[CGROUPS_PATH];
	char *save = NULL;
	int at = open(tree->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at < 0 || !is_cgroup(at, tree->unified)) {
		fd_close(&at);
		return -1;
	}
	text_copy(copy, sizeof(copy), parent);
	for (char *name = strtok_r(copy, "/", &save); name != NULL;
	     name = strtok_r(NULL, "/", &save)) {
		int below = -1;
		if (tree->unified)
			cgroups_delegate(at);
		if (mkdirat(at, name, 0755) == 0 || errno == EEXIST)
			below = fd_open_beneath(at, name, O_RDONLY | O_DIRECTORY, 0);
		fd_close(&at);
		if (below < 0)
			return -1;
		at = below;
		if (!tree->unified && (tree->controllers & CGROUPS_CPUSET) != 0)
			cgroups_inherit_cpuset(at);
	}
	if (tree->unified)
		cgroups_delegate(at);
	return at;
}

int
cgroups_open(const char *instance, struct cgroups **out, struct err *err)
{
	struct buf text;
	char parent[CGROUPS_PATH];
	int done = -1;
	struct cgroups *cg = mem_zalloc(MEM_RUNTIME, sizeof(*cg));
	if (cg == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory for the cgroups");
	buf_init(&text, MEM_RUNTIME, 1 << 20);
	if (read_text("/proc/self/mountinfo", &text, err) < 0)
		goto out;
	cgroups_parse(buf_cstr(&text), &cg->layout);
	buf_reset(&text);
	if (read_text("/proc/self/cgroup", &text, err) < 0)
		goto out;
	cgroups_parent(buf_cstr(&text), instance, parent, sizeof(parent));
	unsigned have = 0;
	for (size_t i = 0; i < cg->layout.count; i++) {
		cg->parent[i] = open_parent(&cg->layout.trees[i], parent);
		if (cg->parent[i] >= 0)
			have |= cg->layout.trees[i].controllers |
				(cg->layout.trees[i].unified ? 1U << 31 : 0);
	}
	if (have == 0) {
		err_set(err, ERR_UNSUPPORTED, "no cgroup can be made for containers");
		err_why(err, "neither cgroup v2 nor a v1 controller is mounted and writable");
		err_fix(err, "mount cgroup v2 at /sys/fs/cgroup (ip netns exec hides what is "
			     "mounted there; nsenter --net=/run/netns/NAME does not)");
		goto out;
	}
	done = 0;
out:
	buf_fini(&text);
	if (done < 0) {
		cgroups_close(cg);
		cg = NULL;
	}
	*out = cg;
	return done;
}

void
cgroups_close(struct cgroups *cg)
{
	if (cg == NULL)
		return;
	for (size_t i = 0; i < cg->layout.count; i++)
		if (cg->parent[i] > 0)
			close(cg->parent[i]);
	mem_free(cg);
}

enum cgroups_mode
cgroups_mode_of(const struct cgroups *cg)
{
	return cg->layout.mode;
}

const struct cgroups_layout *
cgroups_layout_of(const struct cgroups *cg)
{
	return &cg->layout;
}

/* ---- groups ---- */

int
cgroups_group(const struct cgroups *cg, size_t tree, uint64_t replica)
{
	char name[24];
	if (cg->parent[tree] < 0) {
		errno = ENOENT;
		return -1;
	}
	snprintf(name, sizeof(name), "%" PRIu64, replica);
	return fd_open_beneath(cg->parent[tree], name, O_RDONLY | O_DIRECTORY, 0);
}

static bool
wanted(const struct cgroups_tree *tree, const struct cgroups_limits *limits)
{
	const unsigned used = CGROUPS_CPU | CGROUPS_CPUACCT | CGROUPS_MEMORY | CGROUPS_PIDS |
			      CGROUPS_DEVICES | (limits->cpuset != NULL ? CGROUPS_CPUSET : 0U);
	return tree->unified || (tree->controllers & used) != 0;
}

static int
create_one(struct cgroups *cg, size_t i, uint64_t replica, const struct cgroups_limits *limits,
	   struct err *err)
{
	char name[24];
	const struct cgroups_tree *tree = &cg->layout.trees[i];
	if (cg->parent[i] < 0)
		return 0;
	snprintf(name, sizeof(name), "%" PRIu64, replica);
	/* Never an old one: its counters would be another attempt's, and Linux 6.18 kills what is
	 * cloned into a group that cgroup.kill was once written to. */
	if (unlinkat(cg->parent[i], name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(err, errno, "an old cgroup in %s is still in use", tree->path);
	if (mkdirat(cg->parent[i], name, 0755) < 0)
		return err_sys(err, errno, "cannot make a cgroup in %s", tree->path);
	defer_close int group = cgroups_group(cg, i, replica);
	if (group < 0)
		return err_sys(err, errno, "cannot open the cgroup in %s", tree->path);
	if (tree->unified)
		return cg->layout.mode == CGROUPS_V2 ? cgroups_limit_v2(group, limits, err) : 0;
	return cgroups_limit_v1(group, tree->controllers, limits, err);
}

int
cgroups_create(struct cgroups *cg, uint64_t replica, const struct cgroups_limits *limits,
	       struct err *err)
{
	for (size_t i = 0; i < cg->layout.count; i++)
		if (wanted(&cg->layout.trees[i], limits) &&
		    create_one(cg, i, replica, limits, err) < 0)
			return -1;
	return 0;
}

void
cgroups_fds_close(struct cgroups_fds *fds)
{
	for (size_t i = 0; i < fds->procs_count; i++)
		close(fds->procs[i]);
	fds->procs_count = 0;
	fd_close(&fds->unified);
	fd_close(&fds->kill);
	fd_close(&fds->oom);
}

static int
add_procs(struct cgroups_fds *fds, int group, struct err *err)
{
	int procs = openat(group, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (procs < 0)
		return err_sys(err, errno, "cannot open cgroup.procs");
	fds->procs[fds->procs_count++] = procs;
	return 0;
}

int
cgroups_fds_open(struct cgroups *cg, uint64_t replica, struct cgroups_fds *out, struct err *err)
{
	*out = (struct cgroups_fds){.unified = -1, .kill = -1, .oom = -1};
	for (size_t i = 0; i < cg->layout.count; i++) {
		const struct cgroups_tree *tree = &cg->layout.trees[i];
		defer_close int group = cgroups_group(cg, i, replica);
		if (group < 0)
			continue;
		if (tree->unified) {
			out->kill = openat(group, "cgroup.kill", O_WRONLY | O_CLOEXEC);
			if (cg->layout.mode == CGROUPS_V2)
				out->oom = openat(group, "memory.events", O_RDONLY | O_CLOEXEC);
			out->unified = fd_take(&group);
			continue;
		}
		if ((tree->controllers & CGROUPS_MEMORY) != 0)
			out->oom = openat(group, "memory.oom_control", O_RDONLY | O_CLOEXEC);
		if (add_procs(out, group, err) < 0) {
			cgroups_fds_close(out);
			return -1;
		}
	}
	return 0;
}

int
cgroups_procs_open(struct cgroups *cg, uint64_t replica, struct cgroups_fds *out, struct err *err)
{
	*out = (struct cgroups_fds){.unified = -1, .kill = -1, .oom = -1};
	for (size_t i = 0; i < cg->layout.count; i++) {
		defer_close int group = cgroups_group(cg, i, replica);
		if (group >= 0 && add_procs(out, group, err) < 0) {
			cgroups_fds_close(out);
			return -1;
		}
	}
	return 0;
}

/* ---- the end ---- */

/* Signals what stands in cgroup.procs; a pid is looked up again by pidfd so that a process that
 * ended meanwhile is not confused with another: it must still be in the group then. */
static bool
kill_listed(int group)
{
	char text[65536];
	bool found = false;
	defer_close int fd = openat(group, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	for (char *at = text; *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n') {
		long pid = strtol(at, NULL, 10);
		if (pid <= 1 || pid == getpid())
			continue;
		defer_close int pidfd = fd_pidfd_open((pid_t)pid);
		if (pidfd >= 0 && fd_pidfd_signal(pidfd, SIGKILL) == 0)
			found = true;
	}
	return found;
}

bool
cgroups_kill(struct cgroups *cg, uint64_t replica)
{
	bool found = false;
	for (size_t i = 0; i < cg->layout.count; i++) {
		defer_close int group = cgroups_group(cg, i, replica);
		if (group < 0)
			continue;
		if (cg->layout.trees[i].unified)
			cgroups_write(group, "cgroup.kill", "1");
		found = kill_listed(group) || found;
	}
	return found;
}

bool
cgroups_remove(struct cgroups *cg, uint64_t replica)
{
	char name[24];
	bool gone = true;
	snprintf(name, sizeof(name), "%" PRIu64, replica);
	for (size_t i = 0; i < cg->layout.count; i++)
		if (cg->parent[i] >= 0 && unlinkat(cg->parent[i], name, AT_REMOVEDIR) < 0 &&
		    errno != ENOENT)
			gone = false;
	return gone;
}

void
cgroups_each(struct cgroups *cg, void (*visit)(void *arg, uint64_t replica), void *arg)
{
	for (size_t i = 0; i < cg->layout.count; i++) {
		int fd = cg->parent[i] < 0 ? -1 : openat(cg->parent[i], ".", O_RDONLY | O_CLOEXEC);
		DIR *dir = fd < 0 ? NULL : fdopendir(fd);
		uint64_t replica;
		if (dir == NULL) {
			fd_close(&fd);
			continue;
		}
		for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
			if (text_u64(e->d_name, UINT64_MAX, &replica))
				visit(arg, replica);
		closedir(dir);
	}
}

void
cgroups_remove_parent(struct cgroups *cg)
{
	char link[64], path[512];
	for (size_t i = 0; i < cg->layout.count; i++) {
		if (cg->parent[i] < 0)
			continue;
		snprintf(link, sizeof(link), "/proc/self/fd/%d", cg->parent[i]);
		ssize_t n = readlink(link, path, sizeof(path) - 1);
		if (n > 0) {
			path[n] = '\0';
			rmdir(path);
			/* "zlayer" itself, unless another instance is there. */
			char *slash = strrchr(path, '/');
			if (slash != NULL && slash != path) {
				*slash = '\0';
				rmdir(path);
			}
		}
	}
}
