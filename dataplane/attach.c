/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One link per interface, pinned as edge1-xdp-MODE-IFINDEX. xdp_root is never replaced: a link that
 * is on its interface is as good as a new one. The number of an interface that went may be given to
 * another: the kernel says where a link is. Where a program of somebody else stands, share.c sees
 * whether there is room beside it.
 */
#include "dataplane/attach.h"

#include <dirent.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "dataplane/bpf/tc_veth.h"
#include "dataplane/hook.h"
#include "dataplane/lb.h"
#include "dataplane/libbpf.h"
#include "dataplane/share.h"

#define XDP_PIN "edge1-xdp-"
#define CHAIN_PIN "edge1-chain"
#define TC_PIN "edge1-tc-uplink"

enum { PIN_BYTES = 64 };

static const char *const mode_names[] = {
	[MSG_XDP_NATIVE] = "native",
	[MSG_XDP_GENERIC] = "generic",
};

static void
xdp_path(enum msg_xdp mode, uint32_t ifindex, char out[PIN_BYTES])
{
	text_format(out, PIN_BYTES, "%d/" XDP_PIN "%s-%u", TC_VETH_FOLDER, mode_names[mode],
		    ifindex);
}

static int
load(struct err *err)
{
	if (dl_load_libbpf(err) < 0)
		return -1;
	/* What fails is told by us. */
	libbpf.libbpf_set_print(NULL);
	return 0;
}

static int
open_pin(const char *name, struct err *err)
{
	char path[PIN_BYTES];

	if (load(err) < 0)
		return -1;
	text_format(path, sizeof(path), "%d/%s", TC_VETH_FOLDER, name);
	int fd = libbpf.bpf_obj_get(path);
	if (fd < 0)
		return err_sys(err, -fd, "cannot find the balancer's program");
	return fd;
}

static bool
stands(const char *path, uint32_t ifindex)
{
	struct bpf_link_info info = {0};
	__u32 bytes = sizeof(info);
	defer_close int fd = libbpf.bpf_obj_get(path);

	if (fd >= 0 && libbpf.bpf_obj_get_info_by_fd(fd, &info, &bytes) == 0 &&
	    info.type == BPF_LINK_TYPE_XDP && info.xdp.ifindex == ifindex)
		return true;
	if (fd >= 0)
		unlink(path);
	return false;
}

/* Now: without its pin the link would go a moment later, and the other mode be refused until then,
 * while packets of balanced connections reach the machine's own stack. */
static void
let_go(const char *path)
{
	defer_close int fd = libbpf.bpf_obj_get(path);

	if (fd >= 0)
		(void)libbpf.bpf_link_detach(fd);
	unlink(path);
}

static int
try_mode(int program, uint32_t ifindex, enum msg_xdp mode, struct err *err)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = mode == MSG_XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	char path[PIN_BYTES];

	xdp_path(mode, ifindex, path);
	if (stands(path, ifindex))
		return 0;
	defer_close int fd = libbpf.bpf_link_create(program, (int)ifindex, BPF_XDP, &opts);
	if (fd < 0) {
		err_sys(err, -fd, "cannot attach XDP to an interface (%s mode)", mode_names[mode]);
		if (fd == -EBUSY)
			err_why(err, "another XDP program is on it");
		return -1;
	}
	int rc = libbpf.bpf_obj_pin(fd, path);
	return rc < 0 ? err_sys(err, -rc, "cannot pin the link of an XDP program") : 0;
}

static bool
link_stands(uint32_t ifindex)
{
	char path[PIN_BYTES];

	for (unsigned mode = MSG_XDP_NATIVE; mode <= MSG_XDP_GENERIC; mode++) {
		xdp_path((enum msg_xdp)mode, ifindex, path);
		if (stands(path, ifindex))
			return true;
	}
	return false;
}

/* By somebody else's program, or by ours under libxdp's dispatcher. */
static bool
is_taken(uint32_t ifindex)
{
	__u32 program = 0;

	return !link_stands(ifindex) && libbpf.bpf_xdp_query_id((int)ifindex, 0, &program) == 0 &&
	       program != 0;
}

bool
attach_asks(const struct msg_edge *links)
{
	struct err err = {0};

	if (load(&err) < 0)
		return false;
	for (uint32_t i = 0; i < links->links_count; i++)
		if (is_taken(links->links[i].ifindex))
			return true;
	return share_any();
}

static bool
is_veth(uint32_t ifindex)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {0};
	defer_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sock < 0 || !if_indextoname(ifindex, request.ifr_name))
		return false;
	request.ifr_data = (void *)&info;
	return ioctl(sock, SIOCETHTOOL, &request) == 0 && strcmp(info.driver, "veth") == 0;
}

static int
attach_link(uint32_t ifindex, bool native, bool generic, enum msg_xdp *mode_out, struct err *err)
{
	bool any = native && generic;
	char other[PIN_BYTES];
	defer_close int program = open_pin(LB_PIN_ROOT, err);

	if (program < 0)
		return -1;
	/* What a veth's peer sends has no checksum yet, and native XDP would pass it on like that.
	 */
	if (any && is_veth(ifindex)) {
		xdp_path(MSG_XDP_NATIVE, ifindex, other);
		native = stands(other, ifindex);
	}
	for (unsigned mode = MSG_XDP_NATIVE; mode <= MSG_XDP_GENERIC; mode++) {
		if (!(mode == MSG_XDP_NATIVE ? native : generic))
			continue;
		/* Only one mode at a time can be on an interface. */
		xdp_path(mode == MSG_XDP_NATIVE ? MSG_XDP_GENERIC : MSG_XDP_NATIVE, ifindex, other);
		if (!any)
			let_go(other);
		else if (stands(other, ifindex))
			continue;
		err_clear(err);
		if (try_mode(program, ifindex, (enum msg_xdp)mode, err) == 0) {
			*mode_out = (enum msg_xdp)mode;
			return 0;
		}
	}
	return -1;
}

int
attach_xdp(uint32_t ifindex, bool native, bool generic, enum msg_xdp *mode_out, bool *shared_out,
	   struct err *err)
{
	if (load(err) < 0)
		return -1;
	*shared_out = is_taken(ifindex);
	if (!*shared_out)
		return attach_link(ifindex, native, generic, mode_out, err);
	defer_close int chain = open_pin(CHAIN_PIN, err);
	if (chain < 0)
		return -1;
	return share_attach(ifindex, chain, native, generic, mode_out, err);
}

int
attach_uplink(uint32_t ifindex, struct err *err)
{
	struct hook hook;
	char pin[PIN_BYTES];
	defer_close int program = open_pin(LB_PIN_UPLINK, err);

	if (program < 0)
		return -1;
	text_format(pin, sizeof(pin), "%d/" TC_PIN, TC_VETH_FOLDER);
	if (hook_attach(&hook, program, (int)ifindex, pin, err) < 0)
		return -1;
	fd_close(&hook.link_fd); /* the pin holds it */
	return 0;
}

static bool
is_wanted(const char *pin, const struct msg_edge *kept)
{
	const char *number = strrchr(pin, '-') + 1;
	uint64_t ifindex;

	if (!text_u64(number, UINT32_MAX, &ifindex))
		return false;
	for (uint32_t i = 0; i < kept->links_count; i++)
		if (kept->links[i].ifindex == ifindex && !kept->links[i].shared)
			return true;
	return false;
}

/* Before tcx there is no link to let go. */
static void
forget_uplink(uint32_t ifindex)
{
	struct hook hook = {.kind = MSG_HOOK_CLSACT, .ifindex = (int)ifindex, .link_fd = -1};
	struct err err = {0};

	if (ifindex && load(&err) == 0)
		hook_detach(&hook);
}

static void
forget_links(const struct msg_edge *kept, bool keep_uplink)
{
	char folder[16];
	struct dirent *entry;

	text_format(folder, sizeof(folder), "%d", TC_VETH_FOLDER);
	DIR *dir = opendir(folder);
	while (dir && (entry = readdir(dir)) != NULL) {
		bool xdp = text_starts(entry->d_name, XDP_PIN);

		if (xdp ? !is_wanted(entry->d_name, kept)
			: strcmp(entry->d_name, TC_PIN) == 0 && !keep_uplink)
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
}

int
attach_forget(const struct msg_edge *kept, uint32_t uplink, bool keep_uplink, struct err *err)
{
	struct err ignored = {0};

	forget_links(kept, keep_uplink);
	if (!keep_uplink)
		forget_uplink(uplink);
	if (!share_any())
		return 0;
	if (load(err) < 0)
		return -1;
	defer_close int chain = open_pin(CHAIN_PIN, &ignored);
	return share_forget(kept, chain, err);
}
