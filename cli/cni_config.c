/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an engine's words to a request: CNI specification 1.1.0, sections 1 (network configuration)
 * and 2 (execution protocol). What a plugin must do is done, and what it was told and cannot do is
 * refused by name: a key that nobody acts upon is an error, except for those that the specification
 * says are not for plugins (`capabilities`, `args`). Of a list's plugins this must be the first,
 * because the interface is made here.
 */
#include <string.h>
#include "base/text.h"
#include "cli/cni.h"

static const char *const verbs[] = {
	[CNI_ADD] = "ADD", [CNI_DEL] = "DEL",       [CNI_CHECK] = "CHECK",
	[CNI_GC] = "GC",   [CNI_STATUS] = "STATUS", [CNI_VERSION] = "VERSION",
};

static const char *const versions[] = {
	[CNI_0_4_0] = "0.4.0",
	[CNI_1_0_0] = "1.0.0",
	[CNI_1_1_0] = "1.1.0",
};

struct failure {
	unsigned *code;
	struct err *err;
};

static int fail(const struct failure *f, unsigned code, enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int
fail(const struct failure *f, unsigned code, enum err_kind kind, const char *fmt, ...)
{
	char text[ERR_TEXT_BYTES];
	va_list args;

	va_start(args, fmt);
	text_vformat(text, sizeof(text), fmt, args);
	va_end(args);
	*f->code = code;
	return err_set(f->err, kind, "%s", text);
}

/* Gives -1. */
static int
bad_field(const struct failure *f, const char *key, const char *fix)
{
	fail(f, CNI_BAD_FIELD, ERR_UNSUPPORTED,
	     "the network configuration's \"%.60s\" is not known", key);
	return err_fix(f->err, "%s", fix);
}

/* ---- the environment ---- */

static int
take_verb(const char *command, struct cni_request *r, const struct failure *f)
{
	for (unsigned i = 0; command && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(command, verbs[i]) == 0) {
			r->verb = (enum cni_verb)i;
			return 0;
		}
	}
	fail(f, CNI_BAD_ENVIRONMENT, ERR_INVALID, "CNI_COMMAND is %s%.40s",
	     command ? "not known: " : "not set", command ? command : "");
	return err_fix(f->err, "ADD, DEL, CHECK, GC, STATUS or VERSION; a container engine sets "
			       "it: this program is a CNI plugin");
}

static int
take_variable(const char *name, const char *value, bool wanted, char *out, size_t cap,
	      const struct failure *f)
{
	if ((!value || !value[0]) && !wanted)
		return 0;
	if (!value || !value[0])
		return fail(f, CNI_BAD_ENVIRONMENT, ERR_INVALID, "%s is not set", name);
	if (text_copy(out, cap, value))
		return 0;
	return fail(f, CNI_BAD_ENVIRONMENT, ERR_INVALID, "%s is longer than %zu bytes", name,
		    cap - 1);
}

static int
take_variables(const struct cni_environment *env, struct cni_request *r, const struct failure *f)
{
	struct msg_attach *a = &r->attach;
	bool netns = r->verb != CNI_DEL;

	if (r->verb != CNI_ADD && r->verb != CNI_DEL && r->verb != CNI_CHECK)
		return 0;
	if (take_variable("CNI_CONTAINERID", env->container, true, a->key.container,
			  sizeof(a->key.container), f) < 0 ||
	    take_variable("CNI_IFNAME", env->interface, true, a->key.interface,
			  sizeof(a->key.interface), f) < 0)
		return -1;
	return take_variable("CNI_NETNS", env->netns, netns, a->netns, sizeof(a->netns), f);
}

/* Engines give a container's name as Kubernetes does; ours is for those who want another one. */
static int
take_name(const char *key, const char *value, struct cni_request *r, const struct failure *f)
{
	char name[MSG_NAME];
	bool own = strcmp(key, "ZLAYER_NAME") == 0;

	if (!own && (strcmp(key, "K8S_POD_NAME") != 0 || r->attach.name[0]))
		return 0;
	if (text_copy(name, sizeof(name), value) && text_is_label(name)) {
		text_copy(r->attach.name, sizeof(r->attach.name), name);
		return 0;
	}
	if (!own)
		return 0;
	fail(f, CNI_BAD_ENVIRONMENT, ERR_INVALID, "ZLAYER_NAME \"%.80s\" is not a label of DNS",
	     value);
	return err_fix(f->err, "lower-case letters, digits and hyphens, at most 63");
}

/* "KEY=VALUE;KEY=VALUE" */
static int
take_args(const char *args, struct cni_request *r, const struct failure *f)
{
	char pair[512];

	if (args && strlen(args) > CNI_ARGS_MAX)
		return fail(f, CNI_BAD_ENVIRONMENT, ERR_INVALID, "CNI_ARGS is longer than %d bytes",
			    CNI_ARGS_MAX);
	for (const char *at = args; at && *at;) {
		size_t length = strcspn(at, ";");
		bool fits = text_ncopy(pair, sizeof(pair), at, length);
		char *equals = strchr(pair, '=');

		at += length + (at[length] == ';');
		if (length == 0)
			continue;
		if (!equals)
			return fail(f, CNI_BAD_ENVIRONMENT, ERR_INVALID,
				    "CNI_ARGS has \"%.60s\", which is not KEY=VALUE", pair);
		*equals = 0;
		if (fits && take_name(pair, equals + 1, r, f) < 0)
			return -1;
	}
	return 0;
}

/* ---- standard input ---- */

static int
take_version(struct cni_request *r, const struct failure *f)
{
	const char *text = json_read_text(r->root, "cniVersion");

	for (unsigned i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		if (strcmp(text, versions[i]) == 0) {
			r->version = (enum cni_version)i;
			return 0;
		}
	}
	/* Who asks for versions need not know one, or knows later ones. */
	if (r->verb == CNI_VERSION)
		return 0;
	fail(f, CNI_BAD_VERSION, ERR_UNSUPPORTED, "cniVersion \"%.40s\" is not supported", text);
	return err_fix(f->err, "0.4.0, 1.0.0 or 1.1.0");
}

static int
take_text(const json_t *value, const char *key, char *out, size_t cap, const struct failure *f)
{
	if (json_read_kind(value) == JSON_READ_TEXT && json_read_string(value)[0] &&
	    text_copy(out, cap, json_read_string(value)))
		return 0;
	return fail(f, CNI_BAD_CONFIG, ERR_INVALID,
		    "the network configuration's \"%s\" must be a text of 1 to %zu bytes", key,
		    cap - 1);
}

/* A plugin is given what its list says it can do, and this one says nothing. */
static int
take_runtime_config(json_t *value, const struct failure *f)
{
	void *it = json_read_first(value);

	if (json_read_kind(value) != JSON_READ_OBJECT)
		return fail(f, CNI_BAD_CONFIG, ERR_INVALID, "\"runtimeConfig\" must be an object");
	return it ? bad_field(f, json_read_key(it), "take it out of the plugin's \"capabilities\"")
		  : 0;
}

static int
take_valid(const json_t *value, struct cni_request *r, const struct failure *f)
{
	if (json_read_kind(value) != JSON_READ_ARRAY || json_read_count(value) > CNI_VALID_MAX)
		return fail(f, CNI_BAD_CONFIG, ERR_INVALID,
			    "the valid attachments must be a list of at most %d", CNI_VALID_MAX);
	for (size_t i = 0; i < json_read_count(value); i++) {
		const json_t *item = json_read_at(value, i);

		if (!json_read_text(item, "containerID")[0] || !json_read_text(item, "ifname")[0])
			return fail(f, CNI_BAD_CONFIG, ERR_INVALID,
				    "valid attachment %zu has no containerID or no ifname", i);
	}
	r->valid = value;
	return 0;
}

static int
take_names(const json_t *value, struct cni_request *r, const struct failure *f)
{
	char *text = json_read_dump(value);
	bool good = json_read_kind(value) == JSON_READ_BOOL && text;

	r->names = good && strcmp(text, "true") == 0;
	mem_free(text);
	return good ? 0 : fail(f, CNI_BAD_CONFIG, ERR_INVALID, "\"names\" must be true or false");
}

static int
take_previous(const json_t *value, struct cni_request *r, const struct failure *f)
{
	if (json_read_kind(value) == JSON_READ_NULL)
		return 0;
	if (json_read_kind(value) != JSON_READ_OBJECT)
		return fail(f, CNI_BAD_CONFIG, ERR_INVALID, "\"prevResult\" must be an object");
	if (r->verb == CNI_ADD) {
		fail(f, CNI_BAD_CONFIG, ERR_UNSUPPORTED,
		     "another plugin comes before this one in the network's list");
		return err_fix(f->err, "make \"zlayer-cni\" the first of \"plugins\"");
	}
	r->previous = value;
	return 0;
}

static int
take_member(const char *key, json_t *value, struct cni_request *r, const struct failure *f)
{
	static const char *const passed[] = {"cniVersion", "type", "capabilities", "args"};

	for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
		if (strcmp(key, passed[i]) == 0)
			return 0;
	if (strcmp(key, "name") == 0)
		return take_text(value, key, r->attach.key.network, sizeof(r->attach.key.network),
				 f);
	if (strcmp(key, "instance") == 0)
		return take_text(value, key, r->instance, sizeof(r->instance), f);
	if (strcmp(key, "socket") == 0)
		return take_text(value, key, r->socket, sizeof(r->socket), f);
	if (strcmp(key, "names") == 0)
		return take_names(value, r, f);
	if (strcmp(key, "runtimeConfig") == 0)
		return take_runtime_config(value, f);
	if (strcmp(key, "prevResult") == 0)
		return take_previous(value, r, f);
	if (strcmp(key, "cni.dev/valid-attachments") == 0)
		return take_valid(value, r, f);
	if (strcmp(key, "cni.dev/attachments") == 0) /* its name before 1.1.0 was final */
		return r->valid ? 0 : take_valid(value, r, f);
	return bad_field(f, key,
			 "known are: name, instance, socket, names; addresses are the "
			 "node's own to give");
}

static int
take_members(struct cni_request *r, const struct failure *f)
{
	for (void *it = json_read_first(r->root); it; it = json_read_next(r->root, it))
		if (take_member(json_read_key(it), json_read_value(it), r, f) < 0)
			return -1;
	return 0;
}

/* ---- together ---- */

static int
check_key(struct cni_request *r, const struct failure *f)
{
	struct msg_attach probe = r->attach;

	if (!r->attach.key.network[0])
		return fail(f, CNI_BAD_CONFIG, ERR_INVALID,
			    "the network configuration has no \"name\"");
	if (r->verb == CNI_GC || r->verb == CNI_STATUS) {
		text_copy(probe.key.container, sizeof(probe.key.container), "none");
		text_copy(probe.key.interface, sizeof(probe.key.interface), "none");
	}
	if (!probe.netns[0])
		text_copy(probe.netns, sizeof(probe.netns), "/");
	*f->code = CNI_BAD_ENVIRONMENT;
	if (msg_attach_check(&probe, f->err) < 0)
		return -1;
	if (r->instance[0] && r->socket[0])
		return fail(f, CNI_BAD_CONFIG, ERR_INVALID,
			    "the network configuration has both \"instance\" and \"socket\"");
	if (r->instance[0] && !text_is_label(r->instance))
		return fail(f, CNI_BAD_CONFIG, ERR_INVALID, "\"%s\" cannot be an instance's name",
			    r->instance);
	return 0;
}

static int
check_verb(struct cni_request *r, const struct failure *f)
{
	if ((r->verb == CNI_GC || r->verb == CNI_STATUS) && r->version < CNI_1_1_0) {
		fail(f, CNI_BAD_VERSION, ERR_UNSUPPORTED, "%s is not part of cniVersion %s",
		     verbs[r->verb], versions[r->version]);
		return err_fix(f->err, "1.1.0 has it");
	}
	if (r->verb == CNI_GC && !r->valid)
		return fail(f, CNI_BAD_CONFIG, ERR_INVALID,
			    "there is no \"cni.dev/valid-attachments\"");
	if (r->verb == CNI_CHECK && !r->previous)
		return fail(f, CNI_BAD_CONFIG, ERR_INVALID, "there is no \"prevResult\" to check");
	if (!r->names)
		r->attach.name[0] = 0;
	return 0;
}

int
cni_parse(const struct cni_environment *env, const char *text, size_t bytes, struct cni_request *r,
	  unsigned *code_out, struct err *err)
{
	const struct failure f = {code_out, err};

	*r = (struct cni_request){.version = CNI_1_1_0, .names = true};
	if (take_verb(env->command, r, &f) < 0)
		return -1;
	*code_out = CNI_BAD_JSON;
	r->root = bytes > 0 ? json_read_parse(text, bytes, err) : NULL;
	if (!r->root && bytes > 0)
		return err_where(err, "standard input: the network configuration");
	if (r->verb == CNI_VERSION && !r->root)
		return 0;
	if (json_read_kind(r->root) != JSON_READ_OBJECT)
		return fail(&f, CNI_BAD_JSON, ERR_INVALID,
			    "standard input has no network configuration (a JSON object)");
	if (take_version(r, &f) < 0)
		return -1;
	if (r->verb == CNI_VERSION)
		return 0;
	if (take_variables(env, r, &f) < 0 || take_args(env->args, r, &f) < 0 ||
	    take_members(r, &f) < 0 || check_key(r, &f) < 0)
		return -1;
	return check_verb(r, &f);
}

void
cni_fini(struct cni_request *r)
{
	json_read_free(r->root);
	r->root = NULL;
}

bool
cni_is_valid(const struct cni_request *r, const char *container, const char *interface)
{
	for (size_t i = 0; i < json_read_count(r->valid); i++) {
		const json_t *item = json_read_at(r->valid, i);

		if (strcmp(json_read_text(item, "containerID"), container) == 0 &&
		    strcmp(json_read_text(item, "ifname"), interface) == 0)
			return true;
	}
	return false;
}
