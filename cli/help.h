/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_HELP_H
#define CLI_HELP_H

/* Help and manual synopsis, from the table. */

#include "base/buf.h"
#include "cli/table.h"

struct cli;

/* Of the command, group or program that the words name; to standard output. Gives 0. */
int help_print(const struct cli *cli);
/* Help of one command (NULL: the overview) as text; group: only its commands. */
void help_text(const struct table_command *command, const char *group, struct buf *out);
/* The line that docs/zlayer.1 must have for a command or flag. */
void help_man_command(const struct table_command *command, struct buf *out);
void help_man_flag(enum table_flag_id flag, struct buf *out);

#endif
