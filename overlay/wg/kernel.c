/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to the kernel and their answers, one at a time, over blocking sockets.
 *
 * Kernels before 6.16 cannot take one prefix from a peer, only all of them, and between that and
 * giving the others back packets would be lost. But a prefix moves when another peer is given it:
 * so those to be removed are given to a peer that nobody is, which is then removed. It has a random
 * public key and no endpoint, so nothing is ever sent to it. If we end between the two, it is one
 * more peer that is not wanted, and goes with the next setup_diff().
 */
#include "overlay/wg/kernel.h"

#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/world.h"

struct message {
	size_t length;
	union {
		struct nlmsghdr head;
		char bytes[KERNEL_WIRE_MESSAGE_MAX];
	} u;
};

/* ---- one question ---- */

/* Gives the bytes of the kernel's next datagram, or -1 with errno. */
static ssize_t
hear(int sock, void *out)
{
	for (;;) {
		struct sockaddr_nl from = {0};
		socklen_t length = sizeof(from);
		ssize_t n = recvfrom(sock, out, KERNEL_WIRE_ANSWER_MAX, MSG_TRUNC,
				     (struct sockaddr *)&from, &length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0) {
			errno = ECONNRESET;
			return -1;
		}
		if (n >= 0 && from.nl_pid != 0)
			continue;
		if (n > KERNEL_WIRE_ANSWER_MAX) {
			errno = EMSGSIZE;
			return -1;
		}
		return n;
	}
}

/* Gives 0 or an errno. The message is wiped. */
static int
ask(int sock, struct message *m, struct kernel_wire_answer *a)
{
	char *place = mem_zalloc(MEM_OVERLAY, KERNEL_WIRE_ANSWER_MAX);
	enum kernel_wire_event event = KERNEL_WIRE_MORE;
	int code = place ? 0 : ENOMEM;

	a->sequence = m->u.head.nlmsg_seq;
	if (code == 0 && send(sock, m->u.bytes, m->length, MSG_NOSIGNAL) != (ssize_t)m->length)
		code = errno;
	while (code == 0 && event == KERNEL_WIRE_MORE) {
		ssize_t n = hear(sock, place);

		if (n < 0)
			code = errno == EAGAIN ? ETIMEDOUT : errno;
		else
			event = kernel_wire_read(a, place, (size_t)n);
		if (event == KERNEL_WIRE_FAILED)
			code = a->code;
	}
	mem_free_zero(place);
	mem_wipe(m, sizeof(*m));
	return code;
}

/* ---- open and close ---- */

static int
open_socket(int protocol, struct err *err)
{
	const struct timeval wait = {.tv_sec = KERNEL_WAIT_S};
	const int yes = 1;
	defer_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &yes, sizeof(yes)) < 0)
		return err_sys(err, errno, "cannot open a netlink socket");
	return fd_take(&fd);
}

static int
find_family(struct kernel *k, struct err *err)
{
	struct message m;
	struct kernel_wire_answer a = {0};

	m.length = kernel_wire_put_family(m.u.bytes, ++k->sequence);
	int code = ask(k->generic, &m, &a);
	k->family = a.family;
	if (code == ENOENT)
		return err_set(err, ERR_UNSUPPORTED, "this kernel has no WireGuard");
	if (code != 0)
		return err_sys(err, code, "cannot ask the kernel for WireGuard");
	return 0;
}

int
kernel_open(struct kernel *k, struct err *err)
{
	*k = (struct kernel){.route = -1, .generic = -1};
	if (kernel_wire_open(err) == 0 && (k->route = open_socket(NETLINK_ROUTE, err)) >= 0 &&
	    (k->generic = open_socket(NETLINK_GENERIC, err)) >= 0 && find_family(k, err) == 0)
		return 0;
	kernel_close(k);
	return -1;
}

/* Its predecessor's answers may still be under way: its numbers begin elsewhere. */
int
kernel_adopt(struct kernel *k, int sock, uint16_t family, struct err *err)
{
	const struct timeval wait = {.tv_sec = KERNEL_WAIT_S};
	struct world world;

	*k = (struct kernel){.route = -1, .generic = sock, .family = family};
	world_real(&world);
	world_random(&world, &k->sequence, sizeof(k->sequence));
	if (kernel_wire_open(err) < 0)
		goto fail;
	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0)
		return 0;
	err_sys(err, errno, "cannot speak to the kernel's WireGuard");
fail:
	kernel_close(k);
	return -1;
}

void
kernel_close(struct kernel *k)
{
	fd_close(&k->route);
	fd_close(&k->generic);
}

bool
kernel_available(void)
{
	struct kernel k;
	struct err err = {0};

	if (kernel_open(&k, &err) < 0)
		return false;
	kernel_close(&k);
	return true;
}

/* ---- links ---- */

int
kernel_add(struct kernel *k, const struct kernel_wire_link *link, struct err *err)
{
	struct message m;
	struct kernel_wire_answer a = {0};

	m.length = kernel_wire_put_add(m.u.bytes, ++k->sequence, link);
	int code = ask(k->route, &m, &a);
	if (code == EEXIST)
		return err_set(err, ERR_CONFLICT, "there is a link %s", link->name);
	return code == 0 ? 0 : err_sys(err, code, "cannot make the device %s", link->name);
}

static int
refused(int code, const char *what, const char *name, struct err *err)
{
	if (code == ENODEV)
		return err_set(err, ERR_NOT_FOUND, "there is no device %s", name);
	return err_sys(err, code, "cannot %s the device %s", what, name);
}

int
kernel_remove(struct kernel *k, const char *name, struct err *err)
{
	struct message m;
	struct kernel_wire_answer a = {0};

	m.length = kernel_wire_put_remove(m.u.bytes, ++k->sequence, name);
	int code = ask(k->route, &m, &a);
	return code == 0 ? 0 : refused(code, "remove", name, err);
}

/* ---- reading ---- */

int
kernel_get(struct kernel *k, const char *name, struct setup *out, struct err *err)
{
	struct kernel_wire_answer a;
	struct message m;
	int code = EINTR;

	for (int i = 0; i < KERNEL_ASK_MAX && code == EINTR; i++) {
		setup_fini(out);
		a = (struct kernel_wire_answer){.family = k->family, .state = out};
		m.length = kernel_wire_put_get(m.u.bytes, ++k->sequence, k->family, name);
		code = ask(k->generic, &m, &a);
		if (code == 0 && a.interrupted)
			code = EINTR;
	}
	if (code == 0)
		return 0;
	setup_fini(out);
	return refused(code, "read", name, err);
}

/* ---- changing ---- */

static int
say(struct kernel *k, const char *name, const struct setup *change, struct err *err)
{
	struct kernel_wire_at at = {0};
	struct message m;

	while ((m.length = kernel_wire_put_set(m.u.bytes, k->sequence + 1, k->family, name, change,
					       &at)) > 0) {
		struct kernel_wire_answer a = {0};

		k->sequence++;
		int code = ask(k->generic, &m, &a);
		if (code != 0)
			return refused(code, "change", name, err);
	}
	return 0;
}

static bool
owns(const struct setup_peer *p, const struct addr_prefix *at)
{
	for (size_t i = 0; i < p->prefixes_count; i++)
		if (p->prefixes[i].at.bits == at->bits &&
		    addr_equal_ip(&p->prefixes[i].at.base, &at->base))
			return true;
	return false;
}

/* What is to be removed of what is there, as what a peer that nobody is has. */
static enum setup_rc
collect(const struct setup *is, const struct setup *change, struct setup *out)
{
	struct setup_peer *nobody;
	uint8_t key[SETUP_KEY];
	struct world world;

	world_real(&world);
	world_random(&world, key, sizeof(key));
	enum setup_rc rc = setup_add_peer(out, key, &nobody);
	for (size_t i = 0; i < change->peers_count; i++) {
		const struct setup_peer *p = &change->peers[i], *have = NULL;

		for (size_t n = 0; n < p->prefixes_count && rc == SETUP_OK; n++) {
			if (!p->prefixes[n].remove)
				continue;
			if (!have && (have = setup_find(is, p->public_key)) == NULL)
				break;
			if (owns(have, &p->prefixes[n].at))
				rc = setup_add_prefix(out, nobody, &p->prefixes[n].at, false);
		}
	}
	return rc;
}

static int
collected(enum setup_rc rc, const char *name, struct err *err)
{
	if (rc == SETUP_OK)
		return 0;
	if (rc == SETUP_TOO_MUCH)
		return err_set(err, ERR_LIMIT, "too many prefixes are to be removed from %s", name);
	return err_set(err, ERR_NO_MEMORY, "no memory for a change of %s", name);
}

static int
remove_prefixes(struct kernel *k, const char *name, const struct setup *change, struct err *err)
{
	struct setup is = {0}, away = {0};
	int rc = kernel_get(k, name, &is, err);

	if (rc == 0)
		rc = collected(collect(&is, change, &away), name, err);
	if (rc == 0 && away.prefixes_count > 0) {
		rc = say(k, name, &away, err);
		away.peers[0].remove = true;
		if (rc == 0)
			rc = say(k, name, &away, err);
	}
	setup_fini(&is);
	setup_fini(&away);
	return rc;
}

static bool
removes_prefixes(const struct setup *c)
{
	for (size_t i = 0; i < c->peers_count; i++)
		for (size_t n = 0; n < c->peers[i].prefixes_count; n++)
			if (c->peers[i].prefixes[n].remove)
				return true;
	return false;
}

int
kernel_set(struct kernel *k, const char *name, const struct setup *change, struct err *err)
{
	if (removes_prefixes(change) && remove_prefixes(k, name, change, err) < 0)
		return -1;
	return say(k, name, change, err);
}
