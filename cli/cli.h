/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

/* The command line: everything but `zlayer serve` and `zlayer role`, which main.c takes. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/buf.h"
#include "base/err.h"
#include "cli/args.h"
#include "spec/json.h"

enum cli_output { CLI_TABLE, CLI_WIDE, CLI_JSON, CLI_YAML, CLI_NAME };

enum { CLI_SOCKET_BYTES = 108, CLI_TEXT_MAX = 64 << 20, CLI_ANSWER_MS = 120000 };

struct cli {
	struct args args;
	enum cli_output output;
	bool quiet, verbose, yes;
	bool ask;        /* there is a person to ask: standard input is a terminal, no --no-input */
	bool colour_out; /* of standard output */
	bool colour_err;
	bool terminal_out, terminal_err;
	uint64_t timeout_ms; /* 0: the command's own */
	uint64_t
		answer_ms; /* without --timeout: for the beginning of an answer; 0: CLI_ANSWER_MS */
	char socket[CLI_SOCKET_BYTES];
};

/* Gives the exit status (product's table: 0, 1, 2, 4, 5, 6, 7, 8, 130). */
int cli_main(int argc, char **argv);

/* Prints the error ("zlayer: ...") on standard error and gives its exit status. With -o json it is
 * one JSON object on one line, with the members of the API's problems (RFC 9457) and "exit". */
int cli_fail(const struct cli *cli, const struct err *err);
/* The same with another exit status, and with what `members` (or NULL) adds to that object. */
typedef void (*cli_members_fn)(struct json *j, const void *arg);
int cli_fail_with(const struct cli *cli, const struct err *err, int status, cli_members_fn members,
		  const void *arg);
/* With --no-input, and without --yes, what would be asked is an error. */
int cli_unasked(const struct cli *cli, const char *question, struct err *err) MUST_CHECK;
/* Asks on the terminal, when there is one and nobody said --yes. ERR_INTERRUPTED: the answer is no.
 * Without a terminal there is nobody to say no, but for --no-input (cli_unasked). */
int cli_sure(const struct cli *cli, const char *question, struct err *err) MUST_CHECK;
/* A line of progress on standard error, unless -q. */
void cli_note(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Writes to standard output; a closed pipe ends the program quietly (status 0 of a pager is not our
 * failure). */
void cli_out(const void *data, size_t bytes);
void cli_out_buf(const struct buf *b);
/* What a container wrote, all of it: on a terminal made safe for it, with its tabs. */
void cli_put_text(FILE *to, bool terminal, const char *text);
/* What was printed goes out now; when nobody reads it any more the program ends as above. For
 * commands that go on until they are told to end. 0, or -1 with err. */
int cli_flush(struct err *err) MUST_CHECK;
/* The reader of standard output has left. */
bool cli_unread(void);
/* Prints a JSON text in the format that was asked for: json as it is, yaml converted, name: the
 * "name" (or "id") of each item. Only for those three. */
int cli_out_json(const struct cli *cli, const char *text, size_t bytes);
/* "-o" is one of json, yaml and name. */
bool cli_machine(const struct cli *cli);

#endif
