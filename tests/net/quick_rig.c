/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our engine as a program that wg-quick(8) starts where it would start wireguard-go: makes the TUN
 * device and its configuration socket, goes into the background when both are there, and ends when
 * the device is deleted. The sockets, and so the engine, come with the first change: that one says
 * the port. What the engine counted goes to the file of QUICK_RIG_LOG in the end.
 *
 *   quick_rig NAME
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "overlay/engine/engine.h"
#include "overlay/engine/udp.h"
#include "overlay/wg/uapi_socket.h"

enum { MTU = 1420, NEWS_BYTES = 1 << 16 };

static struct rig {
	uv_loop_t loop;
	uv_poll_t links;
	int news; /* of the kernel about its links */
	const char *name;
	struct tun queue;
	struct engine *engine;
	struct uapi_socket *sock;
} rig;

static void
must(bool good, const struct err *err)
{
	if (good)
		return;
	if (err)
		err_print(err, "quick_rig", stderr);
	else
		fprintf(stderr, "quick_rig: %s\n", strerror(errno));
	exit(1);
}

static int
begin(const struct setup *change, struct err *err)
{
	struct udp_config c = {.port = change->has_port ? change->port : 0};
	struct engine_config e = {.queues = {rig.queue}, .queues_count = 1, .mtu = MTU};
	struct udp v4, v6;

	if (udp_open(&v4, &c, err) < 0)
		return -1;
	c.v6 = true;
	c.port = udp_port(&v4);
	if (udp_open(&v6, &c, err) < 0) {
		udp_close(&v4);
		return -1;
	}
	e.udp4 = v4.fd;
	e.udp6 = v6.fd;
	rig.engine = engine_new(&e, err);
	if (!rig.engine) {
		udp_close(&v4);
		udp_close(&v6);
		return -1;
	}
	return 0;
}

static int
get(void *arg, struct setup *out)
{
	struct err err = {0};

	(void)arg;
	return !rig.engine || engine_state(rig.engine, out, &err) == 0 ? 0 : ENOMEM;
}

static int
set(void *arg, const struct setup *change)
{
	struct err err = {0};

	(void)arg;
	if ((!rig.engine && begin(change, &err) < 0) || engine_change(rig.engine, change, &err) < 0)
		err_print(&err, "quick_rig", stderr);
	else
		return 0;
	return err.kind == ERR_NO_MEMORY ? ENOMEM : EINVAL;
}

static void
log_counts(void)
{
	uint64_t counts[ENGINE_COUNTS];
	const char *path = getenv("QUICK_RIG_LOG");

	if (!path || !rig.engine)
		return;
	FILE *f = fopen(path, "we");
	must(f, NULL);
	engine_counts(rig.engine, counts);
	for (enum engine_count i = 0; i < ENGINE_COUNTS; i++)
		fprintf(f, "%s %llu\n", engine_count_name(i), (unsigned long long)counts[i]);
	must(fclose(f) == 0, NULL);
}

static void
links_changed(uv_poll_t *handle, int status, int events)
{
	static char news[NEWS_BYTES];

	(void)status;
	(void)events;
	while (recv(rig.news, news, sizeof(news), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
		;
	if (if_nametoindex(rig.name))
		return;
	uv_close((uv_handle_t *)handle, NULL);
	uapi_socket_close(rig.sock);
}

static void
watch(void)
{
	struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};

	rig.news = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	must(rig.news >= 0 && bind(rig.news, (struct sockaddr *)&a, sizeof(a)) == 0, NULL);
	uv_poll_init(&rig.loop, &rig.links, rig.news);
	uv_poll_start(&rig.links, UV_READABLE, links_changed);
}

/* The parent goes when the child is there. */
static int
go_back(void)
{
	int fds[2];
	char there;

	must(pipe2(fds, O_CLOEXEC) == 0, NULL);
	pid_t child = fork();
	must(child >= 0, NULL);
	if (child == 0) {
		close(fds[0]);
		setsid();
		return fds[1];
	}
	close(fds[1]);
	exit(read(fds[0], &there, 1) == 1 ? 0 : 1);
}

int
main(int argc, char **argv)
{
	const struct uapi_socket_device device = {.get = get, .set = set};
	struct err err = {0};

	if (argc != 2) {
		fprintf(stderr, "usage: quick_rig NAME\n");
		return 2;
	}
	int ready = go_back();
	rig.name = argv[1];
	uv_loop_init(&rig.loop);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	must(fd >= 0, NULL);
	must(tun_open(&rig.queue, fd, rig.name, TUN_USO, &err) == 0, &err);
	must(tun_set_mtu(&rig.queue, MTU, &err) == 0, &err);
	watch();
	must(mkdir(UAPI_SOCKET_FOLDER, 0700) == 0 || errno == EEXIST, NULL);
	int folder = open(UAPI_SOCKET_FOLDER, O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(folder >= 0, NULL);
	rig.sock = uapi_socket_open(&rig.loop, folder, rig.name, &device, &err);
	must(rig.sock, &err);
	close(folder);
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC); /* who started it waits for the ends */
	must(nothing >= 0, NULL);
	for (int i = 0; i < 3; i++)
		must(dup2(nothing, i) == i, NULL);
	close(nothing);
	must(write(ready, "", 1) == 1 && close(ready) == 0, NULL);
	uv_run(&rig.loop, UV_RUN_DEFAULT);
	uv_loop_close(&rig.loop);
	log_counts();
	if (rig.engine)
		engine_free(rig.engine);
	else
		tun_close(&rig.queue);
	fd_close(&rig.news);
	return mem_used_all() == 0 ? 0 : 1;
}
