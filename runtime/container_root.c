/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root file system of a container: the image's layers under one of its own, and what is mounted
 * over them. Mounts are made here, detached: sources are opened once, in the host's mount
 * namespace, which the container's first process has left.
 */
#include "runtime/container_build.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "runtime/container_process.h"
#include "runtime/mount_call.h"

/* ---- volumes ---- */

static int
add_mount(struct container_build *b, const struct launch_mount *m, struct err *err)
{
	if (b->mounts_count == CONTAINER_BUILD_MOUNTS)
		return err_set(err, ERR_LIMIT, "more than %d mounts in one container",
			       CONTAINER_BUILD_MOUNTS);
	if (m->target[0] != '/' || m->target[1] == '\0')
		return err_set(err, ERR_INVALID,
			       "a mount's target must be an absolute path, not %s", m->target);
	b->mounts[b->mounts_count++] = *m;
	return 0;
}

/* Takes the source over. */
static int
add_tree(struct container_build *b, int source, const char *target, bool readonly, bool inherit,
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
	m.fd = container_build_pass(b, fd_take(&tree), err);
	if (m.target == NULL)
		return container_no_memory(err);
	return m.fd < 0 ? -1 : add_mount(b, &m, err);
}

static int
add_volume(struct container_build *b, int base, const char *path, const struct plan_mount *m,
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
add_bind(struct container_build *b, const struct plan_mount *m, struct err *err)
{
	int source = open(m->source, O_PATH | O_CLOEXEC);
	if (source >= 0)
		return add_tree(b, source, m->target, m->readonly, false, err);
	err_sys(err, errno, "cannot bind %s to %s", m->source, m->target);
	return err_fix(err, "make %s on this node, or use a named volume", m->source);
}

static int
add_plan_mount(struct container_build *b, const struct plan_mount *m, size_t i, struct err *err)
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

/* Volumes that the image declares and the plan does not cover are anonymous ones. */
int
container_root_volumes(struct container_build *b, struct err *err)
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
	const char *host = container_process_hostname(c, name);
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
add_file(struct container_build *b, int folder, const char *name, struct buf *text, struct err *err)
{
	char target[64];
	text_format(target, sizeof(target), "/etc/%s", name);
	if (!buf_ok(text))
		return container_no_memory(err);
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
fill_files(struct container_build *b, int folder, struct err *err)
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
	buf_printf(&text, "%s\n", container_process_hostname(b->c, name));
	done = add_file(b, folder, "hostname", &text, err);
out:
	buf_fini(&text);
	return done;
}

/* ---- layers ---- */

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
int
container_root_upper(struct container_build *b, struct err *err)
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

int
container_root_layers(struct container_build *b, struct err *err)
{
	const struct image_list *layers = &b->c->image->layers;
	char path[512];
	b->l->layers.items = arena_array(b->arena, layers->count + 1, sizeof(char *));
	if (b->l->layers.items == NULL)
		return container_no_memory(err);
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

/* ---- order ---- */

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

void
container_root_mounts(struct container_build *b)
{
	qsort(b->mounts, b->mounts_count, sizeof(b->mounts[0]), outer_first);
	b->l->mounts = b->mounts;
	b->l->mounts_count = b->mounts_count;
}
