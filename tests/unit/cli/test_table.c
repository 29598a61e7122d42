/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands: the parser, suggestions, completions, and that the manual says it all. */
#include "cli/args.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "cli/complete.h"
#include "cli/help.h"

static int
parse(struct args *a, struct err *err, const char *line)
{
	static char words[32][64];
	static char *argv[32];
	int argc = 0;

	while (*line && argc < 31) {
		size_t length = strcspn(line, " ");

		snprintf(words[argc], sizeof(words[argc]), "%.*s", (int)length, line);
		argv[argc] = words[argc];
		argc++;
		line += length + (line[length] == ' ');
	}
	argv[argc] = NULL;
	memset(err, 0, sizeof(*err));
	return args_parse(argc, argv, a, err);
}

static void
test_good(void **state)
{
	struct args a;
	struct err err;

	(void)state;
	assert_int_equal(parse(&a, &err, "zlayer exec web.1 -it -u root -- sh -c -x"), 0);
	assert_string_equal(a.command->name, "exec");
	assert_true(a.given[FLAG_INTERACTIVE] && a.given[FLAG_TTY] && !a.given[FLAG_GRACE]);
	assert_string_equal(a.value[FLAG_USER], "root");
	assert_int_equal(a.rest_count, 3);
	assert_int_equal(parse(&a, &err, "zlayer stop -t30s my-app"), 0);
	assert_string_equal(a.value[FLAG_GRACE], "30s");
	assert_int_equal(parse(&a, &err, "zlayer -o json image ls"), 0);
	assert_string_equal(a.command->name, "image ls");
	assert_int_equal(parse(&a, &err, "zlayer status -w -owide"), 0);
	assert_true(a.given[FLAG_WATCH] && !a.given[FLAG_WORKDIR]);
	assert_string_equal(a.value[FLAG_OUTPUT], "wide");
	assert_int_equal(parse(&a, &err, "zlayer logs a b -n=5 --since=10m"), 0);
	assert_int_equal(a.operands_count, 2);
	assert_string_equal(a.value[FLAG_SINCE], "10m");
	assert_int_equal(parse(&a, &err, "zlayer deploy - --expect 3"), 0);
	assert_string_equal(a.operands[0], "-");
	assert_int_equal(parse(&a, &err, "zlayer node label edge-2 gpu=true disk-"), 0);
	assert_string_equal(a.command->name, "node label");
	assert_int_equal(a.operands_count, 3);
	assert_int_equal(parse(&a, &err, "zlayer join -"), 0);
	assert_string_equal(a.operands[0], "-");
	assert_int_equal(parse(&a, &err, "zlayer image --help"), 0);
	assert_true(a.given[FLAG_HELP]);
}

static void
test_bad(void **state)
{
	static const struct {
		const char *line, *fix;
	} bad[] = {
		{"zlayer stauts", "did you mean: zlayer status?"},
		{"zlayer image lss", "did you mean: zlayer image ls?"},
		{"zlayer deploy --dryrun", "did you mean --dry-run?"},
		{"zlayer exec a b", "put the command after --: zlayer exec a -- b"},
		{"zlayer status --tty", ""},
		{"zlayer deploy a b", ""},
		{"zlayer image", "zlayer image --help shows which"},
		{"zlayer cluster", "zlayer cluster --help shows which"},
		{"zlayer node label edge-2", ""},
		{"zlayer join", ""},
		{"zlayer -o", ""},
		{"zlayer --socket a --socket b status", ""},
		{"zlayer status -q=1", ""},
		{"zlayer scale", ""},
		{"zlayer ps -- x", ""},
		{"zlayer logs 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", ""},
	};
	struct args a;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(&a, &err, bad[i].line), -1);
		assert_true(err.kind == ERR_USAGE || err.kind == ERR_LIMIT);
		if (bad[i].fix[0])
			assert_string_equal(err.fix, bad[i].fix);
	}
}

static bool
has_line(const char *text, const char *line)
{
	size_t length = strlen(line);

	for (const char *at = text; (at = strstr(at, line)); at++) {
		if ((at == text || at[-1] == '\n') && at[length] == '\n')
			return true;
	}
	return false;
}

static size_t
count_of(const char *text, const char *word)
{
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, word)); at++)
		n++;
	return n;
}

static void
test_manual(void **state)
{
	struct buf page, line;
	struct err err = {0};

	(void)state;
	buf_init(&page, MEM_CLI, 1 << 20);
	buf_init(&line, MEM_CLI, 4096);
	assert_int_equal(fd_read_file(AT_FDCWD, MANUAL, &page, &err), 0);
	for (size_t i = 0; i < table_commands_count; i++) {
		buf_reset(&line);
		help_man_command(&table_commands[i], &line);
		if (!has_line(buf_cstr(&page), buf_cstr(&line)))
			fail_msg("the manual lacks: %s", buf_cstr(&line));
	}
	for (enum table_flag_id f = 0; f < FLAGS_; f++) {
		buf_reset(&line);
		help_man_flag(f, &line);
		if (!has_line(buf_cstr(&page), buf_cstr(&line)))
			fail_msg("the manual lacks: %s", buf_cstr(&line));
	}
	assert_int_equal(count_of(buf_cstr(&page), "\n.It Ic "), table_commands_count);
	assert_int_equal(count_of(buf_cstr(&page), "\n.It Fl "), FLAGS_);
	buf_fini(&page);
	buf_fini(&line);
}

static void
complete(const char *script, const char *words, const char *cursor, char *out, size_t cap)
{
	char command[1024];
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "bash -c 'source %s; COMP_WORDS=(%s); COMP_CWORD=%s; _zlayer; "
		 "echo \"${COMPREPLY[*]}\"'",
		 script, words, cursor);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	if (!fgets(out, (int)cap, pipe))
		out[0] = 0;
	out[strcspn(out, "\n")] = 0;
	assert_int_equal(pclose(pipe), 0);
}

static void
test_completion(void **state)
{
	char path[] = "/tmp/zlayer-complete-XXXXXX", out[2048];
	struct err err = {0};
	struct buf b;

	(void)state;
	buf_init(&b, MEM_CLI, 1 << 20);
	assert_true(complete_script("bash", &b));
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, b.data, b.length, &err), 0);
	close(fd);
	complete(path, "zlayer sta", "1", out, sizeof(out));
	assert_string_equal(out, "status start");
	complete(path, "zlayer image \"\"", "2", out, sizeof(out));
	assert_string_equal(out, "ls import pull rm prune");
	complete(path, "zlayer deploy --d", "2", out, sizeof(out));
	assert_string_equal(out, "--detach --diff --dry-run");
	complete(path, "zlayer completion z", "2", out, sizeof(out));
	assert_string_equal(out, "zsh");
	unlink(path);
	buf_reset(&b);
	assert_true(complete_script("zsh", &b) && complete_script("fish", &b) && buf_ok(&b));
	assert_false(complete_script("csh", &b));
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_manual),
		cmocka_unit_test(test_completion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
