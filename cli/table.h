/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

/* The one table of commands, flags and help texts: parser, help, completions and the check of the
 * manual page read it. Constant data. */

#include <stdbool.h>
#include <stddef.h>

struct cli;

enum table_flag_id {
	/* global */
	FLAG_OUTPUT,
	FLAG_INSTANCE,
	FLAG_SOCKET,
	FLAG_TIMEOUT,
	FLAG_QUIET,
	FLAG_VERBOSE,
	FLAG_NO_COLOR,
	FLAG_NO_INPUT,
	FLAG_YES,
	FLAG_HELP,
	FLAG_VERSION,
	FLAG_GLOBALS_, /* those before are accepted everywhere */
	FLAG_ALL = FLAG_GLOBALS_,
	FLAG_DETACH,
	FLAG_DIFF,
	FLAG_DRY_RUN,
	FLAG_EXIT_CODE,
	FLAG_EXPECT,
	FLAG_FOLLOW,
	FLAG_FORCE,
	FLAG_FORCE_SINGLE,
	FLAG_GRACE,
	FLAG_GREP,
	FLAG_INTERACTIVE,
	FLAG_KEYS,
	FLAG_LAST,
	FLAG_LINES,
	FLAG_NAME,
	FLAG_NODE,
	FLAG_NO_ROLLBACK,
	FLAG_PEER,
	FLAG_PREVIOUS,
	FLAG_REJOIN,
	FLAG_REPLACE,
	FLAG_SERVICE,
	FLAG_SINCE,
	FLAG_TO,
	FLAG_TTL,
	FLAG_TTY,
	FLAG_TYPE,
	FLAG_UNTIL,
	FLAG_USER,
	FLAG_USES,
	FLAG_VERDICT,
	FLAG_VOLUMES,
	FLAG_WAIT,
	FLAG_WATCH,
	FLAG_WITH_KEYS,
	FLAG_WORKDIR,
	FLAGS_,
	FLAG_NONE_ = FLAGS_,
};

struct table_flag {
	const char *name; /* without the dashes */
	char letter;      /* 0: none */
	const char *arg;  /* NULL: takes none */
	const char *help;
	const char *words; /* for completions: what may stand there, by spaces; NULL: anything */
};

/* What the words of a command line are, for completions. */
enum table_operand { OPERAND_NONE, OPERAND_FILE, OPERAND_TARGET, OPERAND_NODE, OPERAND_WORDS };

enum { TABLE_FLAGS_MAX = 8 };

struct table_command {
	const char *group; /* heading in the help */
	const char *name;  /* one word, or two: "image ls" */
	const char *args;  /* as the synopsis shows them */
	const char *help;  /* one line */
	unsigned min, max; /* operands, without what follows "--" */
	bool rest;         /* takes words after "--" */
	enum table_operand operand;
	const char *words; /* OPERAND_WORDS */
	int (*run)(struct cli *cli);
	enum table_flag_id flags[TABLE_FLAGS_MAX + 1]; /* ended by FLAG_NONE_ */
};

extern const struct table_flag table_flags[FLAGS_];
extern const struct table_command table_commands[];
extern const size_t table_commands_count;

/* NULL when there is none. */
const struct table_command *table_find(const char *name);
/* Whether some command begins with this word and has a second one. */
bool table_is_group(const char *word);
bool table_takes(const struct table_command *command, enum table_flag_id flag);
/* The nearest command's name, or NULL. */
const char *table_suggest(const char *name);

#endif
