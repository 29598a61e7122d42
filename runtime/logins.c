/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of `auths` come in many forms: "host", "host:port", "https://host/v1/", "host/team/app" (the
 * longest that fits counts), and "https://index.docker.io/v1/" for what images call docker.io. A
 * password stands as base64 of "user:password", or in two members of its own.
 */
#include "runtime/logins.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "wire/json_read.h"

/* Without scheme and without the version that docker appends. */
static size_t
bare(const char **key)
{
	const char *text = strstr(*key, "://");

	*key = text ? text + 3 : *key;
	size_t length = strlen(*key);
	while (length > 0 && (*key)[length - 1] == '/')
		length--;
	if (length > 3 &&
	    (!strncmp(*key + length - 3, "/v1", 3) || !strncmp(*key + length - 3, "/v2", 3)))
		length -= 3;
	return length;
}

static bool
is_docker(const char *text, size_t length)
{
	static const char *const names[] = {"docker.io", "index.docker.io", "registry-1.docker.io"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i]) == length && !memcmp(names[i], text, length))
			return true;
	}
	return false;
}

/* How much of "host/repository" the key names; 0: it is another's. */
static size_t
fits(const char *key, const char *host, const char *repository)
{
	size_t length = bare(&key);
	size_t name = strcspn(key, "/");

	if (name > length)
		name = length;
	bool same = (strlen(host) == name && !memcmp(host, key, name)) ||
		    (is_docker(host, strlen(host)) && is_docker(key, name));
	if (!same || name == 0)
		return 0;
	if (name == length)
		return 1;
	const char *path = key + name + 1;
	size_t rest = length - name - 1;
	bool below = !strncmp(repository, path, rest) &&
		     (repository[rest] == '/' || repository[rest] == '\0');
	return below ? 1 + rest : 0;
}

static json_t *
best(json_t *object, const char *host, const char *repository)
{
	json_t *found = NULL;
	size_t most = 0;

	for (void *it = json_read_first(object); it; it = json_read_next(object, it)) {
		size_t n = fits(json_read_key(it), host, repository);

		if (n > most) {
			most = n;
			found = json_read_value(it);
		}
	}
	return found;
}

static int
take_auth(const json_t *auth, struct registry_login *out, struct err *err)
{
	char pair[REGISTRY_NAME_BYTES + REGISTRY_SECRET_BYTES];
	const char *encoded = json_read_text(auth, "auth");
	bool whole =
		text_copy(out->identity, sizeof(out->identity),
			  json_read_text(auth, "identitytoken")) &&
		text_copy(out->user, sizeof(out->user), json_read_text(auth, "username")) &&
		text_copy(out->password, sizeof(out->password), json_read_text(auth, "password"));

	if (whole && encoded[0]) {
		long n = text_unbase64(encoded, strlen(encoded), pair, sizeof(pair) - 1);
		char *colon = NULL;

		if (n > 0) {
			pair[n] = '\0';
			colon = strchr(pair, ':');
		}
		whole = colon && strlen(pair) == (size_t)n;
		if (whole) {
			*colon = '\0';
			whole = text_copy(out->user, sizeof(out->user), pair) &&
				text_copy(out->password, sizeof(out->password), colon + 1);
		}
		mem_wipe(pair, sizeof(pair));
	}
	if (whole)
		return out->identity[0] || out->user[0] ? 1 : 0;
	err_set(err, ERR_INVALID, "the login for this registry in config.json does not hold");
	return err_fix(err, "log in again: docker login");
}

/* It becomes a part of a file's name. */
static bool
is_helper(const char *name)
{
	return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
	       strlen(name);
}

static int
find(json_t *root, const char *host, const char *repository, struct registry_login *out,
     struct err *err)
{
	json_t *auth = best(json_read_get(root, "auths"), host, repository);
	int rc = auth ? take_auth(auth, out, err) : 0;
	char safe[256];

	if (rc != 0)
		return rc;
	const char *helper =
		json_read_string(best(json_read_get(root, "credHelpers"), host, repository));
	if (!helper[0])
		helper = json_read_text(root, "credsStore");
	if (!helper[0])
		return 0;
	if (is_helper(helper) && text_copy(out->helper, sizeof(out->helper), helper))
		return 1;
	out->helper[0] = '\0';
	err_set(err, ERR_INVALID, "config.json names a program that cannot be one");
	text_printable(helper, strnlen(helper, 60), safe, sizeof(safe));
	err_why(err, "docker-credential-%s: the name may have letters, digits, -, _ and dots",
		safe);
	return err_fix(err, "see credHelpers and credsStore in config.json");
}

int
logins_find(const char *text, size_t bytes, const char *host, const char *repository,
	    struct registry_login *out, struct err *err)
{
	json_t *root = json_read_parse(text, bytes, err);

	memset(out, 0, sizeof(*out));
	if (!root || json_read_kind(root) != JSON_READ_OBJECT) {
		json_read_free(root);
		err_set(err, ERR_INVALID,
			"config.json with the registries' logins is no JSON object");
		return -1;
	}
	int rc = find(root, host, repository, out, err);
	json_read_free(root);
	return rc;
}

const char *
logins_server(const char *host)
{
	return is_docker(host, strlen(host)) ? "https://index.docker.io/v1/" : host;
}

int
logins_take(const char *text, size_t bytes, struct registry_login *out, struct err *err)
{
	struct err ignored = {0};
	json_t *root = json_read_parse(text, bytes, &ignored);
	const char *user = json_read_text(root, "Username");
	const char *secret = json_read_text(root, "Secret");
	bool identity = !strcmp(user, "<token>");

	memset(out, 0, sizeof(*out));
	bool whole = user[0] && secret[0] &&
		     (identity ? text_copy(out->identity, sizeof(out->identity), secret)
			       : text_copy(out->user, sizeof(out->user), user) &&
					 text_copy(out->password, sizeof(out->password), secret));
	json_read_free(root);
	if (whole)
		return 0;
	mem_wipe(out, sizeof(*out));
	err_set(err, ERR_INVALID, "the answer of a program that keeps logins does not hold");
	return err_why(err,
		       "it is to print {\"ServerURL\": ..., \"Username\": ..., \"Secret\": ...}");
}
