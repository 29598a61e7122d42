/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collecting the listening sockets of proxies that outlived a node. What a proxy says of itself is
 * believed only as far as it was checked: its index is the socket's, its pid must run under the uid
 * that this index has (no other process does), its segment is checked by the hub.
 */
#include "node/collect.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/handover.h"

enum { ANSWER_SECONDS = 2, ALL_SECONDS = 10 };

static void
address(const struct instance *inst, unsigned index, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	text_format(out->sun_path, sizeof(out->sun_path), "%s/proxy.%u.sock", inst->run_path,
		    index);
}

static void
found_close(struct collect_found *found)
{
	fd_close(&found->pidfd);
	fd_close(&found->conn);
	fd_close(&found->segment);
	for (size_t i = 0; i < found->listeners; i++)
		fd_close(&found->fds[i]);
	found->listeners = 0;
}

static int
take_listeners(struct collect_found *found, const struct handover_message *m, int *fds)
{
	for (size_t i = 0; i < m->count; i++) {
		if (found->listeners == COLLECT_LISTENERS_MAX) {
			fd_close(&fds[i]);
			continue;
		}
		text_copy(found->names[found->listeners], sizeof(found->names[0]), m->names[i]);
		found->fds[found->listeners++] = fds[i];
	}
	return 0;
}

static int
ask(struct collect_found *found)
{
	struct handover_message m;
	int fds[FD_PASS_MAX];

	handover_init(&m, HANDOVER_COLLECT);
	if (handover_send(found->conn, &m, NULL) < 0 || handover_recv(found->conn, &m, fds) < 0)
		return -1;
	if (m.kind != HANDOVER_SEGMENT || m.role != ROLE_PROXY || m.index != found->index) {
		for (size_t i = 0; i < m.count; i++)
			fd_close(&fds[i]);
		errno = EBADMSG;
		return -1;
	}
	found->segment = fds[0];
	found->generation = m.generation;
	found->pid = (pid_t)m.pid;
	uint64_t until = world_mono_ns() + ALL_SECONDS * UINT64_C(1000000000);
	for (unsigned i = 0; i < COLLECT_LISTENERS_MAX && world_mono_ns() < until; i++) {
		if (handover_recv(found->conn, &m, fds) < 0)
			return -1;
		take_listeners(found, &m, fds);
		if (m.last)
			return 0;
	}
	errno = EBADMSG; /* it never ends */
	return -1;
}

/* The pid is the proxy's own word: it must have the proxy's uid. */
static int
watch(const struct instance *inst, struct collect_found *found)
{
	char path[64];
	char line[256];
	unsigned uid = 0;

	found->pidfd = found->pid > 1 ? fd_pidfd_open(found->pid) : -1;
	if (found->pidfd < 0)
		return -1;
	text_format(path, sizeof(path), "/proc/%d/status", (int)found->pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Uid: %u", &uid) == 1)
			break;
	if (f)
		fclose(f);
	if (uid != roles_uid(roles_get(ROLE_PROXY), found->index, inst->uid_base)) {
		errno = EBADMSG;
		return -1;
	}
	return 0;
}

static bool
collect_one(const struct instance *inst, unsigned index, collect_fn visit, void *arg)
{
	struct sockaddr_un at;
	struct timeval patience = {.tv_sec = ANSWER_SECONDS};
	struct collect_found found = {
		.index = index,
		.pidfd = -1,
		.segment = -1,
		.conn = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0),
	};

	address(inst, index, &at);
	if (found.conn < 0)
		return false;
	setsockopt(found.conn, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(found.conn, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(found.conn, (struct sockaddr *)&at, sizeof(at)) < 0) {
		found_close(&found);
		return false;
	}
	if (ask(&found) < 0 || watch(inst, &found) < 0) {
		log_event(LOG_WARN, "a proxy of the last run did not hand over its sockets",
			  log_u("index", index), log_i("errno", errno), LOG_END);
		found_close(&found);
		return true;
	}
	visit(arg, &found);
	return true;
}

void
collect_proxies(const struct instance *inst, collect_fn visit, void *arg)
{
	for (unsigned index = 0; index < ROLE_PROXIES_MAX; index++) {
		struct sockaddr_un at;

		address(inst, index, &at);
		if (access(at.sun_path, F_OK) == 0 && !collect_one(inst, index, visit, arg))
			(void)unlink(at.sun_path);
	}
}

void
collect_drain(int conn, uint64_t grace_ms)
{
	struct handover_message m;

	handover_init(&m, HANDOVER_DRAIN);
	m.grace_ms = grace_ms;
	if (conn >= 0 && handover_send(conn, &m, NULL) < 0)
		log_event(LOG_WARN, "a proxy of the last run was not told to drain",
			  log_i("errno", errno), LOG_END);
}

int
collect_listen(const struct instance *inst, unsigned index, struct err *err)
{
	struct sockaddr_un at;
	defer_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	address(inst, index, &at);
	(void)unlink(at.sun_path);
	mode_t mask = umask(0177);
	int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&at, sizeof(at));
	umask(mask);
	if (rc < 0 || listen(fd, 4) < 0)
		return err_sys(err, errno, "cannot listen on %s", at.sun_path);
	return fd_take(&fd);
}

void
collect_unlisten(const struct instance *inst, unsigned index)
{
	struct sockaddr_un at;

	address(inst, index, &at);
	(void)unlink(at.sun_path);
}
