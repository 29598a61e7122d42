/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One shell function per shell: it finds the command among the words before the cursor (passing
 * over the values of flags that stand everywhere), then offers its flags, files, fixed words, or
 * the deployments that the node names. bash and zsh share a table of `case` lines, kept plain on
 * purpose: in zsh `words` is the line itself, so what is offered is called `list`.
 */
#include "cli/complete.h"

#include <string.h>
#include "cli/table.h"

static void
put_flags(struct buf *out, const struct table_command *c)
{
	for (enum table_flag_id f = 0; f < FLAGS_; f++) {
		if (!table_takes(c, f))
			continue;
		buf_printf(out, "%s--%s", f ? " " : "", table_flags[f].name);
		if (table_flags[f].letter)
			buf_printf(out, " -%c", table_flags[f].letter);
	}
}

/* First words, each once; then the second words of one group. */
static void
put_words(struct buf *out, const char *group)
{
	const char *space = "";

	for (size_t i = 0; i < table_commands_count; i++) {
		const char *name = table_commands[i].name;
		size_t length = strcspn(name, " ");

		if (group) {
			if (strncmp(name, group, length) != 0 || group[length] || !name[length])
				continue;
			name += length + 1;
			length = strlen(name);
		} else if (i > 0 && strncmp(name, table_commands[i - 1].name, length) == 0 &&
			   name[length] == ' ') {
			continue;
		}
		buf_printf(out, "%s%.*s", space, (int)length, name);
		space = " ";
	}
	if (!group)
		buf_puts(out, " serve");
}

static const char *
operand_words(const struct table_command *c)
{
	switch (c->operand) {
	case OPERAND_FILE:
		return "@file";
	case OPERAND_TARGET:
		return "@target";
	case OPERAND_NODE:
		return "@node";
	case OPERAND_WORDS:
		return c->words;
	case OPERAND_NONE:
		break;
	}
	return "";
}

static void
put_cases(struct buf *out)
{
	buf_puts(out, "\tcase \"$first\" in\n\t'') list=\"");
	put_words(out, NULL);
	buf_puts(out, "\"; flags=\"");
	put_flags(out, NULL);
	buf_puts(out, "\" ;;\n");
	for (size_t i = 0; i < table_commands_count; i++) {
		const char *name = table_commands[i].name;
		char group[32] = "";

		if (!strchr(name, ' '))
			continue;
		memcpy(group, name, strcspn(name, " "));
		if (i > 0 && strncmp(name, table_commands[i - 1].name, strlen(group) + 1) == 0)
			continue;
		buf_printf(out, "\t%s) [ -n \"$second\" ] || list=\"", group);
		put_words(out, group);
		buf_puts(out, "\" ;;\n");
	}
	buf_puts(out, "\tesac\n\tcase \"$first $second\" in\n");
	for (size_t i = 0; i < table_commands_count; i++) {
		const struct table_command *c = &table_commands[i];

		buf_printf(out,
			   strchr(c->name, ' ') ? "\t'%s') list=\"%s\"; flags=\""
						: "\t'%s '*) list=\"%s\"; flags=\"",
			   c->name, operand_words(c));
		put_flags(out, c);
		buf_puts(out, "\" ;;\n");
	}
	buf_puts(out, "\tesac\n");
}

/* "-o|--output|...": flags that stand everywhere and have a value. */
static void
put_valued(struct buf *out, const char *between)
{
	const char *space = "";

	for (enum table_flag_id f = 0; f < FLAG_GLOBALS_; f++) {
		if (!table_flags[f].arg)
			continue;
		if (table_flags[f].letter)
			buf_printf(out, "%s-%c", space, table_flags[f].letter);
		else
			buf_puts(out, space);
		buf_printf(out, "%s--%s", table_flags[f].letter ? between : "",
			   table_flags[f].name);
		space = between;
	}
}

/* The values of a flag, when the word before the cursor is that flag. */
static void
put_values(struct buf *out)
{
	for (enum table_flag_id f = 0; f < FLAG_GLOBALS_; f++) {
		const struct table_flag *flag = &table_flags[f];

		if (!flag->words)
			continue;
		buf_printf(out, "\tcase \"$before\" in --%s", flag->name);
		if (flag->letter)
			buf_printf(out, "|-%c", flag->letter);
		buf_printf(out, ") list=\"%s\" ;; esac\n", flag->words);
	}
}

static void
put_bash(struct buf *out)
{
	buf_puts(out, "# bash completion of zlayer; to use it: source <(zlayer completion bash)\n"
		      "_zlayer() {\n"
		      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
		      "\tlocal first='' second='' list='' flags='' i\n"
		      "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		      "\t\tcase ${COMP_WORDS[i]} in\n\t\t");
	put_valued(out, "|");
	buf_puts(out, ") ((i++)) ;;\n\t\t-*) ;;\n"
		      "\t\t*) if [ -z \"$first\" ]; then first=${COMP_WORDS[i]}\n"
		      "\t\t   elif [ -z \"$second\" ]; then second=${COMP_WORDS[i]}; fi ;;\n"
		      "\t\tesac\n\tdone\n");
	put_cases(out);
	buf_puts(out, "\tcase \"$cur\" in -*) list=$flags ;; esac\n");
	put_values(out);
	buf_puts(out, "\tcase \"$list\" in\n"
		      "\t@file) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
		      "\t@target) COMPREPLY=($(compgen -W \"$(zlayer status -o name "
		      "2>/dev/null)\" -- \"$cur\")) ;;\n"
		      "\t@node) COMPREPLY=($(compgen -W \"$(zlayer node ls -o name "
		      "2>/dev/null)\" -- \"$cur\")) ;;\n"
		      "\t*) COMPREPLY=($(compgen -W \"$list\" -- \"$cur\")) ;;\n"
		      "\tesac\n}\ncomplete -o filenames -F _zlayer zlayer\n");
}

/* As a file of fpath it is the function's body when it is called first. */
static void
put_zsh(struct buf *out)
{
	buf_puts(out, "#compdef zlayer\n"
		      "# zsh completion of zlayer; to use it: source <(zlayer completion zsh)\n"
		      "_zlayer() {\n"
		      "\tlocal cur=${words[CURRENT]} before=${words[CURRENT-1]}\n"
		      "\tlocal first='' second='' list='' flags='' word skip=''\n"
		      "\tfor word in ${words[2,CURRENT-1]}; do\n"
		      "\t\tif [ -n \"$skip\" ]; then skip=''; continue; fi\n"
		      "\t\tcase $word in\n\t\t");
	put_valued(out, "|");
	buf_puts(out, ") skip=1 ;;\n\t\t-*) ;;\n"
		      "\t\t*) if [ -z \"$first\" ]; then first=$word\n"
		      "\t\t   elif [ -z \"$second\" ]; then second=$word; fi ;;\n"
		      "\t\tesac\n\tdone\n");
	put_cases(out);
	buf_puts(out, "\tcase \"$cur\" in -*) list=$flags ;; esac\n");
	put_values(out);
	buf_puts(out, "\tcase \"$list\" in\n"
		      "\t@file) _files ;;\n"
		      "\t@target) compadd -- ${(f)\"$(zlayer status -o name 2>/dev/null)\"} ;;\n"
		      "\t@node) compadd -- ${(f)\"$(zlayer node ls -o name 2>/dev/null)\"} ;;\n"
		      "\t*) compadd -- ${=list} ;;\n"
		      "\tesac\n}\n"
		      "if [ \"$funcstack[1]\" = _zlayer ]; then _zlayer \"$@\"; "
		      "else compdef _zlayer zlayer; fi\n");
}

/* In single quotes of fish. */
static void
put_quoted(struct buf *out, const char *text)
{
	buf_putc(out, '\'');
	for (; *text; text++) {
		if (*text == '\'' || *text == '\\')
			buf_putc(out, '\\');
		buf_putc(out, *text);
	}
	buf_putc(out, '\'');
}

static void
put_fish_flag(struct buf *out, const char *command, const struct table_flag *f)
{
	buf_puts(out, "complete -c zlayer");
	if (command)
		buf_printf(out, " -n '__zlayer_is %s'", command);
	buf_printf(out, " -l %s", f->name);
	if (f->letter)
		buf_printf(out, " -s %c", f->letter);
	if (f->arg)
		buf_puts(out, f->words ? " -x -a " : " -r");
	if (f->arg && f->words)
		put_quoted(out, f->words);
	buf_puts(out, " -d ");
	put_quoted(out, f->help);
	buf_putc(out, '\n');
}

static void
put_fish_command(struct buf *out, const struct table_command *c)
{
	const char *space = strchr(c->name, ' ');

	if (space) {
		buf_printf(out, "complete -c zlayer -n '__zlayer_is %.*s \"\"' -a %s -d ",
			   (int)(space - c->name), c->name, space + 1);
		put_quoted(out, c->help);
		buf_putc(out, '\n');
	}
	if (c->operand == OPERAND_FILE)
		buf_printf(out, "complete -c zlayer -n '__zlayer_is %s' -F\n", c->name);
	if (c->operand == OPERAND_TARGET || c->operand == OPERAND_NODE)
		buf_printf(out,
			   "complete -c zlayer -n '__zlayer_is %s' -a "
			   "'(zlayer %s -o name 2>/dev/null)'\n",
			   c->name, c->operand == OPERAND_NODE ? "node ls" : "status");
	if (c->operand == OPERAND_WORDS)
		buf_printf(out, "complete -c zlayer -n '__zlayer_is %s' -a '%s'\n", c->name,
			   c->words);
	for (size_t k = 0; c->flags[k] != FLAGS_; k++)
		put_fish_flag(out, c->name, &table_flags[c->flags[k]]);
}

/* As fish sees it: the first words, and for each command its flags and what follows it. */
static void
put_fish(struct buf *out)
{
	buf_puts(out, "# fish completion of zlayer; to use it: zlayer completion fish | source\n"
		      "# __zlayer_is FIRST [SECOND]: the words of the command before the cursor\n"
		      "function __zlayer_is\n"
		      "\tset -l seen\n\tset -l skip 0\n"
		      "\tset -l line (commandline -opc)\n\tset -e line[1]\n"
		      "\tfor word in $line\n"
		      "\t\tif test $skip = 1\n\t\t\tset skip 0\n\t\t\tcontinue\n\t\tend\n"
		      "\t\tswitch $word\n\t\t\tcase ");
	put_valued(out, " ");
	buf_puts(out, "\n\t\t\t\tset skip 1\n"
		      "\t\t\tcase '-*'\n"
		      "\t\t\tcase '*'\n\t\t\t\tset -a seen $word\n"
		      "\t\tend\n\tend\n"
		      "\ttest \"$seen[1]\" = \"$argv[1]\"; or return 1\n"
		      "\ttest (count $argv) -lt 2; or test \"$seen[2]\" = \"$argv[2]\"\n"
		      "end\n"
		      "complete -c zlayer -f\n"
		      "complete -c zlayer -n '__zlayer_is \"\"' -a '");
	put_words(out, NULL);
	buf_puts(out, "'\n");
	for (enum table_flag_id f = 0; f < FLAG_GLOBALS_; f++)
		put_fish_flag(out, NULL, &table_flags[f]);
	for (size_t i = 0; i < table_commands_count; i++)
		put_fish_command(out, &table_commands[i]);
}

bool
complete_script(const char *shell, struct buf *out)
{
	if (strcmp(shell, "bash") == 0)
		put_bash(out);
	else if (strcmp(shell, "zsh") == 0)
		put_zsh(out);
	else if (strcmp(shell, "fish") == 0)
		put_fish(out);
	else
		return false;
	return true;
}
