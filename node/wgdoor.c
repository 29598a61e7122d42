/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process is a child of a child, so that nobody has to reap it, and keeps three descriptors
 * beside the standard ones: the socket, the kernel's, and its end of the pipe. What passes holds
 * keys: it is wiped.
 *
 * The kernel checks the contents of what it is told; here it is only seen whose they are. The name
 * must stand there, and an index must not: the kernel would take that first.
 */
#include "node/wgdoor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/wireguard.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/sandbox.h"
#include "node/filter.h"
#include "node/program.h"

enum { HEAD_BYTES = sizeof(struct nlattr), ALIGN = 4 }; /* of an attribute; it has no padding */
enum { ANSWER_MAX = 65536, FILES_MAX = 16, LINK_FD = 3, NETLINK_FD, ALIVE_FD, FIRST_FREE_FD };

/* ---- what may pass ---- */

/* At `at`: false when it does not hold. */
static bool
attribute(const char *at, size_t left, struct nlattr *out)
{
	if (left < sizeof(*out))
		return false;
	memcpy(out, at, sizeof(*out));
	return out->nla_len >= sizeof(*out) && out->nla_len <= left;
}

static bool
is_same(const void *wanted, size_t wanted_bytes, const char *value, size_t bytes)
{
	return bytes == wanted_bytes && memcmp(value, wanted, bytes) == 0;
}

static bool
word_holds(const struct wgdoor_order *order, int type, const char *value, size_t bytes)
{
	static const uint32_t no_mark;

	switch (type) {
	case WGDEVICE_A_IFNAME:
		return is_same(order->device, strlen(order->device) + 1, value, bytes);
	case WGDEVICE_A_LISTEN_PORT:
		return is_same(&order->port, sizeof(order->port), value, bytes);
	case WGDEVICE_A_FWMARK:
		return is_same(&no_mark, sizeof(no_mark), value, bytes);
	case WGDEVICE_A_FLAGS:
	case WGDEVICE_A_PRIVATE_KEY:
	case WGDEVICE_A_PEERS:
		return true;
	default:
		return false;
	}
}

static bool
words_hold(const struct wgdoor_order *order, const char *at, size_t left)
{
	struct nlattr a;
	bool named = false;

	while (left > 0) {
		if (!attribute(at, left, &a))
			return false;
		size_t step = ((size_t)a.nla_len + ALIGN - 1) / ALIGN * ALIGN;
		int type = a.nla_type & NLA_TYPE_MASK;

		if (!word_holds(order, type, at + HEAD_BYTES, a.nla_len - HEAD_BYTES))
			return false;
		named |= type == WGDEVICE_A_IFNAME;
		at += step < left ? step : left;
		left -= step < left ? step : left;
	}
	return named;
}

bool
wgdoor_lets_pass(const struct wgdoor_order *order, const void *message, size_t bytes)
{
	const size_t head = NLMSG_HDRLEN + GENL_HDRLEN;
	struct nlmsghdr h;
	struct genlmsghdr g;

	if (bytes < head)
		return false;
	memcpy(&h, message, sizeof(h));
	memcpy(&g, (const char *)message + NLMSG_HDRLEN, sizeof(g));
	if (h.nlmsg_len != bytes || h.nlmsg_type != order->family ||
	    (g.cmd != WG_CMD_GET_DEVICE && g.cmd != WG_CMD_SET_DEVICE))
		return false;
	return words_hold(order, (const char *)message + head, bytes - head);
}

/* ---- the process ---- */

/* False: the other side is gone, or says what it may not. */
static bool
pass_in(const struct wgdoor_order *order, char *place)
{
	ssize_t n = recv(LINK_FD, place, WGDOOR_MESSAGE_MAX, MSG_TRUNC);
	bool good = n > 0 && n <= WGDOOR_MESSAGE_MAX && wgdoor_lets_pass(order, place, (size_t)n);

	good = good && send(NETLINK_FD, place, (size_t)n, 0) == n;
	mem_wipe(place, WGDOOR_MESSAGE_MAX);
	return good || (n < 0 && errno == EINTR);
}

static bool
pass_out(char *place)
{
	ssize_t n = recv(NETLINK_FD, place, ANSWER_MAX, MSG_TRUNC);
	bool good = n >= 0 && n <= ANSWER_MAX;

	good = good && send(LINK_FD, place, (size_t)n, MSG_NOSIGNAL) == n;
	mem_wipe(place, ANSWER_MAX);
	return good || (n < 0 && errno == EINTR);
}

static _Noreturn void
serve(const struct wgdoor_order *order)
{
	static char place[ANSWER_MAX];
	struct pollfd fds[] = {{.fd = LINK_FD, .events = POLLIN},
			       {.fd = NETLINK_FD, .events = POLLIN}};
	bool good = true;

	while (good) {
		if (poll(fds, 2, -1) < 0) {
			good = errno == EINTR;
			continue;
		}
		if (fds[1].revents)
			good = pass_out(place);
		else if (fds[0].revents)
			good = pass_in(order, place);
	}
	_exit(0);
}

static int
confine(const struct wgdoor_order *order, struct err *err)
{
	static struct sock_filter filter[FILTER_INSTRUCTIONS_MAX];
	struct sandbox s = {.set_ids = order->uid != 0,
			    .uid = order->uid,
			    .gid = (gid_t)order->uid,
			    .keep_caps = UINT64_C(1) << CAP_NET_ADMIN,
			    .landlock = true,
			    .rlimits = {{.resource = RLIMIT_NOFILE, .value = FILES_MAX},
					{.resource = RLIMIT_CORE, .value = 0}},
			    .rlimits_count = 2,
			    .filter = filter};
	int landlock;

	if (filter_compile(FILTER_BASE, filter, &s.filter_count, err) < 0)
		return -1;
	return sandbox_enter(&s, &landlock, err);
}

/* In the fabric. */
static int
open_netlink(void)
{
	const int yes = 1;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

	if (fd >= 0 && setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &yes, sizeof(yes)) < 0)
		fd_close(&fd);
	return fd;
}

/* To 3, 4, 5; all others are closed. */
static int
keep(int link, int netlink, int alive)
{
	int fds[] = {link, netlink, alive};

	for (int i = 0; i < 3; i++)
		if ((fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FREE_FD)) < 0)
			return -1;
	for (int i = 0; i < 3; i++)
		if (dup3(fds[i], LINK_FD + i, O_CLOEXEC) < 0)
			return -1;
	return close_range(FIRST_FREE_FD, ~0U, 0);
}

/* What it says at its beginning, through the pipe: an error, or none. */
static _Noreturn void
child(const struct wgdoor_order *order, int link, int alive)
{
	struct err err = {0}, ignored = {0};
	int netlink = -1;

	setsid();
	prctl(PR_SET_NAME, "zlayer:wgdoor");
	program_reset_signals();
	signal(SIGPIPE, SIG_IGN);
	if (setns(order->fabric, CLONE_NEWNET) < 0)
		err_sys(&err, errno, "cannot enter the fabric");
	else if ((netlink = open_netlink()) < 0 || keep(link, netlink, alive) < 0)
		err_sys(&err, errno, "cannot open a netlink socket");
	else
		alive = ALIVE_FD;
	if (!err.kind && confine(order, &err) < 0)
		(void)err_where(&err, "the process that speaks to the kernel's WireGuard");
	if (fd_write_all(alive, &err, sizeof(err), &ignored) < 0 || err.kind)
		_exit(1);
	serve(order);
}

static int
spawn(const struct wgdoor_order *order, int link, int alive, struct err *err)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		pid = fork();
		if (pid == 0)
			child(order, link, alive);
		_exit(pid < 0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (pid < 0 || status != 0)
		return err_sys(err, pid < 0 ? errno : EAGAIN, "cannot send out a process");
	return 0;
}

/* Its first word; none when it died. */
static int
hear(int alive, struct err *err)
{
	struct err said;
	size_t have = 0;
	ssize_t n = 1;

	while (have < sizeof(said) && n != 0) {
		n = read(alive, (char *)&said + have, sizeof(said) - have);
		if (n < 0 && errno != EINTR)
			break;
		have += n > 0 ? (size_t)n : 0;
	}
	if (have < sizeof(said))
		return err_set(err, ERR_INTERNAL,
			       "the process that speaks to the kernel's WireGuard died");
	if (!said.kind)
		return 0;
	*err = said;
	return -1;
}

int
wgdoor_open(const struct wgdoor_order *order, int *sock_out, int *alive_out, struct err *err)
{
	int ends[2], pipes[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return err_sys(err, errno, "cannot send out a process");
	defer_close int ours = ends[0], theirs = ends[1];
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot send out a process");
	defer_close int alive = pipes[0], end = pipes[1];
	if (spawn(order, theirs, end, err) < 0)
		return -1;
	fd_close(&end);
	if (hear(alive, err) < 0)
		return -1;
	*sock_out = fd_take(&ours);
	*alive_out = fd_take(&alive);
	return 0;
}
