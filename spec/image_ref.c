/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References of images (OCI distribution specification 1.1, "pulling manifests"; docker.io by
 * Docker's habit). Parsed from the back: digest, tag, then the name's components. A port is told
 * from a tag by the '/' behind it.
 */
#include "spec/image_ref.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"

static const char lower_digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
static const char all_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static bool
is_digest(const char *text)
{
	size_t algorithm = strcspn(text, ":"), hex;
	const char *value = text + algorithm;

	if (algorithm == 0 || *value++ != ':' ||
	    text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+._-")] != ':')
		return false;
	hex = strspn(value, "0123456789abcdef");
	if (value[hex] != '\0' || hex < 32)
		return false;
	if (strncmp(text, "sha256:", 7) == 0)
		return hex == 64;
	return strncmp(text, "sha512:", 7) != 0 || hex == 128;
}

static bool
is_tag(const char *text)
{
	if (text[0] == '\0' || (strchr(all_letters, text[0]) == NULL && text[0] != '_'))
		return false;
	for (; *text != '\0'; text++) {
		if (strchr(all_letters, *text) == NULL && strchr("_.-", *text) == NULL)
			return false;
	}
	return true;
}

/* [a-z0-9]+((.|_|__|-+)[a-z0-9]+)* between slashes. */
static bool
is_name(const char *text)
{
	while (true) {
		size_t word = strspn(text, lower_digits), dashes;

		if (word == 0)
			return false;
		text += word;
		if (*text == '\0')
			return true;
		dashes = strspn(text, "-");
		if (dashes > 0)
			text += dashes;
		else if (text_starts(text, "__"))
			text += 2;
		else if (*text == '.' || *text == '_' || *text == '/')
			text++;
		else
			return false;
	}
}

static bool
is_registry(const char *text)
{
	size_t host = text[0] == '[' ? strcspn(text, "]") + 1 : strcspn(text, ":");
	const char *rest = text + host;
	uint64_t port;

	if (text[0] == '[') {
		if (host < 4 || text[host - 1] != ']' ||
		    strspn(text + 1, "0123456789abcdefABCDEF:.") != host - 2)
			return false;
	} else {
		if (host == 0 || text[0] == '-' || text[0] == '.' || text[host - 1] == '-')
			return false;
		for (size_t i = 0; i < host; i++) {
			if (strchr(all_letters, text[i]) == NULL && text[i] != '-' &&
			    text[i] != '.')
				return false;
		}
	}
	if (*rest == '\0')
		return true;
	return *rest == ':' && text_u64(rest + 1, 65535, &port) && port > 0;
}

static bool
is_transport(const char *text)
{
	static const char *const names[] = {"oci:",
					    "oci-archive:",
					    "docker-archive:",
					    "docker-daemon:",
					    "containers-storage:",
					    "dir:",
					    NULL};

	if (strstr(text, "://") != NULL)
		return true;
	for (size_t i = 0; names[i] != NULL; i++) {
		size_t length = strlen(names[i]);

		/* "oci:1" is an image named oci with a tag; "oci:/path" is a place. */
		if (strncmp(text, names[i], length) == 0 &&
		    (strchr(text + length, '/') != NULL || strchr(text + length, ':') != NULL))
			return true;
	}
	return false;
}

/* Cuts digest and tag off; text is changed. */
static enum image_ref_status
cut_back(char *text, struct image_ref *out)
{
	char *at = strchr(text, '@'), *slash, *colon;

	if (at != NULL) {
		*at = '\0';
		if (!is_digest(at + 1) || !text_copy(out->digest, sizeof(out->digest), at + 1))
			return IMAGE_REF_BAD_DIGEST;
	}
	slash = strrchr(text, '/');
	colon = strrchr(slash == NULL ? text : slash, ':');
	if (colon == NULL)
		return IMAGE_REF_OK;
	*colon = '\0';
	if (!text_copy(out->tag, sizeof(out->tag), colon + 1) || !is_tag(out->tag))
		return IMAGE_REF_BAD_TAG;
	return IMAGE_REF_OK;
}

static enum image_ref_status
cut_front(const char *text, struct image_ref *out)
{
	const char *slash = strchr(text, '/'), *name = text;
	size_t first = slash == NULL ? 0 : (size_t)(slash - text);
	bool registry = first > 0 &&
			(memchr(text, '.', first) != NULL || memchr(text, ':', first) != NULL ||
			 (first == 9 && memcmp(text, "localhost", 9) == 0));

	text_copy(out->registry, sizeof(out->registry), "docker.io");
	if (registry) {
		if (!text_ncopy(out->registry, sizeof(out->registry), text, first))
			return IMAGE_REF_TOO_LONG;
		if (!is_registry(out->registry))
			return IMAGE_REF_BAD_REGISTRY;
		name = slash + 1;
	}
	if (strcmp(out->registry, "index.docker.io") == 0 ||
	    strcmp(out->registry, "registry-1.docker.io") == 0) {
		memset(out->registry, 0, sizeof(out->registry));
		text_copy(out->registry, sizeof(out->registry), "docker.io");
	}
	if (!text_format(out->name, sizeof(out->name), "%s%s",
			 strcmp(out->registry, "docker.io") == 0 && strchr(name, '/') == NULL
				 ? "library/"
				 : "",
			 name))
		return IMAGE_REF_TOO_LONG;
	for (const char *c = name; *c != '\0'; c++) {
		if (isupper((unsigned char)*c))
			return IMAGE_REF_UPPER_CASE;
	}
	return is_name(name) ? IMAGE_REF_OK : IMAGE_REF_BAD_NAME;
}

enum image_ref_status
image_ref_parse(const char *text, struct image_ref *out)
{
	char copy[IMAGE_REF_TEXT_BYTES];
	enum image_ref_status status;

	memset(out, 0, sizeof(*out));
	if (text[0] == '\0')
		return IMAGE_REF_EMPTY;
	if (!text_copy(copy, sizeof(copy), text))
		return IMAGE_REF_TOO_LONG;
	if (is_transport(text))
		return IMAGE_REF_TRANSPORT;
	status = cut_back(copy, out);
	if (status == IMAGE_REF_OK)
		status = cut_front(copy, out);
	if (status == IMAGE_REF_OK && out->tag[0] == '\0' && out->digest[0] == '\0')
		text_copy(out->tag, sizeof(out->tag), "latest");
	return status;
}

const char *
image_ref_why(enum image_ref_status status)
{
	static const char *const why[] = {
		[IMAGE_REF_OK] = "it is right",
		[IMAGE_REF_EMPTY] = "it is empty",
		[IMAGE_REF_TRANSPORT] =
			"a name is wanted, as registry.test:5000/app:1, not a place",
		[IMAGE_REF_UPPER_CASE] = "the name has no upper case",
		[IMAGE_REF_BAD_REGISTRY] = "the registry is not a host with an optional port",
		[IMAGE_REF_BAD_NAME] = "the name is words of a-z and 0-9 with . _ - / between",
		[IMAGE_REF_BAD_TAG] = "the tag is at most 128 letters, digits and _ . -, and "
				      "begins with a letter, "
				      "digit or _",
		[IMAGE_REF_BAD_DIGEST] = "the digest is sha256: and 64 hexadecimal digits",
		[IMAGE_REF_TOO_LONG] = "it is too long",
	};

	return why[status];
}

void
image_ref_put(const struct image_ref *ref, char *out, size_t cap)
{
	text_format(out, cap, "%s/%s%s%s%s%s", ref->registry, ref->name,
		    ref->tag[0] == '\0' ? "" : ":", ref->tag, ref->digest[0] == '\0' ? "" : "@",
		    ref->digest);
}
