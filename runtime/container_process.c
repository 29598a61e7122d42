/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process of a container, out of its plan and image: what is run, with which variables, rights
 * and limits. The plan's word goes before the image's. Words that mean nothing (a capability, a
 * limit) are refused here, in those of the deployment document.
 */
#include "runtime/container_process.h"

#include <string.h>
#include <sys/resource.h>
#include "base/sandbox.h"
#include "base/text.h"
#include "runtime/launch.h"

enum { DEFAULT_FILES = 1024, DEFAULT_FILES_HARD = 524288 };

#define BIT(n) (UINT64_C(1) << (n))
/* chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot
 * mknod audit_write setfcap */
#define CAPS_DEFAULT UINT64_C(0xa80425fb)
#define CAPS_ALL (BIT(41) - 1)

static bool
same_key(const char *item, const char *key)
{
	size_t length = strlen(key);
	return strncmp(item, key, length) == 0 && item[length] == '=';
}

static bool
plan_has_key(const struct plan *p, const char *item)
{
	for (size_t i = 0; i < p->env_count; i++)
		if (same_key(item, p->env[i].key))
			return true;
	return false;
}

const char *
container_process_hostname(const struct container *c, char out[MSG_NAME])
{
	if (c->plan->hostname != NULL && c->plan->hostname[0] != '\0')
		return c->plan->hostname;
	text_format(out, MSG_NAME, "%.50s-%u", c->plan->service_name, c->plan->index);
	return out;
}

/* The image's variables, then the plan's over them; PATH and HOSTNAME when nobody set them. */
static void
fill_env(struct container *c, struct launch *l, struct arena *a)
{
	const struct plan *p = c->plan;
	const struct image_list *image = &c->image->env;
	char name[MSG_NAME];
	bool path = false, host = false;
	char **items = arena_array(a, image->count + p->env_count + 3, sizeof(*items));
	size_t n = 0;
	if (items == NULL)
		return;
	for (size_t i = 0; i < image->count; i++)
		if (!plan_has_key(p, image->items[i]) && strchr(image->items[i], '=') != NULL)
			items[n++] = image->items[i];
	for (size_t i = 0; i < p->env_count; i++)
		items[n++] = arena_printf(a, "%s=%s", p->env[i].key, p->env[i].value);
	for (size_t i = 0; i < n && items[i] != NULL; i++) {
		path = path || same_key(items[i], "PATH");
		host = host || same_key(items[i], "HOSTNAME");
	}
	if (!path)
		items[n++] = arena_strdup(
			a, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	if (!host)
		items[n++] = arena_printf(a, "HOSTNAME=%s", container_process_hostname(c, name));
	l->env = (struct launch_list){.items = items, .count = n};
}

int
container_process_argv(const struct container *c, struct launch *l, struct arena *a,
		       struct err *err)
{
	const struct plan *p = c->plan;
	const struct image_record *image = c->image;
	size_t entry = p->entrypoint.given ? p->entrypoint.count : image->entrypoint.count;
	size_t rest = p->args.given ? p->args.count : image->cmd.count;
	char **from = p->entrypoint.given ? p->entrypoint.items : image->entrypoint.items;
	char **then = p->args.given ? p->args.items : image->cmd.items;
	size_t more = p->args_more.count;
	char **items = arena_array(a, entry + rest + more + 1, sizeof(*items));
	if (items == NULL)
		return container_no_memory(err);
	if (entry + rest + more == 0) {
		err_set(err, ERR_INVALID, "there is nothing to run");
		err_why(err, "the image %s has no entrypoint and no command", p->image);
		return err_fix(err, "say what to run in command.args");
	}
	for (size_t i = 0; i < entry; i++)
		items[i] = from[i];
	for (size_t i = 0; i < rest; i++)
		items[entry + i] = then[i];
	for (size_t i = 0; i < more; i++)
		items[entry + rest + i] = p->args_more.items[i];
	if (items[0][0] == '\0')
		return err_set(err, ERR_INVALID, "the name of the program to run is empty");
	l->argv = (struct launch_list){.items = items, .count = entry + rest + more};
	return 0;
}

static int
change_caps(uint64_t *caps, const struct plan_list *list, bool add, struct err *err)
{
	for (size_t i = 0; i < list->count; i++) {
		const char *name = list->items[i];
		bool all = strcasecmp(name, "all") == 0;
		int cap = all ? 0 : sandbox_cap_parse(name);
		if (cap < 0) {
			err_set(err, ERR_INVALID, "there is no capability %s", name);
			return err_fix(err, "capabilities(7) has the names");
		}
		uint64_t bits = all ? CAPS_ALL : BIT(cap);
		*caps = add ? *caps | bits : *caps & ~bits;
	}
	return 0;
}

/* Drop "ALL" and add one means: exactly that one. */
static int
fill_caps(const struct plan *p, struct launch *l, struct err *err)
{
	l->caps = p->privileged ? CAPS_ALL : CAPS_DEFAULT;
	bool drops_all = false;
	for (size_t i = 0; i < p->cap_drop.count; i++)
		drops_all = drops_all || strcasecmp(p->cap_drop.items[i], "all") == 0;
	if (drops_all)
		l->caps = 0;
	if (change_caps(&l->caps, &p->cap_add, true, err) < 0)
		return -1;
	return drops_all ? 0 : change_caps(&l->caps, &p->cap_drop, false, err);
}

static const struct {
	const char *name;
	uint32_t resource;
} limit_names[] = {
	{"as", RLIMIT_AS},
	{"core", RLIMIT_CORE},
	{"cpu", RLIMIT_CPU},
	{"data", RLIMIT_DATA},
	{"fsize", RLIMIT_FSIZE},
	{"locks", RLIMIT_LOCKS},
	{"memlock", RLIMIT_MEMLOCK},
	{"msgqueue", RLIMIT_MSGQUEUE},
	{"nice", RLIMIT_NICE},
	{"nofile", RLIMIT_NOFILE},
	{"nproc", RLIMIT_NPROC},
	{"rss", RLIMIT_RSS},
	{"rtprio", RLIMIT_RTPRIO},
	{"rttime", RLIMIT_RTTIME},
	{"sigpending", RLIMIT_SIGPENDING},
	{"stack", RLIMIT_STACK},
};

static int
limit_of(const char *name, uint32_t *out)
{
	for (size_t i = 0; i < sizeof(limit_names) / sizeof(limit_names[0]); i++) {
		if (strcmp(limit_names[i].name, name) == 0) {
			*out = limit_names[i].resource;
			return 0;
		}
	}
	return -1;
}

static int
fill_rlimits(const struct plan *p, struct launch *l, struct arena *a, struct err *err)
{
	bool files = false;
	l->rlimits = arena_array(a, p->ulimits_count + 2, sizeof(*l->rlimits));
	if (l->rlimits == NULL)
		return container_no_memory(err);
	for (size_t i = 0; i < p->ulimits_count; i++) {
		struct launch_rlimit *r = &l->rlimits[l->rlimits_count++];
		*r = (struct launch_rlimit){
			.given = true, .soft = p->ulimits[i].soft, .hard = p->ulimits[i].hard};
		if (limit_of(p->ulimits[i].name, &r->resource) < 0)
			return err_set(err, ERR_INVALID, "there is no resource limit \"%s\"",
				       p->ulimits[i].name);
		files = files || r->resource == RLIMIT_NOFILE;
	}
	if (!files)
		l->rlimits[l->rlimits_count++] = (struct launch_rlimit){.resource = RLIMIT_NOFILE,
									.soft = DEFAULT_FILES,
									.hard = DEFAULT_FILES_HARD};
	return 0;
}

static int
fill_filter(struct container *c, struct launch *l, struct err *err)
{
	struct container_host *h = c->host;
	uint64_t caps = (l->caps & seccomp_profile_caps()) | BIT(63);
	if (c->plan->privileged || c->plan->seccomp == PLAN_SECCOMP_UNCONFINED)
		return 0;
	/* Compiling takes milliseconds; a node uses one or two profiles. */
	for (size_t i = 0; i < CONTAINER_PROFILES; i++) {
		if (h->profiles[i].caps == caps) {
			l->filter.items = h->profiles[i].profile.items;
			l->filter.count = h->profiles[i].profile.count;
			return 0;
		}
	}
	struct seccomp_profile made;
	if (seccomp_profile_container(l->caps, &made, err) < 0)
		return -1;
	size_t at = h->profiles_next++ % CONTAINER_PROFILES;
	seccomp_profile_fini(&h->profiles[at].profile);
	h->profiles[at].profile = made;
	h->profiles[at].caps = caps;
	l->filter = (struct launch_filter){.items = made.items, .count = made.count};
	return 0;
}

int
container_process(struct container *c, struct launch *l, struct arena *a, struct err *err)
{
	const struct plan *p = c->plan;
	const char *workdir = p->workdir != NULL ? p->workdir : c->image->workdir;
	const char *user = p->user != NULL ? p->user : c->image->user;
	l->replica = c->replica;
	l->attempt = c->attempt;
	if (c->claim.leased) {
		l->lease_until_ns = c->claim.lease_until_ns;
		l->lease_epoch = c->claim.lease_epoch;
	}
	l->privileged = p->privileged;
	l->no_new_privs = p->no_new_privs;
	l->oom_score_adj_given = p->oom_score_adj_given;
	l->oom_score_adj = p->oom_score_adj;
	if (workdir == NULL || workdir[0] == '\0')
		workdir = "/";
	l->workdir = workdir[0] == '/' ? arena_strdup(a, workdir) : arena_printf(a, "/%s", workdir);
	l->user = arena_strdup(a, user == NULL ? "" : user);
	fill_env(c, l, a);
	if (fill_caps(p, l, err) < 0 || fill_rlimits(p, l, a, err) < 0 ||
	    fill_filter(c, l, err) < 0)
		return -1;
	return arena_ok(a) ? 0 : container_no_memory(err);
}
