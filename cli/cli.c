/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From words to a command. What people read as the result goes to standard output, all else to
 * standard error; colours only where a terminal is and nobody said no (no-color.org). Which node is
 * meant: --socket, --instance, ZLAYER_SOCKET, the default instance; in this order.
 */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"
#include "cli/help.h"
#include "cli/yaml_out.h"
#include "spec/problem.h"
#include "spec/yaml.h"
#include "wire/json_read.h"

static bool
colours(const struct args *a, int fd)
{
	const char *no = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if (a->given[FLAG_NO_COLOR] || (no && no[0]) || (term && strcmp(term, "dumb") == 0))
		return false;
	return isatty(fd);
}

static int
choose_output(struct cli *cli, struct err *err)
{
	static const char *const names[] = {"table", "wide", "json", "yaml", "name", NULL};
	const char *asked = cli->args.value[FLAG_OUTPUT];

	if (!asked)
		return 0;
	for (unsigned i = 0; names[i]; i++) {
		if (strcmp(asked, names[i]) == 0) {
			cli->output = (enum cli_output)i;
			return 0;
		}
	}
	const char *near = text_nearest(asked, names);
	err_set(err, ERR_USAGE, "there is no output format \"%s\"", asked);
	if (near)
		return err_fix(err, "did you mean -o %s?", near);
	return err_fix(err, "table, wide, json, yaml or name");
}

/* For errors that come before the words are understood. */
static bool
asks_for_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const char *value = text_starts(argv[i], "--output=") ? argv[i] + 9
				    : strcmp(argv[i], "--output") == 0 || strcmp(argv[i], "-o") == 0
					    ? argv[i + 1]
				    : text_starts(argv[i], "-o") ? argv[i] + 2
								 : NULL;

		if (value && strcmp(value, "json") == 0)
			return true;
	}
	return false;
}

static int
choose_socket(struct cli *cli, struct err *err)
{
	const char *path = cli->args.value[FLAG_SOCKET];
	const char *instance = cli->args.value[FLAG_INSTANCE];
	bool fits;

	if (!path && !instance)
		path = getenv("ZLAYER_SOCKET");
	if (path && path[0]) {
		fits = text_copy(cli->socket, sizeof(cli->socket), path);
	} else {
		if (instance && !text_is_label(instance))
			return err_set(err, ERR_USAGE, "\"%s\" cannot be an instance's name",
				       instance);
		fits = text_format(cli->socket, sizeof(cli->socket), "/run/zlayer/%s/zlayer.sock",
				   instance ? instance : "default");
	}
	if (!fits)
		return err_set(err, ERR_USAGE, "the socket's path is longer than %d bytes",
			       CLI_SOCKET_BYTES - 1);
	return 0;
}

static int
prepare(struct cli *cli, struct err *err)
{
	const struct args *a = &cli->args;

	cli->quiet = a->given[FLAG_QUIET];
	cli->verbose = a->given[FLAG_VERBOSE];
	cli->yes = a->given[FLAG_YES];
	cli->ask = !a->given[FLAG_NO_INPUT] && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
	cli->colour_out = colours(a, STDOUT_FILENO);
	cli->colour_err = colours(a, STDERR_FILENO);
	cli->terminal_out = isatty(STDOUT_FILENO);
	cli->terminal_err = isatty(STDERR_FILENO);
	if (a->given[FLAG_TIMEOUT] &&
	    (text_duration_ms(a->value[FLAG_TIMEOUT], &cli->timeout_ms) != TEXT_OK ||
	     cli->timeout_ms == 0)) {
		err_set(err, ERR_USAGE, "\"%s\" is not a duration", a->value[FLAG_TIMEOUT]);
		return err_fix(err, "for example --timeout 90s or --timeout 5m");
	}
	if (choose_output(cli, err) < 0 || choose_socket(cli, err) < 0)
		return -1;
	return json_read_open(err);
}

/* Gives the exit status, or -1 with err. */
static int
run(struct cli *cli, struct err *err)
{
	if (cli->args.given[FLAG_HELP])
		return help_print(cli);
	if (cli->args.given[FLAG_VERSION]) {
		printf("zlayer " ZLAYER_VERSION "\n");
		return 0;
	}
	if (!cli->args.command) {
		help_print(cli);
		return 2;
	}
	if (prepare(cli, err) < 0)
		return -1;
	return cli->args.command->run(cli);
}

int
cli_main(int argc, char **argv)
{
	static struct cli cli;
	struct err err = {0};

	signal(SIGPIPE, SIG_IGN);
	memset(&cli, 0, sizeof(cli));
	if (asks_for_json(argc, argv))
		cli.output = CLI_JSON;
	if (args_parse(argc, argv, &cli.args, &err) < 0)
		return cli_fail(&cli, &err);
	int status = run(&cli, &err);
	if (status < 0)
		return cli_fail(&cli, &err);
	/* A reader that left early is no failure, but what failed before is. */
	errno = 0;
	if ((fflush(stdout) != 0 || ferror(stdout)) && errno != EPIPE && !cli_unread()) {
		err_sys(&err, errno ? errno : EIO, "cannot write to standard output");
		return cli_fail(&cli, &err);
	}
	return status;
}

static void
put_problem(const struct err *err, int status, cli_members_fn members, const void *arg,
	    struct buf *out)
{
	struct json j;

	json_init(&j, out);
	problem_put(&j, err, (unsigned)err_kind_http(err->kind));
	json_i64(&j, "exit", status);
	if (members)
		members(&j, arg);
	json_end(&j);
	buf_putc(out, '\n');
}

int
cli_fail_with(const struct cli *cli, const struct err *err, int status, cli_members_fn members,
	      const void *arg)
{
	struct buf out;

	fflush(stdout);
	if (cli->output != CLI_JSON) {
		err_print(err, "zlayer", stderr);
		return status;
	}
	buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
	put_problem(err, status, members, arg, &out);
	if (buf_ok(&out))
		fputs(buf_cstr(&out), stderr);
	else
		err_print(err, "zlayer", stderr);
	buf_fini(&out);
	return status;
}

int
cli_fail(const struct cli *cli, const struct err *err)
{
	return cli_fail_with(cli, err, err_kind_exit(err->kind), NULL, NULL);
}

int
cli_unasked(const struct cli *cli, const char *question, struct err *err)
{
	const char *last = strrchr(question, '\n');

	if (cli->yes || !cli->args.given[FLAG_NO_INPUT])
		return 0;
	err_set(err, ERR_USAGE, "this is asked first: %s", last ? last + 1 : question);
	return err_fix(err, "say so: --yes");
}

int
cli_sure(const struct cli *cli, const char *question, struct err *err)
{
	char answer[128] = "";

	if (cli_unasked(cli, question, err) < 0)
		return -1;
	if (cli->yes || !cli->ask)
		return 0;
	fprintf(stderr, "%s [y/N] ", question);
	fflush(stderr);
	if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
		return 0;
	return err_set(err, ERR_INTERRUPTED, "nothing was changed");
}

void
cli_note(const struct cli *cli, const char *fmt, ...)
{
	va_list args;

	if (cli->quiet)
		return;
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

void
cli_out(const void *data, size_t bytes)
{
	if (bytes > 0 && fwrite(data, 1, bytes, stdout) != bytes && errno == EPIPE)
		_exit(0);
}

void
cli_put_text(FILE *to, bool terminal, const char *text)
{
	enum { PIECE = 500 };
	char safe[4 * PIECE + 1];

	if (!terminal) {
		fputs(text, to);
		return;
	}
	while (*text) {
		size_t n = strcspn(text, "\t");

		if (n > PIECE) {
			n = PIECE;
			while (n > PIECE - 3 && ((unsigned char)text[n] & 0xc0) == 0x80)
				n--; /* not within a character */
		}
		text_printable(text, n, safe, sizeof(safe));
		fputs(safe, to);
		text += n;
		if (*text == '\t')
			fputc(*text++, to);
	}
}

bool
cli_unread(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP));
}

int
cli_flush(struct err *err)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	if (errno == EPIPE || cli_unread())
		_exit(0);
	return err_sys(err, errno ? errno : EIO, "cannot write to standard output");
}

void
cli_out_buf(const struct buf *b)
{
	cli_out(b->data, b->length);
}

bool
cli_machine(const struct cli *cli)
{
	return cli->output >= CLI_JSON;
}

static void
out_name(const json_t *item)
{
	const char *name = json_read_text(item, "name");

	if (name[0])
		printf("%s\n", name);
	else if (json_read_get(item, "id"))
		printf("%lld\n", (long long)json_read_int(item, "id"));
}

static void
out_names(const json_t *root)
{
	const json_t *items = json_read_array(root, "items");

	if (!items)
		items = json_read_array(root, "deployments");
	if (!items)
		out_name(root);
	for (size_t i = 0; i < json_read_count(items); i++)
		out_name(json_read_at(items, i));
}

int
cli_out_json(const struct cli *cli, const char *text, size_t bytes)
{
	struct err err = {0};
	struct buf out;

	if (cli->output == CLI_JSON) {
		cli_out(text, bytes);
		if (bytes == 0 || text[bytes - 1] != '\n')
			cli_out("\n", 1);
		return 0;
	}
	json_t *root = json_read_parse(text, bytes, &err);
	if (!root)
		return cli_fail(cli, &err);
	if (cli->output == CLI_NAME) {
		out_names(root);
	} else {
		buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
		yaml_out_put(&out, root);
		cli_out_buf(&out);
		buf_fini(&out);
	}
	json_read_free(root);
	return 0;
}
