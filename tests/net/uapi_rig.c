/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A WireGuard device that is nothing but its setup, behind the configuration socket, for wg(8).
 *
 *   uapi_rig FOLDER NAME    says "ready"; ends at the end of its input
 *
 * A line of input says what came of a peer: KEY(hex) HANDSHAKE(s) RX TX; it is answered by "seen".
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"
#include "overlay/wg/uapi_socket.h"
#include "tests/support/wg_setup.h"

enum { LINE_MAX_BYTES = 512, IDLE_MS = 120000 };

static struct setup device;
static uv_loop_t loop;
static uv_pipe_t input;
static struct uapi_socket *sock;
static char line[LINE_MAX_BYTES];
static size_t have;

static void
must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "uapi_rig: %s\n", what);
	exit(1);
}

static int
get(void *arg, struct setup *out)
{
	struct setup nothing = {0};

	(void)arg;
	if (setup_diff(&nothing, &device, out) != SETUP_OK)
		return ENOMEM;
	for (size_t i = 0; i < device.peers_count; i++) {
		const struct setup_peer *from = &device.peers[i];
		struct setup_peer *to = setup_find(out, from->public_key);

		to->handshake_s = from->handshake_s;
		to->rx_bytes = from->rx_bytes;
		to->tx_bytes = from->tx_bytes;
	}
	return 0;
}

static int
set(void *arg, const struct setup *change)
{
	(void)arg;
	wg_setup_apply(&device, change);
	return 0;
}

static void
take_line(void)
{
	char hex[2 * SETUP_KEY + 1];
	uint8_t key[SETUP_KEY];
	int64_t when;
	uint64_t rx, tx;

	must(sscanf(line, "%64s %" SCNd64 " %" SCNu64 " %" SCNu64, hex, &when, &rx, &tx) == 4 &&
		     text_unhex(hex, strlen(hex), key, sizeof(key)) == SETUP_KEY,
	     "not a line of input");
	struct setup_peer *p = setup_find(&device, key);
	must(p, "no such peer");
	p->handshake_s = when;
	p->rx_bytes = rx;
	p->tx_bytes = tx;
	puts("seen");
	fflush(stdout);
}

static void
give_memory(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	(void)handle;
	(void)suggested;
	*out = uv_buf_init(line + have, (unsigned)(sizeof(line) - 1 - have));
}

static void
was_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	char *end;

	(void)buf;
	if (n < 0) {
		uapi_socket_close(sock);
		uv_close((uv_handle_t *)stream, NULL);
		return;
	}
	have += (size_t)n;
	line[have] = '\0';
	while ((end = strchr(line, '\n')) != NULL) {
		*end = '\0';
		take_line();
		have -= (size_t)(end + 1 - line);
		memmove(line, end + 1, have + 1);
	}
	must(have < sizeof(line) - 1, "too long a line");
}

int
main(int argc, char **argv)
{
	struct uapi_socket_device d = {.get = get, .set = set, .idle_ms = IDLE_MS};
	struct err err = {0};

	must(argc == 3, "usage: uapi_rig FOLDER NAME");
	int folder = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(folder >= 0, "no such folder");
	uv_loop_init(&loop);
	sock = uapi_socket_open(&loop, folder, argv[2], &d, &err);
	must(sock, err.what);
	close(folder);
	uv_pipe_init(&loop, &input, 0);
	uv_pipe_open(&input, 0);
	uv_read_start((uv_stream_t *)&input, give_memory, was_read);
	puts("ready");
	fflush(stdout);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	setup_fini(&device);
	must(mem_used_all() == 0, "memory is left");
	return 0;
}
