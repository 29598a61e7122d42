/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replica's network, made in this order: namespace, pair, the container's side (addresses,
 * gateway, receive offload), and, when the data path has its program there, the fabric's side
 * (net_connect). Receive offload on the container's end comes before anything runs: without it the
 * kernel drops what XDP redirects into the pair. MAC addresses are made of the replica's id, so
 * that whoever starts again in the middle finds the same.
 */
#include "runtime/net.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/mount_call.h"
#include "runtime/net_gso.h"
#include "runtime/net_guest.h"
#include "runtime/net_link.h"
#include "runtime/net_source.h"

enum { ANSWER_TIMEOUT_S = 10 };

struct net {
	int folder; /* netns/ */
	int fabric;
	int fabric_sock;
	bool sources_known, sources_checked;
	bool reverse_paths; /* the other way, for links that come */
};

/* ---- namespaces ---- */

int
net_enter(int ns, struct net_stay *stay, struct err *err)
{
	stay->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (stay->home < 0)
		return err_sys(err, errno, "cannot open our own network namespace");
	if (setns(ns, CLONE_NEWNET) < 0) {
		err_sys(err, errno, "cannot enter a network namespace");
		fd_close(&stay->home);
		return -1;
	}
	return 0;
}

void
net_leave(struct net_stay *stay)
{
	int back = setns(stay->home, CLONE_NEWNET);
	assert(back == 0);
	fd_close(&stay->home);
}

int
net_socket(int ns, int protocol, struct err *err)
{
	struct net_stay stay;
	struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_S};
	if (net_enter(ns, &stay, err) < 0)
		return -1;
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	int code = errno;
	net_leave(&stay);
	if (sock < 0)
		return err_sys(err, code, "cannot open a netlink socket");
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return sock;
}

static void
write_sysctl(const char *name, const char *value)
{
	char path[128];
	text_format(path, sizeof(path), "/proc/sys/net/%s", name);
	defer_close int fd = open(path, O_WRONLY | O_CLOEXEC);
	/* A kernel without IPv6 has no such file. */
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		return;
}

static int
set_fabric(struct net *net, struct err *err)
{
	struct net_stay stay;
	if (net_enter(net->fabric, &stay, err) < 0)
		return -1;
	write_sysctl("ipv4/ip_forward", "1");
	write_sysctl("ipv6/conf/all/forwarding", "1");
	write_sysctl("ipv4/conf/all/rp_filter", "0");
	write_sysctl("ipv4/conf/default/rp_filter", "0");
	net_leave(&stay);
	return 0;
}

int
net_open(int netns, struct net **out, struct err *err)
{
	struct net *net = mem_zalloc(MEM_RUNTIME, sizeof(*net));
	if (net == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory for the network");
	*net = (struct net){.folder = -1, .fabric = -1, .fabric_sock = -1};
	if (net_link_open(err) < 0)
		goto fail;
	net->folder = openat(netns, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (net->folder < 0) {
		err_sys(err, errno, "cannot open the folder of network namespaces");
		goto fail;
	}
	net->fabric = fd_open_beneath(net->folder, "fabric", O_RDONLY, 0);
	if (net->fabric < 0) {
		err_sys(err, errno, "cannot open the fabric's network namespace");
		goto fail;
	}
	net->fabric_sock = net_link_socket(net->fabric, err);
	if (net->fabric_sock < 0 || set_fabric(net, err) < 0)
		goto fail;
	*out = net;
	return 0;
fail:
	net_close(net);
	return -1;
}

void
net_close(struct net *net)
{
	if (net == NULL)
		return;
	fd_close(&net->folder);
	fd_close(&net->fabric);
	fd_close(&net->fabric_sock);
	mem_free(net);
}

void
net_check_sources(struct net *net, bool on)
{
	struct err err = {0};
	if (net->sources_known && net->sources_checked == on)
		return;
	net->sources_known = true;
	net->sources_checked = on;
	net->reverse_paths = false;
	if (net_source_check(net->fabric, on, &err) == 0 || !on)
		return;
	err_why(&err, "a container with CAP_NET_RAW can send IPv6 packets in the name of another");
	log_err(LOG_WARN, "sources are checked for IPv4 only", &err);
	net->reverse_paths = true;
}

enum { OLD_ADDRESSES = 16 };

struct owned {
	const struct addr *addr4, *addr6;
	struct addr old[OLD_ADDRESSES];
	size_t count;
};

static void
note_old(void *arg, const struct addr *a)
{
	struct owned *o = arg;

	if (!addr_equal_ip(a, o->addr4) && !addr_equal_ip(a, o->addr6) && !addr_is_loopback(a) &&
	    o->count < OLD_ADDRESSES)
		o->old[o->count++] = *a;
}

int
net_own(struct net *net, const struct addr *addr4, const struct addr *addr6, struct err *err)
{
	struct owned owned = {.addr4 = addr4, .addr6 = addr6};
	uint32_t lo;

	if (net_link_find(net->fabric_sock, "lo", &lo, err) < 0 ||
	    net_link_up(net->fabric_sock, lo, err) < 0)
		return -1;
	if (!addr_is_zero(addr4) && net_link_add_address(net->fabric_sock, lo, addr4, err) < 0)
		return -1;
	if (!addr_is_zero(addr6) && net_link_add_address(net->fabric_sock, lo, addr6, err) < 0)
		return -1;
	net_link_each_address(net->fabric_sock, lo, note_old, &owned);
	for (size_t i = 0; i < owned.count; i++) {
		if (net_link_remove_address(net->fabric_sock, lo, &owned.old[i], err) < 0)
			return -1;
	}
	return 0;
}

static void
file_name(uint64_t replica, char out[24])
{
	snprintf(out, 24, "%" PRIu64, replica);
}

static void
file_path(const struct net *net, uint64_t replica, char out[64])
{
	snprintf(out, 64, "/proc/self/fd/%d/%" PRIu64, net->folder, replica);
}

static bool
is_namespace(int fd)
{
	/* NS_GET_NSTYPE; a plain file, left when the mount went, does not know it. */
	return ioctl(fd, 0xb703) == CLONE_NEWNET;
}

/* In a child of its own: the loop's thread never leaves for a namespace that may not be there. */
static int
make_namespace(struct net *net, uint64_t replica, struct err *err)
{
	char name[24], path[64];
	int status = 0;
	file_name(replica, name);
	file_path(net, replica, path);
	defer_close int file =
		openat(net->folder, name, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file < 0)
		return err_sys(err, errno, "cannot make the file of a network namespace");
	pid_t pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) < 0)
			_exit(errno);
		if (mount_call_mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0)
			_exit(errno);
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (pid < 0 || status != 0)
		return err_sys(err, pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EIO,
			       "cannot make a network namespace");
	return 0;
}

int
net_namespace(struct net *net, uint64_t replica, struct err *err)
{
	char name[24];
	file_name(replica, name);
	int fd = fd_open_beneath(net->folder, name, O_RDONLY, 0);
	if (fd >= 0 && is_namespace(fd))
		return fd;
	fd_close(&fd);
	err_set(err, ERR_NOT_FOUND, "the replica has no network namespace");
	return -1;
}

static int
find_namespace(struct net *net, uint64_t replica, struct err *err)
{
	int fd = net_namespace(net, replica, err);
	if (fd >= 0)
		return fd;
	err_clear(err);
	if (make_namespace(net, replica, err) < 0)
		return -1;
	return net_namespace(net, replica, err);
}

/* ---- the pair ---- */

void
net_link_name(uint64_t replica, char out[IFNAMSIZ])
{
	/* An id has at most 56 bits: 14 digits and the v are 15. */
	snprintf(out, IFNAMSIZ, "v%" PRIx64, replica & ((UINT64_C(1) << 56) - 1));
}

/* Locally administered (bit 1 of the first byte), one pattern for each end. */
static void
link_mac(uint64_t replica, uint8_t first, uint8_t out[6])
{
	const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 1};
	uint64_t hash = map_siphash(key, &replica, sizeof(replica));
	out[0] = first;
	for (int i = 1; i < 6; i++)
		out[i] = (uint8_t)(hash >> (8 * i));
}

static const char *
device_of(const struct net_config *c)
{
	return c->guest != NULL ? c->guest->device : "eth0";
}

static int
make_pair(struct net *net, const struct net_config *c, int ns, struct net_link_info *out,
	  struct err *err)
{
	struct net_link_veth v = {
		.peer_ns = ns, .mtu = c->mtu, .gso_max = c->plain ? 0 : net_gso_max(c->mtu)};
	text_copy(v.peer, sizeof(v.peer), device_of(c));
	net_link_name(c->replica, v.name);
	memcpy(v.mac, out->host_mac, 6);
	memcpy(v.peer_mac, out->mac, 6);
	if (net_link_find(net->fabric_sock, v.name, &out->ifindex, err) == 0)
		return 0;
	err_clear(err);
	if (net_link_add_veth(net->fabric_sock, &v, err) < 0) {
		/* A kernel that does not take the segment size at creation. */
		if (err->code != EOPNOTSUPP && err->code != EINVAL)
			return -1;
		err_clear(err);
		v.gso_max = 0;
		if (net_link_add_veth(net->fabric_sock, &v, err) < 0)
			return -1;
	}
	return net_link_find(net->fabric_sock, v.name, &out->ifindex, err);
}

int
net_gro(const char *name, struct err *err)
{
	struct ethtool_value on = {.cmd = ETHTOOL_SGRO, .data = 1};
	struct ifreq request = {.ifr_data = (char *)&on};
	text_copy(request.ifr_name, sizeof(request.ifr_name), name);
	defer_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || ioctl(sock, SIOCETHTOOL, &request) < 0)
		return err_sys(err, errno, "cannot switch receive offload on");
	return 0;
}

static void
write_device_sysctl(const char *device, const char *name, const char *value)
{
	char path[64];
	text_format(path, sizeof(path), "ipv6/conf/%s/%s", device, name);
	write_sysctl(path, value);
}

static int
prepare_inside(int ns, const struct net_config *c, struct err *err)
{
	struct net_stay stay;
	if (net_enter(ns, &stay, err) < 0)
		return -1;
	write_device_sysctl(device_of(c), "accept_ra", "0");
	write_device_sysctl(device_of(c), "accept_dad", "0");
	if (c->guest == NULL) {
		/* Programs that are not root may take port 80: there is nobody else here. */
		write_sysctl("ipv4/ip_unprivileged_port_start", "0");
		write_sysctl("ipv4/ping_group_range", "0 2147483647");
	}
	int done = net_gro(device_of(c), err);
	net_leave(&stay);
	return done;
}

static int
add_family_inside(int sock, uint32_t index, const struct addr *a, const struct addr *gateway,
		  const uint8_t host_mac[6], struct err *err)
{
	if (net_link_add_address(sock, index, a, err) < 0 ||
	    net_link_add_neighbour(sock, index, gateway, host_mac, err) < 0)
		return -1;
	return net_link_add_route(sock, index, NULL, gateway, err);
}

static int
set_inside(int ns, const struct net_config *c, const struct net_link_info *info, struct err *err)
{
	uint32_t lo, eth;
	if (prepare_inside(ns, c, err) < 0)
		return -1;
	defer_close int sock = net_link_socket(ns, err);
	if (sock < 0 ||
	    (c->guest == NULL &&
	     (net_link_find(sock, "lo", &lo, err) < 0 || net_link_up(sock, lo, err) < 0)) ||
	    net_link_find(sock, device_of(c), &eth, err) < 0 || net_link_up(sock, eth, err) < 0)
		return -1;
	if (add_family_inside(sock, eth, &c->addr4, &c->gateway4, info->host_mac, err) < 0)
		return -1;
	if (addr_is_zero(&c->addr6))
		return 0;
	return add_family_inside(sock, eth, &c->addr6, &c->gateway6, info->host_mac, err);
}

static int
set_reverse_path(struct net *net, uint64_t replica, struct err *err)
{
	struct net_stay stay;
	char link[IFNAMSIZ], name[64];
	net_link_name(replica, link);
	text_format(name, sizeof(name), "ipv4/conf/%s/rp_filter", link);
	if (net_enter(net->fabric, &stay, err) < 0)
		return -1;
	write_sysctl(name, "1");
	net_leave(&stay);
	return 0;
}

static int
set_fabric_side(struct net *net, const struct net_config *c, const struct net_link_info *info,
		struct err *err)
{
	if (net->reverse_paths && set_reverse_path(net, c->replica, err) < 0)
		return -1;
	const struct addr *both[] = {&c->addr4, &c->addr6};
	if (net_link_up(net->fabric_sock, info->ifindex, err) < 0)
		return -1;
	for (size_t i = 0; i < 2; i++) {
		if (addr_is_zero(both[i]))
			continue;
		if (net_link_add_neighbour(net->fabric_sock, info->ifindex, both[i], info->mac,
					   err) < 0 ||
		    net_link_add_route(net->fabric_sock, info->ifindex, both[i], NULL, err) < 0)
			return -1;
	}
	return 0;
}

static void
link_macs(uint64_t replica, struct net_link_info *out)
{
	link_mac(replica, 0x02, out->mac);
	link_mac(replica, 0x06, out->host_mac);
}

int
net_find(const struct net *net, uint64_t replica, struct net_link_info *out, struct err *err)
{
	char name[IFNAMSIZ];
	*out = (struct net_link_info){0};
	link_macs(replica, out);
	net_link_name(replica, name);
	return net_link_find(net->fabric_sock, name, &out->ifindex, err);
}

int
net_fabric(const struct net *net)
{
	return net->fabric;
}

int
net_fabric_socket(const struct net *net)
{
	return net->fabric_sock;
}

int
net_make(struct net *net, const struct net_config *config, struct net_link_info *out,
	 struct err *err)
{
	*out = (struct net_link_info){0};
	link_macs(config->replica, out);
	defer_close int ns = config->guest != NULL ? net_guest_enter(config->guest, err)
						   : find_namespace(net, config->replica, err);
	if (ns < 0 || make_pair(net, config, ns, out, err) < 0)
		return -1;
	return set_inside(ns, config, out, err);
}

int
net_connect(struct net *net, const struct net_config *config, struct err *err)
{
	struct net_link_info info;
	if (net_find(net, config->replica, &info, err) < 0)
		return -1;
	return set_fabric_side(net, config, &info, err);
}

int
net_disconnect(struct net *net, uint64_t replica, struct err *err)
{
	struct net_link_info info;
	if (net_find(net, replica, &info, err) < 0)
		return -1;
	return net_link_down(net->fabric_sock, info.ifindex, err);
}

/* ---- the end ---- */

void
net_remove(struct net *net, uint64_t replica)
{
	char name[24], path[64], link[IFNAMSIZ];
	struct err err = {0};
	uint32_t index;
	net_link_name(replica, link);
	if (net_link_find(net->fabric_sock, link, &index, &err) == 0 &&
	    net_link_remove(net->fabric_sock, index, &err) < 0)
		log_err(LOG_WARN, "a container's link stays", &err);
	file_name(replica, name);
	file_path(net, replica, path);
	while (mount_call_umount(path, MOUNT_CALL_DETACH) == 0)
		continue;
	unlinkat(net->folder, name, 0);
}

struct visiting {
	void (*visit)(void *arg, uint64_t replica);
	void *arg;
};

static void
visit_link(void *arg, const char *name, uint32_t index)
{
	const struct visiting *v = arg;
	char *end;
	(void)index;
	if (name[0] != 'v' || name[1] == '\0' ||
	    strspn(name + 1, "0123456789abcdef") != strlen(name + 1))
		return;
	uint64_t replica = strtoull(name + 1, &end, 16);
	if (replica != 0)
		v->visit(v->arg, replica);
}

void
net_each(struct net *net, void (*visit)(void *arg, uint64_t replica), void *arg)
{
	struct visiting v = {.visit = visit, .arg = arg};
	uint64_t replica;
	net_link_each(net->fabric_sock, visit_link, &v);
	int fd = openat(net->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		fd_close(&fd);
		return;
	}
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
		if (text_u64(e->d_name, UINT64_MAX, &replica))
			visit(arg, replica);
	closedir(dir);
}
