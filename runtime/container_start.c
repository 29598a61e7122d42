/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From plan and image to a launch description. Everything that can be wrong with a plan on this
 * machine (no such device, no such folder to bind, an unknown capability) is found here, before
 * anything of the container exists, and said in the words of the deployment document.
 *
 * Mounts are made here, detached: sources are opened once, in the host's mount namespace, which the
 * container's first process has left.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "runtime/container.h"
#include "runtime/host_devices.h"
#include "runtime/launch.h"
#include "runtime/mount_call.h"

enum { ARENA_BYTES = 8 << 20, MOUNTS_MAX = 256, DEFAULT_FILES = 1024, DEFAULT_FILES_HARD = 524288 };

#define BIT(n) (UINT64_C(1) << (n))
/* chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot
 * mknod audit_write setfcap */
#define CAPS_DEFAULT UINT64_C(0xa80425fb)
#define CAPS_ALL (BIT(41) - 1)

static const char *const masked_paths[] = {
	"/proc/acpi",        "/proc/asound",  "/proc/interrupts",
	"/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi",    "/proc/timer_list",
	"/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap",
};
static const char *const readonly_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

/* What is being made: the description, what the monitor inherits, and what is closed after. */
struct building {
	struct container *c;
	struct arena *arena;
	struct launch *l;
	struct spawn_fds *fds;
	int opened[LAUNCH_FDS_MAX];
	size_t opened_count;
	struct launch_mount mounts[MOUNTS_MAX];
	size_t mounts_count;
};

/* Takes fd over; gives its number in the monitor, -1 with err when there are too many. */
static int32_t
pass(struct building *b, int fd, struct err *err)
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

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory to prepare the container");
}

/* ---- the process ---- */

static bool
same_key(const char *item, const char *key)
{
	size_t length = strlen(key);
	return strncmp(item, key, length) == 0 && item[length] == '=';
}

static bool
plan_has_key(const struct plan *p, const char *item)
{
	for (size_t i = 0; i < p->env_count; i++)
		if (same_key(item, p->env[i].key))
			return true;
	return false;
}

static const char *
hostname_of(const struct container *c, char out[MSG_NAME])
{
	if (c->plan->hostname != NULL && c->plan->hostname[0] != '\0')
		return c->plan->hostname;
	text_format(out, MSG_NAME, "%.50s-%u", c->plan->service_name, c->plan->index);
	return out;
}

/* The image's variables, then the plan's over them; PATH and HOSTNAME when nobody set them. */
static void
fill_env(struct container *c, struct launch *l, struct arena *a)
{
	const struct plan *p = c->plan;
	const struct image_list *image = &c->image->env;
	char name[MSG_NAME];
	bool path = false, host = false;
	char **items = arena_array(a, image->count + p->env_count + 3, sizeof(*items));
	size_t n = 0;
	if (items == NULL)
		return;
	for (size_t i = 0; i < image->count; i++)
		if (!plan_has_key(p, image->items[i]) && strchr(image->items[i], '=') != NULL)
			items[n++] = image->items[i];
	for (size_t i = 0; i < p->env_count; i++)
		items[n++] = arena_printf(a, "%s=%s", p->env[i].key, p->env[i].value);
	for (size_t i = 0; i < n && items[i] != NULL; i++) {
		path = path || same_key(items[i], "PATH");
		host = host || same_key(items[i], "HOSTNAME");
	}
	if (!path)
		items[n++] = arena_strdup(
			a, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	if (!host)
		items[n++] = arena_printf(a, "HOSTNAME=%s", hostname_of(c, name));
	l->env = (struct launch_list){.items = items, .count = n};
}

static int
fill_argv(const struct container *c, struct launch *l, struct arena *a, struct err *err)
{
	const struct plan *p = c->plan;
	const struct image_record *image = c->image;
	size_t entry = p->entrypoint.given ? p->entrypoint.count : image->entrypoint.count;
	size_t rest = p->args.given ? p->args.count : image->cmd.count;
	char **from = p->entrypoint.given ? p->entrypoint.items : image->entrypoint.items;
	char **then = p->args.given ? p->args.items : image->cmd.items;
	char **items = arena_array(a, entry + rest + 1, sizeof(*items));
	if (items == NULL)
		return no_memory(err);
	if (entry + rest == 0) {
		err_set(err, ERR_INVALID, "there is nothing to run");
		err_why(err, "the image %s has no entrypoint and no command", p->image);
		return err_fix(err, "say what to run in command.args");
	}
	for (size_t i = 0; i < entry; i++)
		items[i] = from[i];
	for (size_t i = 0; i < rest; i++)
		items[entry + i] = then[i];
	if (items[0][0] == '\0')
		return err_set(err, ERR_INVALID, "the name of the program to run is empty");
	l->argv = (struct launch_list){.items = items, .count = entry + rest};
	return 0;
}

static int
change_caps(uint64_t *caps, const struct plan_list *list, bool add, struct err *err)
{
	for (size_t i = 0; i < list->count; i++) {
		const char *name = list->items[i];
		bool all = strcasecmp(name, "all") == 0;
		int cap = all ? 0 : sandbox_cap_parse(name);
		if (cap < 0) {
			err_set(err, ERR_INVALID, "there is no capability %s", name);
			return err_fix(err, "capabilities(7) has the names");
		}
		uint64_t bits = all ? CAPS_ALL : BIT(cap);
		*caps = add ? *caps | bits : *caps & ~bits;
	}
	return 0;
}

/* Drop "ALL" and add one means: exactly that one. */
static int
fill_caps(const struct plan *p, struct launch *l, struct err *err)
{
	l->caps = p->privileged ? CAPS_ALL : CAPS_DEFAULT;
	bool drops_all = false;
	for (size_t i = 0; i < p->cap_drop.count; i++)
		drops_all = drops_all || strcasecmp(p->cap_drop.items[i], "all") == 0;
	if (drops_all)
		l->caps = 0;
	if (change_caps(&l->caps, &p->cap_add, true, err) < 0)
		return -1;
	return drops_all ? 0 : change_caps(&l->caps, &p->cap_drop, false, err);
}

static const struct {
	const char *name;
	uint32_t resource;
} limit_names[] = {
	{"as", RLIMIT_AS},
	{"core", RLIMIT_CORE},
	{"cpu", RLIMIT_CPU},
	{"data", RLIMIT_DATA},
	{"fsize", RLIMIT_FSIZE},
	{"locks", RLIMIT_LOCKS},
	{"memlock", RLIMIT_MEMLOCK},
	{"msgqueue", RLIMIT_MSGQUEUE},
	{"nice", RLIMIT_NICE},
	{"nofile", RLIMIT_NOFILE},
	{"nproc", RLIMIT_NPROC},
	{"rss", RLIMIT_RSS},
	{"rtprio", RLIMIT_RTPRIO},
	{"rttime", RLIMIT_RTTIME},
	{"sigpending", RLIMIT_SIGPENDING},
	{"stack", RLIMIT_STACK},
};

static int
limit_of(const char *name, uint32_t *out)
{
	for (size_t i = 0; i < sizeof(limit_names) / sizeof(limit_names[0]); i++) {
		if (strcmp(limit_names[i].name, name) == 0) {
			*out = limit_names[i].resource;
			return 0;
		}
	}
	return -1;
}

static int
fill_rlimits(const struct plan *p, struct launch *l, struct arena *a, struct err *err)
{
	bool files = false;
	l->rlimits = arena_array(a, p->ulimits_count + 2, sizeof(*l->rlimits));
	if (l->rlimits == NULL)
		return no_memory(err);
	for (size_t i = 0; i < p->ulimits_count; i++) {
		struct launch_rlimit *r = &l->rlimits[l->rlimits_count++];
		*r = (struct launch_rlimit){
			.given = true, .soft = p->ulimits[i].soft, .hard = p->ulimits[i].hard};
		if (limit_of(p->ulimits[i].name, &r->resource) < 0)
			return err_set(err, ERR_INVALID, "there is no resource limit \"%s\"",
				       p->ulimits[i].name);
		files = files || r->resource == RLIMIT_NOFILE;
	}
	if (!files)
		l->rlimits[l->rlimits_count++] = (struct launch_rlimit){.resource = RLIMIT_NOFILE,
									.soft = DEFAULT_FILES,
									.hard = DEFAULT_FILES_HARD};
	return 0;
}

static int
fill_filter(struct container *c, struct launch *l, struct err *err)
{
	struct container_host *h = c->host;
	uint64_t caps = (l->caps & seccomp_profile_caps()) | BIT(63);
	if (c->plan->privileged || c->plan->seccomp == PLAN_SECCOMP_UNCONFINED)
		return 0;
	/* Compiling takes milliseconds; a node uses one or two profiles. */
	for (size_t i = 0; i < CONTAINER_PROFILES; i++) {
		if (h->profiles[i].caps == caps) {
			l->filter.items = h->profiles[i].profile.items;
			l->filter.count = h->profiles[i].profile.count;
			return 0;
		}
	}
	struct seccomp_profile made;
	if (seccomp_profile_container(l->caps, &made, err) < 0)
		return -1;
	size_t at = h->profiles_next++ % CONTAINER_PROFILES;
	seccomp_profile_fini(&h->profiles[at].profile);
	h->profiles[at].profile = made;
	h->profiles[at].caps = caps;
	l->filter = (struct launch_filter){.items = made.items, .count = made.count};
	return 0;
}

int
container_process(struct container *c, struct launch *l, struct arena *a, struct err *err)
{
	const struct plan *p = c->plan;
	const char *workdir = p->workdir != NULL ? p->workdir : c->image->workdir;
	const char *user = p->user != NULL ? p->user : c->image->user;
	l->replica = c->replica;
	l->attempt = c->attempt;
	l->privileged = p->privileged;
	l->no_new_privs = p->no_new_privs;
	l->oom_score_adj_given = p->oom_score_adj_given;
	l->oom_score_adj = p->oom_score_adj;
	if (workdir == NULL || workdir[0] == '\0')
		workdir = "/";
	l->workdir = workdir[0] == '/' ? arena_strdup(a, workdir) : arena_printf(a, "/%s", workdir);
	l->user = arena_strdup(a, user == NULL ? "" : user);
	fill_env(c, l, a);
	if (fill_caps(p, l, err) < 0 || fill_rlimits(p, l, a, err) < 0 ||
	    fill_filter(c, l, err) < 0)
		return -1;
	return arena_ok(a) ? 0 : no_memory(err);
}

/* ---- mounts ---- */

static int
add_mount(struct building *b, const struct launch_mount *m, struct err *err)
{
	if (b->mounts_count == MOUNTS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d mounts in one container", MOUNTS_MAX);
	if (m->target[0] != '/' || m->target[1] == '\0')
		return err_set(err, ERR_INVALID,
			       "a mount's target must be an absolute path, not %s", m->target);
	b->mounts[b->mounts_count++] = *m;
	return 0;
}

/* Takes the source over. */
static int
add_tree(struct building *b, int source, const char *target, bool readonly, bool inherit,
	 struct err *err)
{
	struct stat st;
	struct launch_mount m = {.kind = LAUNCH_TREE, .readonly = readonly, .inherit = inherit};
	defer_close int from = source;
	defer_close int tree = mount_call_clone(from, "", 0x8000 /* AT_RECURSIVE */);
	if (tree < 0 || fstat(from, &st) < 0 ||
	    (readonly && mount_call_attributes(tree, MOUNT_ATTR_RDONLY, 0, true) < 0))
		return err_sys(err, errno, "cannot prepare the mount of %s", target);
	m.directory = S_ISDIR(st.st_mode);
	m.target = arena_strdup(b->arena, target);
	m.fd = pass(b, fd_take(&tree), err);
	if (m.target == NULL)
		return no_memory(err);
	return m.fd < 0 ? -1 : add_mount(b, &m, err);
}

static int
add_volume(struct building *b, int base, const char *path, const struct plan_mount *m,
	   struct err *err)
{
	struct stat st;
	defer_close int folder = place_folder(base, path, err);
	if (folder < 0)
		return -1;
	/* Made just now: it belongs to the runtime's own uid, which nobody has in a container. */
	if (fstat(folder, &st) == 0 && st.st_uid == geteuid() &&
	    (fchown(folder, 0, 0) < 0 || fchmod(folder, 0755) < 0))
		return err_sys(err, errno, "cannot prepare the volume for %s", m->target);
	return add_tree(b, fd_take(&folder), m->target, m->readonly, true, err);
}

static int
add_bind(struct building *b, const struct plan_mount *m, struct err *err)
{
	int source = open(m->source, O_PATH | O_CLOEXEC);
	if (source >= 0)
		return add_tree(b, source, m->target, m->readonly, false, err);
	err_sys(err, errno, "cannot bind %s to %s", m->source, m->target);
	return err_fix(err, "make %s on this node, or use a named volume", m->source);
}

static int
add_plan_mount(struct building *b, const struct plan_mount *m, size_t i, struct err *err)
{
	char path[512];
	struct launch_mount tmpfs = {.kind = LAUNCH_TMPFS, .fd = -1};
	switch (m->kind) {
	case PLAN_MOUNT_BIND:
		return add_bind(b, m, err);
	case PLAN_MOUNT_NAMED:
		if (!text_is_label(m->source) || !text_is_label(b->c->plan->deployment))
			return err_set(err, ERR_INVALID, "\"%s\" is no name for a volume",
				       m->source);
		text_format(path, sizeof(path), "%s/%s", b->c->plan->deployment, m->source);
		return add_volume(b, b->c->host->place.volumes, path, m, err);
	case PLAN_MOUNT_ANONYMOUS:
		text_format(path, sizeof(path), "anonymous/%" PRIu64 "/%zu", b->c->replica, i);
		return add_volume(b, b->c->host->place.data, path, m, err);
	case PLAN_MOUNT_TMPFS:
		tmpfs.target = m->target;
		tmpfs.size_bytes = m->size_bytes;
		tmpfs.mode = m->mode & 07777;
		tmpfs.readonly = m->readonly;
		return add_mount(b, &tmpfs, err);
	}
	return err_set(err, ERR_INVALID, "a mount of unknown kind");
}

static bool
plan_covers(const struct plan *p, const char *target)
{
	for (size_t i = 0; i < p->mounts_count; i++)
		if (strcmp(p->mounts[i].target, target) == 0)
			return true;
	return false;
}

static size_t
depth_of(const char *path)
{
	size_t depth = 0;
	for (; *path != '\0'; path++)
		depth += *path == '/' && path[1] != '\0' && path[1] != '/';
	return depth;
}

static int
outer_first(const void *a, const void *b)
{
	const struct launch_mount *x = a, *y = b;
	size_t dx = depth_of(x->target), dy = depth_of(y->target);
	if (dx != dy)
		return dx < dy ? -1 : 1;
	return strcmp(x->target, y->target);
}

/* Volumes that the image declares and the plan does not cover are anonymous ones. */
static int
fill_volumes(struct building *b, struct err *err)
{
	const struct plan *p = b->c->plan;
	for (size_t i = 0; i < p->mounts_count; i++)
		if (add_plan_mount(b, &p->mounts[i], i, err) < 0)
			return -1;
	for (size_t i = 0; i < b->c->image->volumes.count; i++) {
		struct plan_mount m = {.kind = PLAN_MOUNT_ANONYMOUS,
				       .target = b->c->image->volumes.items[i]};
		if (m.target[0] == '/' && !plan_covers(p, m.target) &&
		    add_plan_mount(b, &m, 1000 + i, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- files of ours in the container ---- */

static void
text_of_hosts(const struct container *c, struct buf *out)
{
	char ip[ADDR_TEXT_BYTES], name[MSG_NAME];
	const char *host = hostname_of(c, name);
	buf_puts(out, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
	addr_put_ip(&c->row.addr4, ip, sizeof(ip));
	buf_printf(out, "%s\t%s\n", ip, host);
	if (!addr_is_zero(&c->row.addr6)) {
		addr_put_ip(&c->row.addr6, ip, sizeof(ip));
		buf_printf(out, "%s\t%s\n", ip, host);
	}
	for (size_t i = 0; i < c->plan->extra_hosts_count; i++)
		buf_printf(out, "%s\t%s\n", c->plan->extra_hosts[i].value,
			   c->plan->extra_hosts[i].key);
}

static void
text_of_resolver(const struct container *c, struct buf *out)
{
	char ip[ADDR_TEXT_BYTES];
	const struct msg_prefix *prefix = &c->host->prefix;
	if (!addr_is_zero(&prefix->service4)) {
		addr_put_ip(&prefix->service4, ip, sizeof(ip));
		buf_printf(out, "nameserver %s\n", ip);
	}
	/* A bare "db" is the deployment's service; "db.global" has a dot and is asked for as it is.
	 */
	buf_printf(out, "search %s.zlayer.internal\n", c->plan->deployment);
	buf_puts(out, "options ndots:1 timeout:2 attempts:3\n");
}

static int
add_file(struct building *b, int folder, const char *name, struct buf *text, struct err *err)
{
	char target[64];
	text_format(target, sizeof(target), "/etc/%s", name);
	if (!buf_ok(text))
		return no_memory(err);
	defer_close int file = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (file < 0 || fchown(file, 0, 0) < 0 || fchmod(file, 0644) < 0)
		return err_sys(err, errno, "cannot prepare %s", target);
	if (fd_write_all(file, text->data, text->length, err) < 0)
		return err_where(err, "preparing %s", target);
	if (plan_covers(b->c->plan, target))
		return 0;
	return add_tree(b, fd_take(&file), target, false, false, err);
}

static int
fill_files(struct building *b, int folder, struct err *err)
{
	char name[MSG_NAME];
	struct buf text;
	int done = -1;
	buf_init(&text, MEM_RUNTIME, 1 << 20);
	text_of_hosts(b->c, &text);
	if (add_file(b, folder, "hosts", &text, err) < 0)
		goto out;
	buf_reset(&text);
	text_of_resolver(b->c, &text);
	if (add_file(b, folder, "resolv.conf", &text, err) < 0)
		goto out;
	buf_reset(&text);
	buf_printf(&text, "%s\n", hostname_of(b->c, name));
	done = add_file(b, folder, "hostname", &text, err);
out:
	buf_fini(&text);
	return done;
}

/* ---- the root ---- */

static int
own_folder(int base, const char *name, struct err *err)
{
	defer_close int fd = place_folder(base, name, err);
	if (fd < 0)
		return -1;
	if (fchown(fd, 0, 0) < 0 || fchmod(fd, 0755) < 0)
		return err_sys(err, errno, "cannot prepare the container's own layer");
	return 0;
}

/* Those of the attempt before; they are made anew. */
static void
forget_files(int folder)
{
	static const char *const names[] = {"hosts", "resolv.conf", "hostname"};
	for (size_t i = 0; folder >= 0 && i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(folder, names[i], 0);
}

/* Also takes our own files of the container: it may write them, so they lie where all that it
 * writes does, and not in memory below /run. */
static int
fill_upper(struct building *b, struct err *err)
{
	char name[64], path[512];
	struct container *c = b->c;
	text_format(name, sizeof(name), "upper/%" PRIu64 ".%u", c->replica, c->attempt);
	if (c->hold)
		place_inherit_upper(&c->host->place, c->replica, c->attempt);
	place_delete_uppers(&c->host->place, c->replica, c->attempt);
	/* Left half-made by a runtime that was killed: begin with a clean one. */
	if (!c->hold)
		place_delete(&c->host->place, c->host->place.data, name);
	defer_close int folder = place_folder(c->host->place.data, name, err);
	if (c->hold)
		forget_files(folder);
	if (folder < 0 || own_folder(folder, "upper", err) < 0 ||
	    own_folder(folder, "work", err) < 0)
		return -1;
	if (!place_path(folder, path, sizeof(path)))
		return err_set(err, ERR_INTERNAL, "the data folder has no usable path");
	b->l->upper = arena_printf(b->arena, "%s/upper", path);
	b->l->work = arena_printf(b->arena, "%s/work", path);
	return fill_files(b, folder, err);
}

static int
fill_layers(struct building *b, struct err *err)
{
	const struct image_list *layers = &b->c->image->layers;
	char path[512];
	b->l->layers.items = arena_array(b->arena, layers->count + 1, sizeof(char *));
	if (b->l->layers.items == NULL)
		return no_memory(err);
	for (size_t i = 0; i < layers->count; i++) {
		const char *name = layers->items[layers->count - 1 - i];
		defer_close int fd = image_store_open_layer(b->c->host->images, name, err);
		if (fd < 0)
			return -1;
		if (!place_path(fd, path, sizeof(path)))
			return err_set(err, ERR_INTERNAL, "a layer has no usable path");
		b->l->layers.items[i] = arena_strdup(b->arena, path);
	}
	b->l->layers.count = layers->count;
	return 0;
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
fill_sysctls(struct building *b, struct err *err)
{
	const struct plan *p = b->c->plan;
	b->l->sysctls = arena_array(b->arena, p->sysctls_count + 1, sizeof(*b->l->sysctls));
	if (b->l->sysctls == NULL)
		return no_memory(err);
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
fill_paths(struct building *b)
{
	/* The lists are constant; the description only reads them. */
	if (b->c->plan->privileged)
		return;
	b->l->masked = (struct launch_list){(char **)(uintptr_t)masked_paths,
					    sizeof(masked_paths) / sizeof(masked_paths[0])};
	b->l->readonly = (struct launch_list){(char **)(uintptr_t)readonly_paths,
					      sizeof(readonly_paths) / sizeof(readonly_paths[0])};
}

/* ---- devices and cgroups ---- */

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
add_host_devices(struct building *b, struct err *err)
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
		return no_memory(err);
	memcpy(all, b->l->devices, have * sizeof(*all));
	memcpy(all + have, host, count * sizeof(*all));
	b->l->devices = all;
	b->l->devices_count = have + count;
	return 0;
}

static int
fill_devices(struct building *b, struct cgroups_limits *limits, struct err *err)
{
	const struct plan *p = b->c->plan;
	size_t count;
	const struct cgroups_device *defaults = cgroups_device_defaults(&count);
	struct cgroups_device *rules =
		arena_array(b->arena, count + p->devices_count, sizeof(*rules));
	b->l->devices = arena_array(b->arena, p->devices_count + 1, sizeof(*b->l->devices));
	if (rules == NULL || b->l->devices == NULL)
		return no_memory(err);
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

static int
pass_optional(struct building *b, int *fd, int32_t *number, struct err *err)
{
	*number = -1;
	if (*fd < 0)
		return 0;
	*number = pass(b, fd_take(fd), err);
	return *number < 0 ? -1 : 0;
}

static int
fill_groups(struct building *b, struct err *err)
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
		no_memory(err);
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

static int
fill_group_mounts(struct building *b, struct err *err)
{
	const struct cgroups_layout *layout = cgroups_layout_of(b->c->host->groups);
	b->l->cgroup_v2_mount = layout->mode == CGROUPS_V2;
	char **items = arena_array(b->arena, layout->count + 1, sizeof(*items));
	if (items == NULL)
		return no_memory(err);
	for (size_t i = 0; i < layout->count; i++)
		if (!layout->trees[i].unified && layout->trees[i].names[0] != '\0')
			items[b->l->cgroup_v1_mounts.count++] =
				arena_strdup(b->arena, layout->trees[i].names);
	b->l->cgroup_v1_mounts.items = items;
	return 0;
}

/* ---- the monitor's own ---- */

static int
fill_monitor(struct building *b, int folder, struct err *err)
{
	char path[64];
	struct container *c = b->c;
	struct launch *l = b->l;
	int netns = net_namespace(c->host->net, c->replica, err);
	if (netns < 0 || (l->netns_fd = pass(b, netns, err)) < 0)
		return -1;
	int control = monitor_link_listen(folder, err);
	if (control < 0 || (l->control_fd = pass(b, control, err)) < 0)
		return -1;
	int run = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run < 0)
		return err_sys(err, errno, "cannot open the container's folder");
	if ((l->run_fd = pass(b, run, err)) < 0)
		return -1;
	text_format(path, sizeof(path), "exits/%" PRIu64, c->replica);
	/* How the program ended stays on record, whatever becomes of what holds its place. */
	int record = c->hold ? openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
			     : place_folder(c->host->place.data, path, err);
	if (record < 0 && c->hold)
		return err_sys(err, errno, "cannot open the container's folder");
	if (record < 0 || (l->record_fd = pass(b, record, err)) < 0)
		return -1;
	int log = place_log(&c->host->place, c->plan->deployment, c->plan->service_name,
			    c->plan->index, c->replica, err);
	if (log < 0 || (l->log_fd = pass(b, log, err)) < 0)
		return -1;
	l->log_max_bytes = c->plan->log_max_bytes;
	l->log_max_files = c->plan->log_max_files;
	const struct seccomp_profile *own = &c->host->own[SECCOMP_PROFILE_MONITOR];
	l->monitor_filter = (struct launch_filter){.items = own->items, .count = own->count};
	return 0;
}

/* Nobody's process, with no right to anything: it only sleeps. Only exec runs programs there. */
static int
fill_hold(struct building *b, int folder, struct err *err)
{
	struct launch *l = b->l;
	defer_close int mark = openat(folder, "hold", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (mark < 0)
		return err_sys(err, errno, "cannot mark the container's folder");
	char **items = arena_array(b->arena, 1, sizeof(*items));
	if (items == NULL)
		return no_memory(err);
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
fill(struct building *b, int folder, struct err *err)
{
	char name[MSG_NAME];
	struct container *c = b->c;
	struct launch *l = b->l;
	l->verb = LAUNCH_RUN;
	l->hostname = arena_strdup(b->arena, hostname_of(c, name));
	l->stage = c->host->place.stage;
	l->read_only_root = c->plan->read_only_root;
	l->steps = c->plan->steps;
	l->steps_count = c->plan->steps_count;
	fill_paths(b);
	if (container_process(c, l, b->arena, err) < 0 ||
	    (c->hold ? fill_hold(b, folder, err) : fill_argv(c, l, b->arena, err)) < 0 ||
	    fill_layers(b, err) < 0 || fill_sysctls(b, err) < 0 || fill_volumes(b, err) < 0)
		return -1;
	c->row.conditions |= MSG_VOLUME_READY;
	if (fill_upper(b, err) < 0 || fill_groups(b, err) < 0 || fill_group_mounts(b, err) < 0 ||
	    fill_monitor(b, folder, err) < 0)
		return -1;
	qsort(b->mounts, b->mounts_count, sizeof(b->mounts[0]), outer_first);
	l->mounts = b->mounts;
	l->mounts_count = b->mounts_count;
	return arena_ok(b->arena) ? 0 : no_memory(err);
}

int
container_start(struct container *c, struct err *err)
{
	struct arena arena;
	struct launch launch;
	struct spawn_fds *fds = mem_zalloc(MEM_RUNTIME, sizeof(*fds));
	struct building *b = mem_zalloc(MEM_RUNTIME, sizeof(*b));
	int folder = -1, done = -1;

	arena_init(&arena, MEM_RUNTIME, ARENA_BYTES);
	launch_init(&launch);
	if (fds == NULL || b == NULL) {
		no_memory(err);
		goto out;
	}
	spawn_fds_init(fds);
	*b = (struct building){.c = c, .arena = &arena, .l = &launch, .fds = fds};
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
