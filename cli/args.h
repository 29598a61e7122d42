/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

/* The words of a command line, sorted by the table. Texts are borrowed from argv. */

#include "base/err.h"
#include "cli/table.h"

enum { ARGS_OPERANDS_MAX = 16 };

struct args {
	const struct table_command *command; /* NULL: none was given (help, version) */
	const char *group;                   /* "image" alone, with help asked */
	bool given[FLAGS_];
	const char *value[FLAGS_];
	const char *operands[ARGS_OPERANDS_MAX];
	size_t operands_count;
	char **rest; /* what follows "--", NULL-ended */
	size_t rest_count;
};

/* Commands have one or two words; flags may stand anywhere before "--". ERR_USAGE names the word
 * and what was probably meant. */
int args_parse(int argc, char **argv, struct args *out, struct err *err) MUST_CHECK;

#endif
