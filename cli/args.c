/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser. "--flag value", "--flag=value", "-f value", "-fvalue", and letters together ("-it").
 * A letter may mean different flags in different commands: the command's own go before the global
 * ones, so the command is looked for first. Long flags are never guessed from a beginning: a script
 * would break when the next flag comes.
 */
#include "cli/args.h"

#include <string.h>
#include "base/text.h"

static enum table_flag_id
flag_by_name(const struct table_command *c, const char *name, size_t length)
{
	for (enum table_flag_id f = 0; f < FLAGS_; f++) {
		if (table_takes(c, f) && strlen(table_flags[f].name) == length &&
		    memcmp(table_flags[f].name, name, length) == 0)
			return f;
	}
	return FLAGS_;
}

static enum table_flag_id
flag_by_letter(const struct table_command *c, char letter)
{
	for (enum table_flag_id f = FLAGS_; f-- > 0;) { /* the command's own first */
		if (table_takes(c, f) && table_flags[f].letter == letter)
			return f;
	}
	return FLAGS_;
}

static int
unknown_flag(const struct table_command *c, const char *word, struct err *err)
{
	const char *names[FLAGS_ + 1] = {0};
	size_t count = 0;

	for (enum table_flag_id f = 0; f < FLAGS_; f++) {
		if (table_takes(c, f))
			names[count++] = table_flags[f].name;
	}
	err_set(err, ERR_USAGE, "%s has no flag %s", c ? c->name : "zlayer", word);
	const char *near = word[1] == '-' ? text_nearest(word + 2, names) : NULL;
	if (near)
		return err_fix(err, "did you mean --%s?", near);
	return err_fix(err, "zlayer %s%s--help shows the flags", c ? c->name : "", c ? " " : "");
}

static int
set_flag(struct args *a, enum table_flag_id f, const char *value, struct err *err)
{
	if (a->given[f] && table_flags[f].arg)
		return err_set(err, ERR_USAGE, "--%s is given twice", table_flags[f].name);
	a->given[f] = true;
	a->value[f] = value;
	return 0;
}

/* Gives how many words were used, or -1. */
static int
long_flag(struct args *a, const struct table_command *c, char **argv, int left, struct err *err)
{
	const char *word = argv[0] + 2;
	const char *equals = strchr(word, '=');
	size_t length = equals ? (size_t)(equals - word) : strlen(word);
	enum table_flag_id f = flag_by_name(c, word, length);

	if (f == FLAGS_)
		return unknown_flag(c, argv[0], err);
	if (!table_flags[f].arg) {
		if (equals)
			return err_set(err, ERR_USAGE, "--%s takes no value", table_flags[f].name);
		return set_flag(a, f, NULL, err) < 0 ? -1 : 1;
	}
	if (equals)
		return set_flag(a, f, equals + 1, err) < 0 ? -1 : 1;
	if (left < 2)
		return err_set(err, ERR_USAGE, "--%s needs a value: %s", table_flags[f].name,
			       table_flags[f].arg);
	return set_flag(a, f, argv[1], err) < 0 ? -1 : 2;
}

static int
letters(struct args *a, const struct table_command *c, char **argv, int left, struct err *err)
{
	for (const char *at = argv[0] + 1; *at; at++) {
		enum table_flag_id f = flag_by_letter(c, *at);
		const char shown[] = {'-', *at, 0};

		if (f == FLAGS_)
			return unknown_flag(c, shown, err);
		if (!table_flags[f].arg) {
			if (set_flag(a, f, NULL, err) < 0)
				return -1;
			continue;
		}
		if (at[1])
			return set_flag(a, f, at + 1, err) < 0 ? -1 : 1;
		if (left < 2)
			return err_set(err, ERR_USAGE, "-%c needs a value: %s", *at,
				       table_flags[f].arg);
		return set_flag(a, f, argv[1], err) < 0 ? -1 : 2;
	}
	return 1;
}

static int
flag_words(struct args *a, const struct table_command *c, char **argv, int left, struct err *err)
{
	return argv[0][1] == '-' ? long_flag(a, c, argv, left, err)
				 : letters(a, c, argv, left, err);
}

static bool
is_flag(const char *word)
{
	return word[0] == '-' && word[1];
}

static int
unknown_command(const char *name, struct err *err)
{
	const char *near = table_suggest(name);

	err_set(err, ERR_USAGE, "there is no command \"%s\"", name);
	if (near)
		return err_fix(err, "did you mean: zlayer %s?", near);
	return err_fix(err, "zlayer --help shows all commands");
}

/* A command's words: one or two, and two before one. Gives how many, 0 for a group alone with help,
 * or -1. */
static int
command_words(struct args *a, char **argv, int left, struct err *err)
{
	char name[64];

	if (left >= 2 && text_format(name, sizeof(name), "%s %s", argv[0], argv[1]) &&
	    (a->command = table_find(name)))
		return 2;
	a->command = table_find(argv[0]);
	if (a->command)
		return 1;
	if (!table_is_group(argv[0]))
		return unknown_command(argv[0], err);
	a->group = argv[0];
	if (left < 2 || is_flag(argv[1]))
		return 1;
	text_format(name, sizeof(name), "%s %s", argv[0], argv[1]);
	a->command = table_find(name);
	return a->command ? 2 : unknown_command(name, err);
}

static int
check_counts(const struct args *a, struct err *err)
{
	const struct table_command *c = a->command;

	if (a->given[FLAG_HELP] || a->given[FLAG_VERSION])
		return 0;
	if (!c && a->group)
		return err_set(err, ERR_USAGE, "zlayer %s needs another word", a->group),
		       err_fix(err, "zlayer %s --help shows which", a->group);
	if (!c)
		return 0;
	if (a->operands_count < c->min) {
		err_set(err, ERR_USAGE, "zlayer %s needs: %s", c->name, c->args);
		return err_fix(err, "zlayer %s --help", c->name);
	}
	if (a->rest && !c->rest)
		return err_set(err, ERR_USAGE, "zlayer %s takes nothing after --", c->name);
	if (a->operands_count > c->max && c->rest)
		return err_set(err, ERR_USAGE, "\"%s\" is one word too many", a->operands[c->max]),
		       err_fix(err, "put the command after --: zlayer %s %s -- %s", c->name,
			       a->operands[0], a->operands[c->max]);
	if (a->operands_count > c->max)
		return err_set(err, ERR_USAGE, "\"%s\" is one word too many: zlayer %s%s%s",
			       a->operands[c->max], c->name, c->args[0] ? " " : "", c->args);
	return 0;
}

int
args_parse(int argc, char **argv, struct args *out, struct err *err)
{
	int used;

	memset(out, 0, sizeof(*out));
	for (int i = 1; i < argc; i += used) {
		used = 1;
		if (strcmp(argv[i], "--") == 0) {
			out->rest = argv + i + 1;
			out->rest_count = (size_t)(argc - i - 1);
			break;
		}
		if (is_flag(argv[i]))
			used = flag_words(out, out->command, argv + i, argc - i, err);
		else if (!out->command && !out->group && strcmp(argv[i], "help") == 0)
			out->given[FLAG_HELP] = true;
		else if (!out->command && !out->group)
			used = command_words(out, argv + i, argc - i, err);
		else if (out->operands_count < ARGS_OPERANDS_MAX)
			out->operands[out->operands_count++] = argv[i];
		else
			used = err_set(err, ERR_LIMIT, "too many words: at most %d",
				       ARGS_OPERANDS_MAX);
		if (used < 0)
			return -1;
	}
	return check_counts(out, err);
}
