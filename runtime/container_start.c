/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From plan and image to a launch description. Everything that can be wrong with a plan on this
 * machine (no such device, no such folder to bind, an unknown capability) is found here and in the
 * parts that are called, before anything of the container exists, and said in the words of the
 * deployment document.
 */
#include "runtime/container_build.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "runtime/container_process.h"

enum { ARENA_BYTES = 8 << 20 };

static const char *const masked_paths[] = {
	"/proc/acpi",        "/proc/asound",  "/proc/interrupts",
	"/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi",    "/proc/timer_list",
	"/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap",
};
static const char *const readonly_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

int
container_no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory to prepare the container");
}

int32_t
container_build_pass(struct container_build *b, int fd, struct err *err)
{
	int32_t number = spawn_fds_add(b->fds, fd);
	if (number < 0) {
		fd_close(&fd);
		err_set(err, ERR_LIMIT, "the container has too many mounts");
		return -1;
	}
	b->opened[b->opened_count++] = fd;
	return number;
}

static bool
sysctl_allowed(const char *key)
{
	/* Those that belong to a namespace of the container's own. */
	return text_starts(key, "net.") || text_starts(key, "fs.mqueue.") ||
	       text_starts(key, "kernel.msg") || text_starts(key, "kernel.shm") ||
	       strcmp(key, "kernel.sem") == 0;
}

static int
fill_sysctls(struct container_build *b, struct err *err)
{
	const struct plan *p = b->c->plan;
	b->l->sysctls = arena_array(b->arena, p->sysctls_count + 1, sizeof(*b->l->sysctls));
	if (b->l->sysctls == NULL)
		return container_no_memory(err);
	for (size_t i = 0; i < p->sysctls_count; i++) {
		const char *key = p->sysctls[i].key;
		if (!sysctl_allowed(key) || strchr(key, '/') != NULL || strstr(key, "..") != NULL) {
			err_set(err, ERR_INVALID, "the sysctl %s cannot be set for a container",
				key);
			return err_why(err, "only net.*, fs.mqueue.*, kernel.msg*, kernel.shm* and "
					    "kernel.sem belong to it alone");
		}
		b->l->sysctls[i] = (struct launch_pair){p->sysctls[i].key, p->sysctls[i].value};
	}
	b->l->sysctls_count = p->sysctls_count;
	return 0;
}

static void
fill_paths(struct container_build *b)
{
	/* The lists are constant; the description only reads them. */
	if (b->c->plan->privileged)
		return;
	b->l->masked = (struct launch_list){(char **)(uintptr_t)masked_paths,
					    sizeof(masked_paths) / sizeof(masked_paths[0])};
	b->l->readonly = (struct launch_list){(char **)(uintptr_t)readonly_paths,
					      sizeof(readonly_paths) / sizeof(readonly_paths[0])};
}

static int
fill_monitor(struct container_build *b, int folder, struct err *err)
{
	char path[64];
	struct container *c = b->c;
	struct launch *l = b->l;
	int netns = net_namespace(c->host->net, c->replica, err);
	if (netns < 0 || (l->netns_fd = container_build_pass(b, netns, err)) < 0)
		return -1;
	int control = monitor_link_listen(folder, err);
	if (control < 0 || (l->control_fd = container_build_pass(b, control, err)) < 0)
		return -1;
	int run = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run < 0)
		return err_sys(err, errno, "cannot open the container's folder");
	if ((l->run_fd = container_build_pass(b, run, err)) < 0)
		return -1;
	text_format(path, sizeof(path), "exits/%" PRIu64, c->replica);
	/* How the program ended stays on record, whatever becomes of what holds its place. */
	int record = c->hold ? openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
			     : place_folder(c->host->place.data, path, err);
	if (record < 0 && c->hold)
		return err_sys(err, errno, "cannot open the container's folder");
	if (record < 0 || (l->record_fd = container_build_pass(b, record, err)) < 0)
		return -1;
	int log = place_log(&c->host->place, c->plan->deployment, c->plan->service_name,
			    c->plan->index, c->replica, err);
	if (log < 0 || (l->log_fd = container_build_pass(b, log, err)) < 0)
		return -1;
	l->log_max_bytes = c->plan->log_max_bytes;
	l->log_max_files = c->plan->log_max_files;
	const struct seccomp_profile *own = &c->host->own[SECCOMP_PROFILE_MONITOR];
	l->monitor_filter = (struct launch_filter){.items = own->items, .count = own->count};
	return 0;
}

/* Nobody's process, with no right to anything: it only sleeps. Only exec runs programs there. */
static int
fill_hold(struct container_build *b, int folder, struct err *err)
{
	struct launch *l = b->l;
	defer_close int mark = openat(folder, "hold", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (mark < 0)
		return err_sys(err, errno, "cannot mark the container's folder");
	char **items = arena_array(b->arena, 1, sizeof(*items));
	if (items == NULL)
		return container_no_memory(err);
	items[0] = arena_strdup(b->arena, "zlayer-hold");
	l->hold = true;
	l->steps_count = 0;
	l->argv = (struct launch_list){.items = items, .count = 1};
	l->env.count = 0;
	l->caps = 0;
	l->no_new_privs = true;
	return 0;
}

static int
fill(struct container_build *b, int folder, struct err *err)
{
	char name[MSG_NAME];
	struct container *c = b->c;
	struct launch *l = b->l;
	l->verb = LAUNCH_RUN;
	l->hostname = arena_strdup(b->arena, container_process_hostname(c, name));
	l->stage = c->host->place.stage;
	l->read_only_root = c->plan->read_only_root;
	l->steps = c->plan->steps;
	l->steps_count = c->plan->steps_count;
	fill_paths(b);
	if (container_process(c, l, b->arena, err) < 0 ||
	    (c->hold ? fill_hold(b, folder, err) : container_process_argv(c, l, b->arena, err)) <
		    0 ||
	    container_root_layers(b, err) < 0 || fill_sysctls(b, err) < 0 ||
	    container_root_volumes(b, err) < 0)
		return -1;
	c->row.conditions |= MSG_VOLUME_READY;
	if (container_root_upper(b, err) < 0 || container_groups_make(b, err) < 0 ||
	    container_groups_mounts(b, err) < 0 || fill_monitor(b, folder, err) < 0)
		return -1;
	container_root_mounts(b);
	return arena_ok(b->arena) ? 0 : container_no_memory(err);
}

int
container_start(struct container *c, struct err *err)
{
	struct arena arena;
	struct launch launch;
	struct spawn_fds *fds = mem_zalloc(MEM_RUNTIME, sizeof(*fds));
	struct container_build *b = mem_zalloc(MEM_RUNTIME, sizeof(*b));
	int folder = -1, done = -1;

	arena_init(&arena, MEM_RUNTIME, ARENA_BYTES);
	launch_init(&launch);
	if (fds == NULL || b == NULL) {
		container_no_memory(err);
		goto out;
	}
	spawn_fds_init(fds);
	*b = (struct container_build){.c = c, .arena = &arena, .l = &launch, .fds = fds};
	folder = place_container(&c->host->place, c->replica, true, err);
	if (folder < 0)
		goto out;
	unlinkat(folder, "exit", 0);
	unlinkat(folder, "state", 0);
	unlinkat(folder, "hold", 0);
	if (fill(b, folder, err) < 0)
		goto out;
	done = spawn_start(&c->host->spawn, &launch, fds, NULL, NULL, err);
out:
	for (size_t i = 0; b != NULL && i < b->opened_count; i++)
		close(b->opened[i]);
	fd_close(&folder);
	mem_free(b);
	mem_free(fds);
	arena_fini(&arena);
	return done;
}
