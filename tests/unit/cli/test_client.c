/* SPDX-License-Identifier: Apache-2.0 */
/* The client against a node that is there and says nothing. */
#include "cli/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/text.h"
#include "cli/cli.h"

static void
test_silent_node(void **state)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct cli cli = {.answer_ms = 50};
	struct err err = {0};
	struct buf answer;

	(void)state;
	text_format(at.sun_path, sizeof(at.sun_path), "/tmp/zlayer-client-%d.sock", (int)getpid());
	text_copy(cli.socket, sizeof(cli.socket), at.sun_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 1), 0);
	buf_init(&answer, MEM_CLI, 4096);
	assert_int_equal(client_get(&cli, "/v1/status", &answer, &err), -1);
	assert_int_equal(err.kind, ERR_TIMEOUT);
	buf_fini(&answer);
	close(fd);
	unlink(at.sun_path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_silent_node)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
