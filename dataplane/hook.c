/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two ways to hook a tc program. A pinned link may be of a device that is gone (its link then
 * has no device): updating or keeping it fails or does nothing, so a link is only taken over when
 * the kernel says that it is on the device asked for. What stands is never taken off to make room:
 * whoever cannot put the new program there leaves the old one.
 */
#include "dataplane/hook.h"

#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "dataplane/libbpf.h"

/* linux/bpf.h of Debian 12 is older than tcx. */
enum { ATTACH_TCX_INGRESS = 46, ATTACH_TCX_EGRESS = 47, LINK_TYPE_TCX = 11 };

/* The part of struct bpf_link_info that a tcx link fills in. */
struct link_info_tcx {
	__u32 type, id, prog_id, pad_;
	__u32 ifindex, attach_type;
	__u8 rest_[64];
};

static unsigned
tcx_of(const struct hook *h)
{
	return h->egress ? ATTACH_TCX_EGRESS : ATTACH_TCX_INGRESS;
}

/* The link that is pinned, if it is on the device. fd_out: of HOOK_STANDS; rc_out: of
 * HOOK_UNKNOWN. */
static enum hook_left
find_link(const struct hook *h, int *fd_out, int *rc_out)
{
	struct link_info_tcx info = {0};
	__u32 bytes = sizeof(info);
	int fd = libbpf.bpf_obj_get(h->pin);

	*rc_out = fd;
	/* Nothing is there, or (EACCES) something that is no pin: no program is held by it. */
	if (fd < 0)
		return fd == -ENOENT || fd == -EACCES ? HOOK_NOTHING : HOOK_UNKNOWN;
	*rc_out = libbpf.bpf_obj_get_info_by_fd(fd, &info, &bytes);
	if (*rc_out == 0 && info.type == LINK_TYPE_TCX && info.ifindex == (__u32)h->ifindex &&
	    info.attach_type == tcx_of(h)) {
		*fd_out = fd;
		return HOOK_STANDS;
	}
	fd_close(&fd);
	return *rc_out < 0 ? HOOK_UNKNOWN : HOOK_NOTHING;
}

/* The kernel puts the new program in the old one's place, or leaves that. */
static int
update_link(struct hook *h, int fd, int prog_fd, struct err *err)
{
	int rc = libbpf.bpf_link_update(fd, prog_fd, NULL);

	if (rc < 0) {
		fd_close(&fd);
		err_sys(err, -rc, "cannot replace the program of device %d", h->ifindex);
		return err_why(err, "the one from before stays");
	}
	h->link_fd = fd;
	return 0;
}

static int
make_link(struct hook *h, int fd, struct err *err)
{
	unlink(h->pin); /* of a device that is gone */
	int rc = libbpf.bpf_obj_pin(fd, h->pin);
	if (rc < 0) {
		fd_close(&fd);
		err_sys(err, -rc, "cannot pin a program's link");
		return err_where(err, "%s below the node's folder of the BPF file system", h->pin);
	}
	h->link_fd = fd;
	return 0;
}

/* without_out: this kernel has no tcx. */
static int
attach_tcx(struct hook *h, int prog_fd, bool *without_out, struct err *err)
{
	int fd = -1, rc;
	enum hook_left left = find_link(h, &fd, &rc);

	if (left == HOOK_STANDS)
		return update_link(h, fd, prog_fd, err);
	if (left == HOOK_UNKNOWN)
		return err_sys(err, -rc, "cannot find out which program is on device %d",
			       h->ifindex);
	fd = libbpf.bpf_link_create(prog_fd, h->ifindex, (enum bpf_attach_type)tcx_of(h), NULL);
	if (fd >= 0)
		return make_link(h, fd, err);
	/* A kernel without tcx does not know the attach type. */
	*without_out = fd == -EINVAL || fd == -EOPNOTSUPP;
	return err_sys(err, -fd, "cannot attach a program to device %d by tcx", h->ifindex);
}

static enum bpf_tc_attach_point
point_of(const struct hook *h)
{
	return h->egress ? BPF_TC_EGRESS : BPF_TC_INGRESS;
}

static int
attach_clsact(struct hook *h, int prog_fd, struct err *err)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = h->ifindex, .attach_point = point_of(h));
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog_fd, .handle = HOOK_CLSACT_HANDLE,
		    .priority = HOOK_CLSACT_PRIORITY, .flags = BPF_TC_F_REPLACE);
	int rc = libbpf.bpf_tc_hook_create(&hook);

	if (rc < 0 && rc != -EEXIST)
		return err_sys(err, -rc, "cannot make the tc hook of device %d", h->ifindex);
	rc = libbpf.bpf_tc_attach(&hook, &opts);
	if (rc < 0)
		return err_sys(err, -rc, "cannot attach a program to device %d by clsact",
			       h->ifindex);
	return 0;
}

static void
begin(struct hook *h, bool egress, int ifindex, const char *pin)
{
	memset(h, 0, sizeof(*h));
	h->egress = egress;
	h->ifindex = ifindex;
	h->link_fd = -1;
	text_copy(h->pin, sizeof(h->pin), pin);
}

static int
attach(struct hook *h, bool egress, int prog_fd, int ifindex, const char *pin, struct err *err)
{
	bool without = false;
	struct err tcx = {0};

	begin(h, egress, ifindex, pin);
	h->kind = MSG_HOOK_TCX;
	if (attach_tcx(h, prog_fd, &without, &tcx) == 0)
		return 0;
	if (!without) {
		*err = tcx;
		return -1;
	}
	h->kind = MSG_HOOK_CLSACT;
	return attach_clsact(h, prog_fd, err);
}

int
hook_attach(struct hook *h, int prog_fd, int ifindex, const char *pin, struct err *err)
{
	return attach(h, false, prog_fd, ifindex, pin, err);
}

int
hook_attach_egress(struct hook *h, int prog_fd, int ifindex, const char *pin, struct err *err)
{
	return attach(h, true, prog_fd, ifindex, pin, err);
}

enum hook_left
hook_left(struct hook *h, bool egress, int ifindex, const char *pin)
{
	int fd = -1, rc;

	begin(h, egress, ifindex, pin);
	enum hook_left left = find_link(h, &fd, &rc);
	fd_close(&fd); /* the pin holds it */
	if (left != HOOK_NOTHING) {
		h->kind = MSG_HOOK_TCX;
		return left;
	}
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point_of(h));
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HOOK_CLSACT_HANDLE,
		    .priority = HOOK_CLSACT_PRIORITY);
	rc = libbpf.bpf_tc_query(&hook, &opts);
	/* No device, no clsact on it, no program. */
	if (rc == -ENODEV || rc == -EINVAL || rc == -ENOENT)
		return HOOK_NOTHING;
	h->kind = MSG_HOOK_CLSACT;
	return rc < 0 ? HOOK_UNKNOWN : HOOK_STANDS;
}

static void
detach_clsact(const struct hook *h)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = h->ifindex, .attach_point = point_of(h));
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HOOK_CLSACT_HANDLE,
		    .priority = HOOK_CLSACT_PRIORITY);

	/* Fails when the device is gone, and then there is nothing to detach. */
	(void)libbpf.bpf_tc_detach(&hook, &opts);
}

void
hook_detach(struct hook *h)
{
	if (h->kind == MSG_HOOK_TCX) {
		unlink(h->pin);
		fd_close(&h->link_fd);
	} else if (h->kind == MSG_HOOK_CLSACT) {
		detach_clsact(h);
	}
	memset(h, 0, sizeof(*h));
	h->link_fd = -1;
}

/* ---- of predecessors ---- */

static void
unpin_all(unsigned folder)
{
	char path[16];
	struct dirent *entry;

	text_format(path, sizeof(path), "%u", folder);
	DIR *dir = opendir(path);
	while (dir && (entry = readdir(dir)) != NULL)
		if (text_starts(entry->d_name, "veth-") || text_starts(entry->d_name, "vxlan-") ||
		    text_equal(entry->d_name, "tunnel-in") ||
		    text_equal(entry->d_name, "across-out"))
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
}

static int
say_nothing(enum libbpf_print_level level, const char *fmt, va_list args)
{
	(void)level, (void)fmt, (void)args;
	return 0;
}

static void
detach_all(void)
{
	struct if_nameindex *all = if_nameindex();

	/* It complains of each device that has no program. */
	libbpf.libbpf_set_print(say_nothing);
	for (struct if_nameindex *i = all; i && i->if_index; i++) {
		detach_clsact(&(struct hook){.ifindex = (int)i->if_index});
		detach_clsact(&(struct hook){.ifindex = (int)i->if_index, .egress = true});
	}
	if_freenameindex(all);
}

void
hook_leave_all(unsigned folder)
{
	struct err none = {0};

	unpin_all(folder);
	if (dl_load_libbpf(&none) == 0)
		detach_all();
}
