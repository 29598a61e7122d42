/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One shell function per shell: it finds the command among the words before the cursor, then offers
 * its flags, files, fixed words, or the deployments that the node names. bash and zsh share a table
 * of `case` lines; zsh reads it through bashcompinit's own words, kept plain on purpose.
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
	buf_puts(out, "\tcase \"$first\" in\n\t'') words=\"");
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
		buf_printf(out, "\t%s) [ -n \"$second\" ] || words=\"", group);
		put_words(out, group);
		buf_puts(out, "\" ;;\n");
	}
	buf_puts(out, "\tesac\n\tcase \"$first $second\" in\n");
	for (size_t i = 0; i < table_commands_count; i++) {
		const struct table_command *c = &table_commands[i];

		buf_printf(out,
			   strchr(c->name, ' ') ? "\t'%s') words=\"%s\"; flags=\""
						: "\t'%s '*) words=\"%s\"; flags=\"",
			   c->name, operand_words(c));
		put_flags(out, c);
		buf_puts(out, "\" ;;\n");
	}
	buf_puts(out, "\tesac\n");
}

static void
put_bash(struct buf *out)
{
	buf_puts(out, "# bash completion of zlayer; to use it: source <(zlayer completion bash)\n"
		      "_zlayer() {\n"
		      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} first='' second='' words='' flags='' "
		      "i\n"
		      "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		      "\t\tcase ${COMP_WORDS[i]} in\n\t\t-*) ;;\n"
		      "\t\t*) if [ -z \"$first\" ]; then first=${COMP_WORDS[i]}\n"
		      "\t\t   elif [ -z \"$second\" ]; then second=${COMP_WORDS[i]}; fi ;;\n"
		      "\t\tesac\n\tdone\n");
	put_cases(out);
	buf_puts(out, "\tcase \"$cur\" in -*) words=$flags ;; esac\n"
		      "\tcase \"$words\" in\n"
		      "\t@file) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
		      "\t@target) COMPREPLY=($(compgen -W \"$(zlayer status -o name "
		      "2>/dev/null)\" -- \"$cur\")) ;;\n"
		      "\t*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
		      "\tesac\n}\ncomplete -o filenames -F _zlayer zlayer\n");
}

static void
put_zsh(struct buf *out)
{
	buf_puts(out, "#compdef zlayer\n"
		      "# zsh completion of zlayer; to use it: source <(zlayer completion zsh)\n"
		      "_zlayer() {\n"
		      "\tlocal cur=${words[CURRENT]} first='' second='' flags='' word\n"
		      "\tlocal -a before=(${words[2,CURRENT-1]})\n"
		      "\tfor word in $before; do\n"
		      "\t\tcase $word in\n\t\t-*) ;;\n"
		      "\t\t*) if [ -z \"$first\" ]; then first=$word\n"
		      "\t\t   elif [ -z \"$second\" ]; then second=$word; fi ;;\n"
		      "\t\tesac\n\tdone\n\tlocal words=''\n");
	put_cases(out);
	buf_puts(out, "\tcase \"$cur\" in -*) words=$flags ;; esac\n"
		      "\tcase \"$words\" in\n"
		      "\t@file) _files ;;\n"
		      "\t@target) compadd -- ${(f)\"$(zlayer status -o name 2>/dev/null)\"} ;;\n"
		      "\t*) compadd -- ${=words} ;;\n"
		      "\tesac\n}\ncompdef _zlayer zlayer\n");
}

/* As fish sees it: the first words, and for each command its flags. */
static void
put_fish(struct buf *out)
{
	buf_puts(out, "# fish completion of zlayer; to use it: zlayer completion fish | source\n"
		      "complete -c zlayer -f\n");
	buf_puts(out, "complete -c zlayer -n __fish_use_subcommand -a '");
	put_words(out, NULL);
	buf_puts(out, "'\n");
	for (enum table_flag_id f = 0; f < FLAG_GLOBALS_; f++) {
		buf_printf(out, "complete -c zlayer -l %s", table_flags[f].name);
		if (table_flags[f].letter)
			buf_printf(out, " -s %c", table_flags[f].letter);
		buf_printf(out, "%s -d '%s'\n", table_flags[f].arg ? " -r" : "",
			   table_flags[f].help);
	}
	for (size_t i = 0; i < table_commands_count; i++) {
		const struct table_command *c = &table_commands[i];
		const char *space = strchr(c->name, ' ');
		char seen[128];

		if (space) {
			buf_printf(out,
				   "complete -c zlayer -n '__fish_seen_subcommand_from %.*s' -a "
				   "'%s' -d '%s'\n",
				   (int)(space - c->name), c->name, space + 1, c->help);
			continue;
		}
		memcpy(seen, c->name, strlen(c->name) + 1);
		if (c->operand == OPERAND_FILE)
			buf_printf(out,
				   "complete -c zlayer -n '__fish_seen_subcommand_from %s' -F\n",
				   seen);
		if (c->operand == OPERAND_TARGET)
			buf_printf(out,
				   "complete -c zlayer -n '__fish_seen_subcommand_from %s' -a "
				   "'(zlayer status -o name 2>/dev/null)'\n",
				   seen);
		if (c->operand == OPERAND_WORDS)
			buf_printf(out,
				   "complete -c zlayer -n '__fish_seen_subcommand_from %s' -a "
				   "'%s'\n",
				   seen, c->words);
		for (size_t k = 0; c->flags[k] != FLAGS_; k++) {
			const struct table_flag *f = &table_flags[c->flags[k]];

			buf_printf(out,
				   "complete -c zlayer -n '__fish_seen_subcommand_from %s' -l %s",
				   seen, f->name);
			if (f->letter)
				buf_printf(out, " -s %c", f->letter);
			buf_printf(out, "%s -d '%s'\n", f->arg ? " -r" : "", f->help);
		}
	}
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
