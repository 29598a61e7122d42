/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `logs`: reads the files of one replica and sends what matches. It can read nothing else: one
 * folder, no capabilities, a filter. Following waits on inotify for the folder, which also tells of
 * rotation and of the next attempt's first line; the stream's end is watched at the same time, so
 * that no helper outlives its reader. A reader that has closed its own half only wants what is
 * left. A follower with an end time leaves when it is reached.
 */
#include "runtime/monitor/logs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/sandbox.h"
#include "base/world.h"
#include "runtime/frame.h"
#include "runtime/log_reader.h"

enum { LINE_HEAD = 16 };

static struct log_reader reader;

static int
send_record(int stream, const struct log_reader_record *record)
{
	uint8_t head[LINE_HEAD] = {0};
	for (int i = 0; i < 8; i++)
		head[i] = (uint8_t)((uint64_t)record->wall_ns >> (8 * i));
	for (int i = 0; i < 4; i++)
		head[8 + i] = (uint8_t)(record->attempt >> (8 * i));
	head[12] = (uint8_t)record->stream;
	head[13] = record->partial;
	return frame_send(stream, MSG_FRAME_LINE, head, sizeof(head), record->text, record->length);
}

static int
send_all(int stream)
{
	struct log_reader_record record;
	while (log_reader_next(&reader, &record))
		if (send_record(stream, &record) < 0)
			return -1;
	return 0;
}

static int
confine(const struct launch *launch, struct err *err)
{
	struct sandbox box = {
		.landlock = true,
		.paths = {{.fd = launch->log_fd, .access = SANDBOX_READ}},
		.paths_count = 1,
		.filter = launch->monitor_filter.items,
		.filter_count = launch->monitor_filter.count,
	};
	int abi;
	return sandbox_enter(&box, &abi, err);
}

static int
watch_folder(int dirfd)
{
	char path[32];
	int n = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (n < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dirfd);
	if (inotify_add_watch(n, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0) {
		close(n);
		return -1;
	}
	return n;
}

/* False when nobody reads any more, or the end time is reached. */
static bool
wait_for_more(const struct launch *launch, int watch)
{
	char events[4096];
	int timeout = -1;
	if (launch->until_wall_ns != 0) {
		int64_t left = launch->until_wall_ns - world_wall_ns();
		if (left <= 0)
			return false;
		timeout = left > INT64_C(60000000000) ? 60000 : (int)(left / 1000000 + 1);
	}
	struct pollfd p[2] = {
		{.fd = launch->stream_fd, .events = POLLIN},
		{.fd = watch, .events = POLLIN},
	};
	if (poll(p, 2, timeout) < 0)
		return errno == EINTR;
	if (p[0].revents != 0) {
		/* Nothing is expected from the reader but its end. */
		if (recv(launch->stream_fd, events, sizeof(events), MSG_DONTWAIT) == 0 ||
		    (p[0].revents & (POLLHUP | POLLERR)) != 0)
			return false;
	}
	while (read(watch, events, sizeof(events)) > 0)
		continue;
	return true;
}

static int
fail(int stream, const struct err *err)
{
	frame_send_text(stream, MSG_FRAME_ERROR, err->what);
	frame_send_u32(stream, MSG_FRAME_EXIT, 125);
	return 125;
}

int
logs_main(struct launch *launch)
{
	struct err err = {0};
	struct log_reader_filter filter = {
		.since_wall_ns = launch->since_wall_ns,
		.until_wall_ns = launch->until_wall_ns,
		.attempt = launch->attempt,
	};
	int watch = -1;
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "zlayer-logs", 0, 0, 0);
	setsid();
	/* Before the first look, so that nothing falls between. */
	if (launch->follow) {
		watch = watch_folder(launch->log_fd);
		if (watch < 0) {
			err_sys(&err, errno, "cannot follow the log");
			return fail(launch->stream_fd, &err);
		}
	}
	if (confine(launch, &err) < 0)
		return fail(launch->stream_fd, &err);
	log_reader_open(&reader, launch->log_fd, &filter, launch->tail);
	do {
		if (send_all(launch->stream_fd) < 0)
			return 0;
	} while (launch->follow && wait_for_more(launch, watch));
	if (launch->follow && send_all(launch->stream_fd) < 0)
		return 0;
	frame_send_u32(launch->stream_fd, MSG_FRAME_EXIT, 0);
	return 0;
}
