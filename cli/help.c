/* SPDX-License-Identifier: Apache-2.0 */
/* Help: an overview by groups, a page per command, and what the manual must say. */
#include "cli/help.h"

#include <string.h>
#include "cli/cli.h"

enum { HELP_BYTES = 64 << 10 };

static void
put_flag(struct buf *out, enum table_flag_id f)
{
	const struct table_flag *flag = &table_flags[f];
	size_t before = out->length;

	if (flag->letter)
		buf_printf(out, "  -%c, --%s", flag->letter, flag->name);
	else
		buf_printf(out, "      --%s", flag->name);
	if (flag->arg)
		buf_printf(out, " %s", flag->arg);
	while (buf_ok(out) && out->length < before + 26)
		buf_putc(out, ' ');
	buf_printf(out, "  %s\n", flag->help);
}

static void
put_globals(struct buf *out)
{
	buf_puts(out, "\nEverywhere:\n");
	for (enum table_flag_id f = 0; f < FLAG_GLOBALS_; f++)
		put_flag(out, f);
}

static void
put_command(struct buf *out, const struct table_command *c)
{
	buf_printf(out, "Usage: zlayer %s%s%s\n\n%s.\n", c->name, c->args[0] ? " " : "", c->args,
		   c->help);
	if (c->operand == OPERAND_TARGET)
		buf_puts(out, "\nA target is DEPLOYMENT, DEPLOYMENT/SERVICE or DEPLOYMENT/SERVICE.N"
			      ";\na service's name alone is enough where only one has it.\n");
	if (c->flags[0] != FLAGS_)
		buf_puts(out, "\nFlags:\n");
	for (size_t i = 0; c->flags[i] != FLAGS_; i++)
		put_flag(out, c->flags[i]);
	put_globals(out);
}

static void
put_overview(struct buf *out, const char *group)
{
	const char *heading = "";
	size_t length = group ? strlen(group) : 0;

	buf_puts(out, "Usage: zlayer COMMAND [TARGET] [FLAGS]\n");
	for (size_t i = 0; i < table_commands_count; i++) {
		const struct table_command *c = &table_commands[i];
		size_t before;

		if (group && (strncmp(c->name, group, length) != 0 || c->name[length] != ' '))
			continue;
		if (heading != c->group)
			buf_printf(out, "\n%s:\n", c->group);
		heading = c->group;
		before = out->length;
		buf_printf(out, "  %s%s%s", c->name, c->args[0] ? " " : "", c->args);
		while (buf_ok(out) && out->length < before + 34)
			buf_putc(out, ' ');
		buf_printf(out, "  %s\n", c->help);
	}
	if (!group)
		buf_puts(out,
			 "\nThe node:\n  serve                             run the node in the "
			 "foreground (zlayer serve --help)\n");
	put_globals(out);
	buf_puts(out, "\nEnvironment: ZLAYER_SOCKET, NO_COLOR.   "
		      "One command: zlayer COMMAND --help   Manual: man zlayer\n");
}

void
help_text(const struct table_command *command, const char *group, struct buf *out)
{
	if (command)
		put_command(out, command);
	else
		put_overview(out, group);
}

int
help_print(const struct cli *cli)
{
	struct buf out;

	buf_init(&out, MEM_CLI, HELP_BYTES);
	help_text(cli->args.command, cli->args.group, &out);
	cli_out_buf(&out);
	buf_fini(&out);
	return 0;
}

/* mdoc macros for the words of a synopsis: brackets are Op, upper case is Ar, the rest as it is. */
static void
put_man_args(struct buf *out, const char *args)
{
	while (*args) {
		size_t length = strcspn(args, " []=");

		if (*args == ' ') {
			args++;
			continue;
		}
		if (*args == '[') {
			buf_puts(out, " Op");
			args++;
			continue;
		}
		if (*args == ']') {
			args++;
			continue;
		}
		if (*args == '=') {
			buf_puts(out, " Ns = Ns");
			args++;
			continue;
		}
		if (length == 2 && strncmp(args, "--", 2) == 0)
			buf_puts(out, " Fl -");
		else if (length == 3 && strncmp(args, "...", 3) == 0)
			buf_puts(out, " ...");
		else
			buf_printf(out, " Ar %.*s", (int)length, args);
		args += length;
	}
}

void
help_man_command(const struct table_command *command, struct buf *out)
{
	buf_printf(out, ".It Ic %s", command->name);
	put_man_args(out, command->args);
}

void
help_man_flag(enum table_flag_id flag, struct buf *out)
{
	const struct table_flag *f = &table_flags[flag];

	if (f->letter)
		buf_printf(out, ".It Fl %c , Fl -%s", f->letter, f->name);
	else
		buf_printf(out, ".It Fl -%s", f->name);
	if (f->arg)
		buf_printf(out, " Ar %s", f->arg);
}
