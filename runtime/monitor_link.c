/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A SOCK_SEQPACKET connection watched by the loop. Socket names are longer than sun_path allows for
 * deep data folders: they are reached through /proc/self/fd of the folder.
 */
#include "runtime/monitor_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"

enum { PACKET_BYTES = 4096, BACKLOG = 8 };

struct monitor_link {
	uv_poll_t poll;
	int sock;
	monitor_link_fn told;
	void *arg;
};

static void
address(int folder, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(out->sun_path, sizeof(out->sun_path), "/proc/self/fd/%d/control", folder);
}

int
monitor_link_listen(int folder, struct err *err)
{
	struct sockaddr_un at;
	address(folder, &at);
	unlinkat(folder, "control", 0);
	defer_close int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0 || bind(sock, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    fchmodat(folder, "control", 0600, 0) < 0 || listen(sock, BACKLOG) < 0) {
		err_sys(err, errno, "cannot make the monitor's socket");
		return -1;
	}
	return fd_take(&sock);
}

static void
on_closed(uv_handle_t *handle)
{
	struct monitor_link *link = handle->data;
	fd_close(&link->sock);
	mem_free(link);
}

void
monitor_link_close(struct monitor_link *link)
{
	if (link == NULL || link->told == NULL)
		return;
	link->told = NULL;
	uv_poll_stop(&link->poll);
	uv_close((uv_handle_t *)&link->poll, on_closed);
}

static void
on_ready(uv_poll_t *poll, int status, int events)
{
	struct monitor_link *link = poll->data;
	struct control_state state;
	char packet[PACKET_BYTES];
	(void)events;
	for (int i = 0; i < 16 && link->told != NULL; i++) {
		ssize_t n = status < 0 ? 0 : recv(link->sock, packet, sizeof(packet), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n > 0 && control_state_check(packet, (size_t)n, &state)) {
			link->told(link->arg, &state);
			continue;
		}
		monitor_link_fn told = link->told;
		void *arg = link->arg;
		monitor_link_close(link);
		told(arg, NULL);
		return;
	}
}

int
monitor_link_open(uv_loop_t *loop, int folder, monitor_link_fn told, void *arg,
		  struct monitor_link **out, struct err *err)
{
	struct sockaddr_un at;
	address(folder, &at);
	defer_close int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&at, sizeof(at)) < 0)
		return err_sys(err, errno, "cannot reach the monitor");
	struct monitor_link *link = mem_zalloc(MEM_RUNTIME, sizeof(*link));
	if (link == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory to watch a monitor");
	int code = uv_poll_init(loop, &link->poll, sock);
	if (code < 0) {
		mem_free(link);
		return err_sys(err, -code, "cannot watch a monitor");
	}
	link->poll.data = link;
	link->sock = fd_take(&sock);
	link->told = told;
	link->arg = arg;
	uv_poll_start(&link->poll, UV_READABLE, on_ready);
	*out = link;
	return 0;
}

static bool
send_order(struct monitor_link *link, const struct control_order *order)
{
	return link != NULL && send(link->sock, order, sizeof(*order),
				    MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(*order);
}

bool
monitor_link_order(struct monitor_link *link, enum control_verb verb, uint32_t signal,
		   uint32_t grace_ms)
{
	return send_order(link, &(struct control_order){
					.magic = CONTROL_MAGIC,
					.version = CONTROL_VERSION,
					.verb = (uint16_t)verb,
					.signal = signal,
					.grace_ms = grace_ms,
				});
}

bool
monitor_link_lease(struct monitor_link *link, uint64_t until_ns, uint64_t epoch)
{
	return send_order(link, &(struct control_order){
					.magic = CONTROL_MAGIC,
					.version = CONTROL_VERSION,
					.verb = CONTROL_LEASE,
					.lease_until_ns = until_ns,
					.lease_epoch = epoch,
				});
}

bool
monitor_link_record(int folder, const char *name, struct control_state *out)
{
	char bytes[PACKET_BYTES];
	defer_close int fd = fd_open_beneath(folder, name, O_RDONLY | O_NONBLOCK, 0);
	ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
	return n > 0 && control_state_check(bytes, (size_t)n, out);
}
