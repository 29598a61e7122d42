/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that keep logins: scripts in a folder of PATH, named by a config.json. */
#include "node/login_program.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "ring/leash.h"
#include "runtime/tree.h"

static char top[] = "/tmp/logins-XXXXXX";
static int topfd = -1;
static uv_loop_t loop;
static struct login_program *programs;

static struct {
	struct leash_login head;
	char text[LEASH_LOGIN_BYTES_MAX + 1];
} got;

static void
make(const char *name, const char *text, mode_t mode)
{
	struct err err = {0};
	int fd = openat(topfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text), &err), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int
start(const char *host, struct err *err)
{
	defer_close int logins = openat(topfd, "config.json", O_RDONLY | O_CLOEXEC);

	return login_program_start(programs, logins, host, err);
}

/* The kind of the answer; its words or text are in `got`. */
static unsigned
ask(const char *config, const char *host)
{
	struct err err = {0};
	size_t have = 0;
	ssize_t n;

	make("config.json", config, 0600);
	int fd;

	/* Those before may be about to end. */
	while ((fd = start(host, &err)) < 0 && err.kind == ERR_LIMIT) {
		uv_run(&loop, UV_RUN_ONCE);
		err_clear(&err);
	}
	memset(&got, 0, sizeof(got));
	if (fd < 0)
		return err.kind;
	while ((n = read(fd, (char *)&got + have, sizeof(got) - 1 - have)) > 0)
		have += (size_t)n;
	close(fd);
	assert_int_equal(have, sizeof(got.head) + got.head.bytes);
	return got.head.kind;
}

static unsigned
ask_program(const char *name, const char *script)
{
	char config[200], file[100];

	snprintf(file, sizeof(file), "docker-credential-%s", name);
	if (script)
		make(file, script, 0755);
	snprintf(config, sizeof(config), "{\"credHelpers\":{\"r.test:5000\":\"%s\"}}", name);
	return ask(config, "r.test:5000");
}

static void
test_given(void **state)
{
	(void)state;
	assert_int_equal(ask_program("good", "#!/bin/sh\n[ $1 = get ] || exit 9\nread server\n"
					     "echo \"{$server}\"\n"),
			 0);
	assert_string_equal(got.text, "{r.test:5000}\n");
	/* What goes on behind it is not waited for. */
	assert_int_equal(ask_program("leaves", "#!/bin/sh\nsleep 600 &\necho $! >$HOME/pid\n"
					       "echo here\n"),
			 0);
	assert_string_equal(got.text, "here\n");
	assert_int_equal(ask("{\"credsStore\":\"good\"}", "registry-1.docker.io"), 0);
	assert_string_equal(got.text, "{https://index.docker.io/v1/}\n");
}

static void
test_has_no_rights(void **state)
{
	(void)state;
	assert_int_equal(ask_program("rights", "#!/bin/sh\ngrep -E '^(CapEff|CapBnd|NoNewPrivs)' "
					       "/proc/self/status | tr -d '\\t\\n'\nls "
					       "/proc/self/fd | tr -d '\\n'"),
			 0);
	assert_string_equal(got.text, "CapEff:0000000000000000CapBnd:0000000000000000"
				      "NoNewPrivs:10123");
}

static void
test_none(void **state)
{
	(void)state;
	assert_int_equal(ask_program("none", "#!/bin/sh\necho credentials not found in native "
					     "keychain\nexit 1\n"),
			 ERR_NOT_FOUND);
	assert_non_null(strstr(got.head.what, "has no login for r.test:5000"));
	assert_int_equal(ask("{}", "r.test"), ERR_NOT_FOUND);
}

static void
test_failures(void **state)
{
	(void)state;
	assert_int_equal(ask_program("missing", NULL), ERR_SYSTEM);
	assert_non_null(strstr(got.head.what, "docker-credential-missing is not there"));
	assert_true(got.head.fix[0]);
	assert_int_equal(ask_program("sealed", "#!/bin/sh\necho it is sealed\nexit 3\n"),
			 ERR_SYSTEM);
	assert_string_equal(got.head.why[0], "it ended with status 3");
	assert_string_equal(got.head.why[1], "it says: it is sealed");
	assert_int_equal(ask_program("crash", "#!/bin/sh\nkill -KILL $$\n"), ERR_SYSTEM);
	assert_int_equal(ask_program("large", "#!/bin/sh\nyes\n"), ERR_LIMIT);
	assert_int_equal(ask_program("up", "#!/bin/sh\n"), 0);
	assert_int_equal(ask_program("../up", NULL), ERR_INVALID);
	make("docker-credential-others", "#!/bin/sh\n", 0777);
	assert_int_equal(ask("{\"credsStore\":\"others\"}", "r.test"), ERR_DENIED);
	assert_int_equal(ask("{", "r.test"), ERR_INVALID);
	assert_int_equal(ask("{}", "r.test/../x"), ERR_INVALID);
}

static void
test_late(void **state)
{
	(void)state;
	assert_int_equal(ask_program("late", "#!/bin/sh\nexec sleep 600\n"), ERR_TIMEOUT);
	assert_non_null(strstr(got.head.what, "within 10 s"));
}

static void
test_not_too_many(void **state)
{
	struct err err = {0};
	int fds[64];
	size_t count = 0;

	(void)state;
	make("docker-credential-wait", "#!/bin/sh\nwhile [ ! -e $HOME/go ]; do sleep 0.05; done\n",
	     0755);
	make("config.json", "{\"credsStore\":\"wait\"}", 0600);
	while (count < 64 && (fds[count] = start("r.test", &err)) >= 0)
		count++;
	assert_true(count > 0 && count < 64);
	assert_int_equal(err.kind, ERR_LIMIT);
	make("go", "", 0600);
	for (size_t i = 0; i < count; i++) {
		char c;

		while (read(fds[i], &c, 1) > 0)
			continue;
		close(fds[i]);
	}
	assert_int_equal(ask_program("good", NULL), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_given), cmocka_unit_test(test_has_no_rights),
		cmocka_unit_test(test_none),  cmocka_unit_test(test_failures),
		cmocka_unit_test(test_late),  cmocka_unit_test(test_not_too_many),
	};
	char path[200];

	if (geteuid() != 0) {
		printf("1..0 # SKIP such programs belong to root\n");
		return 0;
	}
	if (!mkdtemp(top))
		return 1;
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "relative:/nowhere:%s:/usr/bin:/bin", top);
	setenv("PATH", path, 1);
	setenv("HOME", top, 1);
	if (uv_loop_init(&loop) != 0 || !(programs = login_program_new(&loop)))
		return 1;
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	login_program_free(programs);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	snprintf(path, sizeof(path), "kill $(cat %s/pid)", top);
	rc |= system(path) != 0;
	tree_empty(topfd);
	fd_close(&topfd);
	rmdir(top);
	return rc;
}
