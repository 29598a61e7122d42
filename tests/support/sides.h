/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_SIDES_H
#define TESTS_SUPPORT_SIDES_H

/*
 * The test as node: roles in processes of their own, each on its leash; segments are handed to
 * those that read them, what is to be delivered is delivered. For cmocka programs, as root.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "ring/station.h"

struct side {
	const struct station_role *role;
	uint64_t caps;
	bool landlock;
	int folder; /* one that it may read and write; 0: none */
	pid_t pid;
	int leash, segment; /* -1 at first */
	uint32_t generation;
};

static void
sides_welcome(struct side *s)
{
	static struct leash_welcome w;
	struct leash_message m;

	memset(&w, 0, sizeof(w));
	w.abi = RING_ABI;
	w.role = s->role->role;
	w.generation = s->generation;
	w.instances = 1;
	w.uid = w.gid = 61000u + w.role;
	w.log_level = LOG_ERROR;
	w.keep_caps = s->caps;
	w.landlock = s->landlock;
	text_copy(w.instance, sizeof(w.instance), "test");
	w.folders = s->folder > 0;
	w.folder_access[0] = SANDBOX_READ | SANDBOX_WRITE | SANDBOX_WHITEOUT;
	int fds[3] = {fd_memfd_sealed("welcome", &w, sizeof(w)),
		      fd_memfd_sealed("config", "config", 6), s->folder};
	leash_init(&m, LEASH_WELCOME);
	assert_int_equal(leash_send(s->leash, &m, fds, 2 + (size_t)w.folders), 0);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

/* Starts it, or its successor. A child keeps no other's leash: its end must be seen. */
static void
sides_start(struct side *sides, size_t count, struct side *s)
{
	int pair[2];

	s->generation++;
	fd_close(&s->segment);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid == 0) {
		close(pair[0]);
		for (size_t i = 0; i < count; i++)
			fd_close(&sides[i].leash);
		_exit(station_main(s->role, pair[1], NULL));
	}
	close(pair[1]);
	fd_close(&s->leash);
	s->leash = pair[0];
	sides_welcome(s);
}

static void
sides_introduce(struct side *reader, struct side *producer)
{
	struct leash_message m;
	int wake[2];

	if (!leash_reads(reader->role->role, producer->role->role))
		return;
	assert_int_equal(pipe2(wake, O_CLOEXEC | O_NONBLOCK), 0);
	int fds[2] = {producer->segment, wake[0]};
	leash_init(&m, LEASH_PEER);
	m.peer_role = producer->role->role;
	leash_send(reader->leash, &m, fds, 2);
	leash_init(&m, LEASH_KICK);
	m.peer_role = reader->role->role;
	leash_send(producer->leash, &m, &wake[1], 1);
	close(wake[0]);
	close(wake[1]);
}

/* One message of a side's leash. */
static void
sides_message(struct side *sides, size_t sides_count, struct side *from)
{
	struct leash_message m;
	int fds[FD_PASS_MAX];
	size_t count = 0;

	if (leash_recv(from->leash, &m, fds, FD_PASS_MAX, &count) < 0)
		return;
	if (m.kind == LEASH_SEGMENT)
		from->segment = fd_take(&fds[0]);
	for (size_t i = 0; i < sides_count; i++) {
		struct side *other = &sides[i];

		if (m.kind == LEASH_SEGMENT && other != from && other->segment >= 0) {
			sides_introduce(from, other);
			sides_introduce(other, from);
		} else if (m.kind == LEASH_DELIVER && m.to_role == other->role->role) {
			leash_send(other->leash, &m, fds, count);
		}
	}
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
}

#endif
