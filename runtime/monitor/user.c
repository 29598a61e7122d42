/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passwd(5) and group(5) read line by line from memory. A line with too few fields, or a number
 * that is not one, is passed over as if it were not there. An explicit group ends the search for
 * supplementary groups: who names a group wants exactly that one.
 */
#include "runtime/monitor/user.h"

#include <stdbool.h>
#include <string.h>
#include "base/text.h"

enum { FIELDS_MAX = 7, NAME_BYTES = 256, ID_MAX = 0x7fffffff };

struct field {
	const char *at;
	size_t length;
};

struct lines {
	const char *at, *end;
};

/* The next line's fields; count is 0 for an empty line. */
static bool
next_entry(struct lines *l, struct field *fields, size_t *count)
{
	if (l->at >= l->end)
		return false;
	const char *stop = memchr(l->at, '\n', (size_t)(l->end - l->at));
	const char *end = stop == NULL ? l->end : stop;
	const char *at = l->at;
	*count = 0;
	while (at <= end && *count < FIELDS_MAX) {
		const char *colon = memchr(at, ':', (size_t)(end - at));
		const char *to = colon == NULL ? end : colon;
		fields[(*count)++] = (struct field){.at = at, .length = (size_t)(to - at)};
		at = to + 1;
	}
	l->at = end + 1;
	return true;
}

static bool
field_is(const struct field *f, const char *text)
{
	return strlen(text) == f->length && memcmp(f->at, text, f->length) == 0;
}

static bool
field_id(const struct field *f, uint32_t *out)
{
	char text[16];
	uint64_t value;
	if (f->length == 0 || f->length >= sizeof(text))
		return false;
	memcpy(text, f->at, f->length);
	text[f->length] = '\0';
	if (!text_u64(text, ID_MAX, &value))
		return false;
	*out = (uint32_t)value;
	return true;
}

static bool
is_number(const char *text)
{
	return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* Finds by name, or by number when `text` is one; name_out gets the entry's name. */
static bool
find_passwd(const char *text, const char *data, size_t bytes, struct user *out,
	    char name_out[NAME_BYTES])
{
	struct lines lines = {.at = data, .end = data + bytes};
	struct field f[FIELDS_MAX];
	size_t count;
	uint32_t wanted = 0, uid, gid;
	uint64_t number = 0;
	bool by_id = is_number(text) && text_u64(text, ID_MAX, &number);
	wanted = (uint32_t)number;
	while (next_entry(&lines, f, &count)) {
		if (count < 6 || !field_id(&f[2], &uid) || !field_id(&f[3], &gid))
			continue;
		if (!field_is(&f[0], text) && !(by_id && uid == wanted))
			continue;
		out->uid = uid;
		out->gid = gid;
		if (f[5].length > 0 && f[5].length < sizeof(out->home))
			text_ncopy(out->home, sizeof(out->home), f[5].at, f[5].length);
		text_ncopy(name_out, NAME_BYTES, f[0].at, f[0].length);
		return true;
	}
	return false;
}

static bool
find_group(const char *text, const char *data, size_t bytes, gid_t *gid_out)
{
	struct lines lines = {.at = data, .end = data + bytes};
	struct field f[FIELDS_MAX];
	size_t count;
	uint32_t gid;
	uint64_t number;
	while (next_entry(&lines, f, &count)) {
		if (count >= 3 && field_is(&f[0], text) && field_id(&f[2], &gid)) {
			*gid_out = gid;
			return true;
		}
	}
	if (!is_number(text) || !text_u64(text, ID_MAX, &number))
		return false;
	*gid_out = (gid_t)number;
	return true;
}

static bool
lists_member(const struct field *members, const char *name)
{
	const char *at = members->at, *end = members->at + members->length;
	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *to = comma == NULL ? end : comma;
		struct field one = {.at = at, .length = (size_t)(to - at)};
		if (field_is(&one, name))
			return true;
		at = to + 1;
	}
	return false;
}

static void
find_supplementary(const char *name, const char *data, size_t bytes, struct user *out)
{
	struct lines lines = {.at = data, .end = data + bytes};
	struct field f[FIELDS_MAX];
	size_t count;
	uint32_t gid;
	while (next_entry(&lines, f, &count) && out->groups_count < USER_GROUPS_MAX) {
		if (count < 4 || !field_id(&f[2], &gid) || gid == out->gid)
			continue;
		if (lists_member(&f[3], name))
			out->groups[out->groups_count++] = gid;
	}
}

int
user_find(const char *spec, const char *passwd, size_t passwd_bytes, const char *group,
	  size_t group_bytes, struct user *out, struct err *err)
{
	char name[NAME_BYTES], entry[NAME_BYTES] = "";
	const char *colon = strchr(spec, ':');
	size_t length = colon == NULL ? strlen(spec) : (size_t)(colon - spec);
	uint64_t number;

	*out = (struct user){.home = "/"};
	if (!text_ncopy(name, sizeof(name), spec, length))
		return err_set(err, ERR_INVALID, "the user's name is too long");
	if (name[0] == '\0')
		strcpy(name, "0");
	bool found = find_passwd(name, passwd, passwd_bytes, out, entry);
	if (!found) {
		if (!is_number(name) || !text_u64(name, ID_MAX, &number)) {
			err_set(err, ERR_NOT_FOUND, "no user \"%s\" in the container", name);
			err_why(err, "/etc/passwd of the image has no such entry");
			return err_fix(err, "use a numeric uid, or a name of the image");
		}
		out->uid = (uid_t)number;
		if (out->uid == 0)
			text_copy(out->home, sizeof(out->home), "/root");
	}
	if (colon != NULL && colon[1] != '\0') {
		if (!find_group(colon + 1, group, group_bytes, &out->gid)) {
			err_set(err, ERR_NOT_FOUND, "no group \"%s\" in the container", colon + 1);
			return err_why(err, "/etc/group of the image has no such entry");
		}
	} else if (found) {
		find_supplementary(entry, group, group_bytes, out);
	}
	return 0;
}
