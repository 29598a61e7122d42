/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks and the settings that they stand for. Settings are level-triggered: every look writes all
 * that is marked again, so that a `sysctl --system` of somebody else does not cut containers off
 * for long.
 */
#include "node/uplink_mark.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

static const char first[] = "zlayer ";

/* ---- settings ---- */

static int
setting(const char *family, const char *link, const char *name, int flags)
{
	char path[160];

	text_format(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, link, name);
	return open(path, flags | O_CLOEXEC);
}

/* -1: there is none. */
static int
setting_get(const char *family, const char *link, const char *name)
{
	char text[16] = "";
	uint64_t value;
	defer_close int fd = setting(family, link, name, O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;
	text[strcspn(text, "\n")] = '\0';
	return text_u64(text, 9, &value) ? (int)value : -1;
}

static int
setting_put(const char *family, const char *link, const char *name, int value, struct err *err)
{
	char text[8];
	defer_close int fd = -1;

	if (setting_get(family, link, name) == value)
		return 0;
	text_format(text, sizeof(text), "%d", value);
	fd = setting(family, link, name, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return err_sys(err, errno, "cannot set net.%s.conf.%s.%s", family, link, name);
	return 0;
}

bool
uplink_mark_routes4(void)
{
	return setting_get("ipv4", "all", "forwarding") == 1;
}

bool
uplink_mark_routes6(void)
{
	return setting_get("ipv6", "all", "forwarding") == 1;
}

/* Linux 6.17 can forward IPv6 for single links. */
static bool
forwards_by_link(void)
{
	return setting_get("ipv6", "all", "force_forwarding") >= 0;
}

/* ---- words ---- */

void
uplink_mark_begin(const char *instance, char out[UPLINK_MARK_BYTES])
{
	text_format(out, UPLINK_MARK_BYTES, "%s%s", first, instance);
}

bool
uplink_mark_ours(const char *alias)
{
	return text_starts(alias, first) && alias[strlen(first)] != '\0';
}

/* The next word from *at on; NULL at the end. Passes over what is no mark of ours: too long, or
 * with characters that mean something in a rule. */
static const char *
next_word(const char **at, char out[64])
{
	for (;;) {
		*at += strspn(*at, " ");
		size_t length = strcspn(*at, " ");
		const char *word = *at;

		if (length == 0)
			return NULL;
		*at += length;
		if (text_ncopy(out, 64, word, length) && !strpbrk(out, "\"\\;{}"))
			return out;
	}
}

void
uplink_mark_each(const char *alias, void (*visit)(void *arg, const char *word), void *arg)
{
	const char *at = uplink_mark_ours(alias) ? alias + strlen(first) : "";
	char word[64];

	at += strcspn(at, " "); /* the name */
	while (next_word(&at, word))
		visit(arg, word);
}

int
uplink_mark_add(char alias[UPLINK_MARK_BYTES], const char *word, struct err *err)
{
	const char *at = alias;
	char have[64];

	while (next_word(&at, have))
		if (strcmp(have, word) == 0)
			return 0;
	size_t length = strlen(alias);
	if (length + 1 + strlen(word) >= UPLINK_MARK_BYTES)
		return err_set(err, ERR_LIMIT, "too many links lead to the world");
	text_format(alias + length, UPLINK_MARK_BYTES - length, " %s", word);
	return 0;
}

static int
add_link(char alias[UPLINK_MARK_BYTES], const char *kind, const char *link, struct err *err)
{
	char word[64];

	text_format(word, sizeof(word), "%s:%s", kind, link);
	return uplink_mark_add(alias, word, err);
}

/* ---- what is needed ---- */

static int
plan_routers(char alias[UPLINK_MARK_BYTES], struct err *err)
{
	DIR *dir = opendir("/proc/sys/net/ipv6/conf");
	struct dirent *entry;
	int rc = 0;

	while (rc == 0 && dir && (entry = readdir(dir)) != NULL) {
		const char *name = entry->d_name;

		if (name[0] == '.' || strcmp(name, "all") == 0 || strcmp(name, "default") == 0 ||
		    strcmp(name, "lo") == 0 || text_starts(name, "zl-"))
			continue;
		if (setting_get("ipv6", name, "accept_ra") == 1)
			rc = add_link(alias, "ra", name, err);
	}
	if (dir)
		closedir(dir);
	return rc;
}

static int
plan_v6(const struct uplink_mark_links *links, char alias[UPLINK_MARK_BYTES], struct err *err)
{
	if (links->v6_count == 0 || uplink_mark_routes6())
		return 0;
	if (!forwards_by_link())
		return plan_routers(alias, err) < 0 ? -1 : uplink_mark_add(alias, "all6", err);
	for (size_t i = 0; i < links->v6_count; i++)
		if (setting_get("ipv6", links->v6[i], "force_forwarding") == 0 &&
		    add_link(alias, "6", links->v6[i], err) < 0)
			return -1;
	return 0;
}

int
uplink_mark_plan(const struct uplink_mark_links *links, char alias[UPLINK_MARK_BYTES],
		 struct err *err)
{
	for (size_t i = 0; i < links->v4_count; i++)
		if (setting_get("ipv4", links->v4[i], "forwarding") == 0 &&
		    add_link(alias, "4", links->v4[i], err) < 0)
			return -1;
	return plan_v6(links, alias, err);
}

/* ---- switching ---- */

static const char *
link_of(const char *word, const char *kind)
{
	size_t length = strlen(kind);

	return text_starts(word, kind) && word[length] == ':' && word[length + 1] != '\0' &&
			       !strchr(word, '/') && word[length + 1] != '.'
		       ? word + length + 1
		       : NULL;
}

struct switching {
	struct err err; /* the first */
	bool on;
};

static void
put(struct switching *s, const char *family, const char *link, const char *name, int value)
{
	struct err err = {0};

	/* A link that went away needs nothing any more. */
	if (setting_get(family, link, name) >= 0 &&
	    setting_put(family, link, name, value, &err) < 0 && !s->err.kind)
		s->err = err;
}

static void
switch_word(void *arg, const char *word)
{
	struct switching *s = arg;
	const char *link;

	if ((link = link_of(word, "4")) && (s->on || !uplink_mark_routes4()))
		put(s, "ipv4", link, "forwarding", s->on);
	else if ((link = link_of(word, "6")))
		put(s, "ipv6", link, "force_forwarding", s->on);
	else if ((link = link_of(word, "ra")))
		put(s, "ipv6", link, "accept_ra", s->on ? 2 : 1);
	else if (strcmp(word, "all6") == 0)
		put(s, "ipv6", "all", "forwarding", s->on);
}

int
uplink_mark_switch(const char *uplink, const char *alias, struct err *err)
{
	struct switching s = {.on = true};

	put(&s, "ipv4", uplink, "forwarding", 1);
	put(&s, "ipv6", uplink, "accept_ra", 0);
	if (forwards_by_link() && !uplink_mark_routes6())
		put(&s, "ipv6", uplink, "force_forwarding", 1);
	uplink_mark_each(alias, switch_word, &s);
	if (s.err.kind)
		*err = s.err;
	return s.err.kind ? -1 : 0;
}

void
uplink_mark_restore(const char *alias)
{
	struct switching s = {.on = false};

	uplink_mark_each(alias, switch_word, &s);
	if (s.err.kind)
		log_err(LOG_WARN, "a setting of the machine stays switched", &s.err);
}
