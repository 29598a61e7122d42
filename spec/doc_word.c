/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of a service that have a form of their own: capabilities, signals, users, sysctls, and
 * words that may also be a path. Capabilities become bits, a signal its number; the dump writes the
 * names again.
 */
#include "spec/doc_field.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/sandbox.h"
#include "base/text.h"

/* ---- capabilities ---- */

static bool
add_capability(struct field_ctx *ctx, const struct yaml_node *n, uint64_t *mask)
{
	int cap;

	if (!field_is_text(ctx, n, "a capability"))
		return false;
	if (strcasecmp(n->text, "ALL") == 0) {
		*mask = DOC_CAPS_ALL;
		return true;
	}
	cap = sandbox_cap_parse(n->text);
	if (cap < 0 || cap > 62) {
		field_diag(ctx, n, "invalid-capability", NULL,
			   "\"%.40s\" is not a capability, as NET_BIND_SERVICE or ALL", n->text);
		return false;
	}
	*mask |= UINT64_C(1) << cap;
	return true;
}

static bool
read_caps(struct field_ctx *ctx, const struct yaml_node *n, uint64_t *mask)
{
	*mask = 0;
	if (n == NULL)
		return true;
	if (n->kind != YAML_LIST) {
		field_diag(ctx, n, "wrong-type", NULL, "is %s; a list is wanted",
			   yaml_node_kind_name(n));
		return false;
	}
	for (const struct yaml_node *c = n->first; c != NULL; c = c->next)
		add_capability(ctx, c, mask);
	return true;
}

static void
put_caps(struct emit *e, const char *key, uint64_t mask)
{
	if (mask == 0)
		return;
	emit_list(e, key);
	if (mask == DOC_CAPS_ALL) {
		emit_text(e, NULL, "ALL");
	} else {
		for (int cap = 0; cap < 63; cap++) {
			if (mask >> cap & 1)
				emit_text(e, NULL, sandbox_cap_name(cap));
		}
	}
	emit_end(e);
}

bool
doc_word_cap_add(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	return read_caps(ctx, n, &((struct doc_service *)section)->cap_add);
}

bool
doc_word_cap_drop(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	return read_caps(ctx, n, &((struct doc_service *)section)->cap_drop);
}

void
doc_word_put_cap_add(struct emit *e, const char *key, const void *section)
{
	put_caps(e, key, ((const struct doc_service *)section)->cap_add);
}

void
doc_word_put_cap_drop(struct emit *e, const char *key, const void *section)
{
	put_caps(e, key, ((const struct doc_service *)section)->cap_drop);
}

/* ---- words with several forms ---- */

bool
doc_word_stop_signal(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_service *s = section;
	const char *name;
	uint64_t number;

	s->stop_signal = SIGTERM;
	if (n == NULL)
		return true;
	if (!field_is_text(ctx, n, "a signal"))
		return false;
	name = text_starts(n->text, "SIG") ? n->text + 3 : n->text;
	for (int i = 1; i < NSIG; i++) {
		if (sigabbrev_np(i) != NULL && strcmp(sigabbrev_np(i), name) == 0) {
			s->stop_signal = i;
			return true;
		}
	}
	if (text_u64(n->text, 64, &number) && number > 0) {
		s->stop_signal = (int)number;
		return true;
	}
	field_diag(ctx, n, "invalid-signal", NULL, "\"%.40s\" is not a signal, as TERM or 15",
		   n->text);
	return false;
}

void
doc_word_put_stop_signal(struct emit *e, const char *key, const void *section)
{
	int number = ((const struct doc_service *)section)->stop_signal;
	char text[16];

	if (sigabbrev_np(number) != NULL) {
		emit_text(e, key, sigabbrev_np(number));
		return;
	}
	snprintf(text, sizeof(text), "%d", number);
	emit_raw(e, key, text);
}

static bool
read_word_or_file(struct field_ctx *ctx, const struct yaml_node *n, const char *const *words,
		  int file_value, int *kind_out, const char **file_out)
{
	char known[128] = "";

	if (!field_is_text(ctx, n, "a word or a path"))
		return false;
	for (int i = 0; words[i] != NULL; i++) {
		size_t used = strlen(known);

		if (strcmp(words[i], n->text) == 0) {
			*kind_out = i;
			return true;
		}
		text_format(known + used, sizeof(known) - used, "%s%s", i == 0 ? "" : ", ",
			    words[i]);
	}
	if (n->text[0] == '/') {
		*kind_out = file_value;
		*file_out = n->text;
		return doc_text_file(ctx, n, file_out);
	}
	field_diag(ctx, n, "invalid-choice", NULL,
		   "\"%.40s\" is not one of %s, and not an absolute path", n->text, known);
	return false;
}

/* In the order of enum doc_runtime, and of enum doc_seccomp. */
static const char *const runtimes[] = {"builtin", "crun", "runc", "exec", NULL};
static const char *const seccomps[] = {"default", "unconfined", NULL};

bool
doc_word_runtime(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_service *s = section;
	int kind = 0;
	bool good;

	s->runtime = DOC_RUNTIME_BUILTIN;
	if (n == NULL)
		return true;
	good = read_word_or_file(ctx, n, runtimes, 4, &kind, &s->runtime_path);
	s->runtime = kind == 4   ? DOC_RUNTIME_PATH
		     : kind == 3 ? DOC_RUNTIME_EXEC
				 : (enum doc_runtime)kind;
	return good;
}

void
doc_word_put_runtime(struct emit *e, const char *key, const void *section)
{
	const struct doc_service *s = section;

	emit_text(e, key,
		  s->runtime == DOC_RUNTIME_PATH   ? s->runtime_path
		  : s->runtime == DOC_RUNTIME_EXEC ? "exec"
						   : runtimes[s->runtime]);
}

bool
doc_word_seccomp(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_service *s = section;
	int kind = 0;
	bool good;

	s->seccomp = DOC_SECCOMP_DEFAULT;
	if (n == NULL)
		return true;
	good = read_word_or_file(ctx, n, seccomps, DOC_SECCOMP_FILE, &kind, &s->seccomp_file);
	s->seccomp = (enum doc_seccomp)kind;
	return good;
}

void
doc_word_put_seccomp(struct emit *e, const char *key, const void *section)
{
	const struct doc_service *s = section;

	emit_text(e, key, s->seccomp == DOC_SECCOMP_FILE ? s->seccomp_file : seccomps[s->seccomp]);
}

/* ---- texts of a service ---- */

bool
doc_word_user(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "_.-";
	size_t user = strspn(*text, good), group;

	group = (*text)[user] == ':' ? strspn(*text + user + 1, good) : 0;
	if (user > 0 && strlen(*text) <= 128 &&
	    ((*text)[user] == '\0' || (group > 0 && (*text)[user + 1 + group] == '\0')))
		return true;
	field_diag(ctx, n, "invalid-user", NULL,
		   "\"%.40s\" is not a user: a name or number, with :group if wanted", *text);
	return false;
}

bool
doc_word_hostname(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	if (!doc_text_host(ctx, n, text))
		return false;
	if ((*text)[0] != '*' && strlen(*text) <= 64)
		return true;
	field_diag(ctx, n, "invalid-host", NULL, "\"%.80s\" is not a host's name: at most 64 bytes",
		   *text);
	return false;
}

bool
doc_word_sysctl(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	static const char *const allowed[] = {"net.",       "kernel.msg", "kernel.sem",
					      "kernel.shm", "fs.mqueue.", NULL};

	for (size_t i = 0; allowed[i] != NULL; i++) {
		if (text_starts(*text, allowed[i]) && strstr(*text, "..") == NULL &&
		    strchr(*text, '/') == NULL)
			return true;
	}
	field_diag(ctx, n, "invalid-sysctl", NULL,
		   "\"%.80s\" is not a sysctl of a container: net.*, kernel.msg*, kernel.sem, "
		   "kernel.shm*, fs.mqueue.*",
		   *text);
	return false;
}

bool
doc_word_extra_host(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	struct addr addr;

	if (addr_parse_ip(*text, &addr))
		return true;
	field_diag(ctx, n, "invalid-address", NULL, "\"%.60s\" is not an IP address", *text);
	return false;
}
