/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets keep the network namespace that they were made in: overlay lives in the fabric, asks
 * resolvers in the host's namespace with these (127.0.0.53 among them), and can make no others
 * there. They are not connected; overlay gives each a new port for each question.
 */
#include "node/resolver.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"

static const char path[] = "/etc/resolv.conf";

static void
send_some(struct hub_member *overlay, int family, int type, size_t wanted)
{
	struct leash_message message;
	int fds[FD_PASS_MAX];
	size_t count;

	for (; wanted > 0; wanted -= count) {
		size_t most = wanted < FD_PASS_MAX ? wanted : FD_PASS_MAX;

		for (count = 0; count < most; count++) {
			fds[count] = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
			if (fds[count] < 0)
				break;
		}
		/* A machine without this family, or without a descriptor left. */
		if (count == 0)
			return;
		leash_init(&message, LEASH_SOCKETS);
		message.from_role = ROLE_NODE;
		hub_send(overlay, &message, fds, count);
		for (size_t i = 0; i < count; i++)
			fd_close(&fds[i]);
	}
}

void
resolver_send_sockets(struct hub_member *overlay)
{
	send_some(overlay, AF_INET, SOCK_DGRAM, RESOLVER_UDP);
	send_some(overlay, AF_INET6, SOCK_DGRAM, RESOLVER_UDP);
	send_some(overlay, AF_INET, SOCK_STREAM, RESOLVER_TCP);
	send_some(overlay, AF_INET6, SOCK_STREAM, RESOLVER_TCP);
}

void
resolver_send_file(struct hub_member *overlay)
{
	struct leash_message message;
	struct err err = {0};
	struct buf text;

	buf_init(&text, MEM_NODE, RESOLVER_TEXT_MAX);
	if (fd_read_file(AT_FDCWD, path, &text, &err) < 0) {
		if (err.kind != ERR_NOT_FOUND)
			log_err(LOG_WARN, "the machine's resolvers are not known", &err);
		buf_reset(&text);
	}
	defer_close int fd = fd_memfd_sealed("resolv.conf", text.data, text.length);
	buf_fini(&text);
	if (fd < 0) {
		log_event(LOG_WARN, "cannot hand over the resolvers", log_i("errno", errno),
			  LOG_END);
		return;
	}
	leash_init(&message, LEASH_FILE);
	message.from_role = ROLE_NODE;
	message.a = LEASH_FILE_RESOLVERS;
	hub_send(overlay, &message, &fd, 1);
}

static bool
same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool
resolver_changed(struct resolver *r)
{
	struct stat now = {0};
	bool looked = r->looked;

	(void)stat(path, &now);
	bool changed = !same(&now, &r->last);
	r->looked = true;
	r->last = now;
	return looked && changed;
}
