/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks before it touches: a path is first opened without opening what it names (O_PATH), and again
 * only when the kernel says that this is a network namespace; else a pipe, a device or a file of
 * somebody could be asked for by its path. What is missing of a link is said in the order in which
 * packets would meet it, from the container outwards.
 */
#include "runtime/net_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "runtime/net_link.h"

enum { IOCTL_NS_TYPE = 0xb703 }; /* NS_GET_NSTYPE of ioctl_ns(2) */

static bool
same_file(int fd, const char *path)
{
	struct stat a, b;
	return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

int
net_guest_open(const struct net *net, const char *path, struct err *err)
{
	struct statfs fs;
	char again[32], fabric[32],
		node[32]; /* whose parent is node: its network is the machine's */
	defer_close int at = open(path, O_PATH | O_CLOEXEC);
	if (at < 0) {
		err_sys(err, errno, "cannot open the network namespace %s", path);
		return err_fix(err, "it must be a path of the machine that the node sees, too");
	}
	text_format(again, sizeof(again), "/proc/self/fd/%d", at);
	defer_close int ns = fstatfs(at, &fs) == 0 && fs.f_type == NSFS_MAGIC
				     ? open(again, O_RDONLY | O_CLOEXEC)
				     : -1;
	if (ns < 0 || ioctl(ns, IOCTL_NS_TYPE) != CLONE_NEWNET)
		return err_set(err, ERR_INVALID, "%s is not a network namespace", path);
	text_format(fabric, sizeof(fabric), "/proc/self/fd/%d", net_fabric(net));
	text_format(node, sizeof(node), "/proc/%d/ns/net", (int)getppid());
	if (same_file(ns, "/proc/1/ns/net") || same_file(ns, node) || same_file(ns, fabric)) {
		err_set(err, ERR_INVALID, "%s is the network of the machine, not of a container",
			path);
		return err_fix(err, "a container with the machine's network needs no attachment");
	}
	return fd_take(&ns);
}

static void
note(void *arg, uint32_t index)
{
	*(uint32_t *)arg = index;
}

static uint32_t
default_link(int sock)
{
	uint32_t index = 0;
	net_link_each_default(sock, AF_INET, note, &index);
	if (index == 0)
		net_link_each_default(sock, AF_INET6, note, &index);
	return index;
}

int
net_guest_enter(const struct net_guest *guest, struct err *err)
{
	uint32_t index;
	defer_close int sock = net_link_socket(guest->ns, err);
	if (sock < 0)
		return -1;
	if (net_link_find(sock, guest->device, &index, err) == 0) {
		err_set(err, ERR_CONFLICT, "the container has an interface %s already",
			guest->device);
		return err_fix(err, "give this network another name of an interface");
	}
	if (err->kind != ERR_NOT_FOUND)
		return -1;
	err_clear(err);
	if (default_link(sock) != 0) {
		err_set(err, ERR_CONFLICT, "the container has a default route already");
		return err_fix(err, "attach it to this network alone");
	}
	int ns = fcntl(guest->ns, F_DUPFD_CLOEXEC, 0);
	return ns >= 0 ? ns : err_sys(err, errno, "cannot keep a network namespace open");
}

/* ---- is it whole ---- */

struct search {
	const struct addr *want;
	uint32_t link;
	bool found;
};

static void
match_address(void *arg, const struct addr *a)
{
	struct search *s = arg;
	s->found = s->found || addr_equal_ip(a, s->want);
}

static void
match_link(void *arg, uint32_t index)
{
	struct search *s = arg;
	s->found = s->found || index == s->link;
}

static int
missing(struct err *err, const char *what)
{
	err_set(err, ERR_CONFLICT, "%s", what);
	return err_fix(err, "remove the container and make it anew");
}

static int
check_device(const struct net_guest *guest, const uint8_t mac[6], struct err *err)
{
	struct net_stay stay;
	struct ifreq request = {0};
	text_copy(request.ifr_name, sizeof(request.ifr_name), guest->device);
	if (net_enter(guest->ns, &stay, err) < 0)
		return -1;
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int got = sock < 0 ? -1 : ioctl(sock, SIOCGIFHWADDR, &request);
	bool ours = got == 0 && memcmp(request.ifr_hwaddr.sa_data, mac, 6) == 0;
	bool up = ours && ioctl(sock, SIOCGIFFLAGS, &request) == 0 &&
		  (request.ifr_flags & IFF_UP) != 0;
	fd_close(&sock);
	net_leave(&stay);
	if (got < 0)
		return missing(err, "the container's interface is gone");
	if (!ours)
		return missing(err, "the container's interface is another one");
	return up ? 0 : missing(err, "the container's interface is down");
}

static int
check_family(int inside, int fabric, uint32_t device, uint32_t link, const struct addr *a,
	     struct err *err)
{
	struct search address = {.want = a}, out = {.link = device}, back = {.link = link};
	const struct addr_prefix whole = {.base = *a, .bits = 128};
	if (addr_is_zero(a))
		return 0;
	net_link_each_address(inside, device, match_address, &address);
	if (!address.found)
		return missing(err, "the container's interface has lost its address");
	net_link_each_default(inside, addr_is_v4(a) ? AF_INET : AF_INET6, match_link, &out);
	if (!out.found)
		return missing(err, "the container has no default route over its interface");
	net_link_each_way(fabric, &whole, match_link, &back);
	return back.found ? 0 : missing(err, "the fabric has no route to the container");
}

int
net_guest_check(const struct net *net, const struct net_config *config, struct err *err)
{
	struct net_link_info info;
	uint32_t device;
	if (net_find(net, config->replica, &info, err) < 0 && err->kind == ERR_NOT_FOUND)
		return missing(err, "the container's link in the fabric is gone");
	if (info.ifindex == 0 || check_device(config->guest, info.mac, err) < 0)
		return -1;
	defer_close int inside = net_link_socket(config->guest->ns, err);
	if (inside < 0 || net_link_find(inside, config->guest->device, &device, err) < 0)
		return -1;
	int fabric = net_fabric_socket(net);
	if (check_family(inside, fabric, device, info.ifindex, &config->addr4, err) < 0)
		return -1;
	return check_family(inside, fabric, device, info.ifindex, &config->addr6, err);
}
