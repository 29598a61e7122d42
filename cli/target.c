/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets and their short forms. A word alone is, in this order: a deployment of that name, a
 * service of that name that only one deployment has, the beginning of one deployment's name.
 */
#include "cli/target.h"

#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "cli/cli.h"
#include "cli/client.h"

static int
bad(const char *text, struct err *err)
{
	err_set(err, ERR_USAGE, "\"%s\" is not a target", text);
	return err_fix(err, "write DEPLOYMENT, DEPLOYMENT/SERVICE or DEPLOYMENT/SERVICE.N");
}

int
target_parse(const char *text, struct target *out, struct err *err)
{
	char copy[TARGET_TEXT_BYTES];
	uint64_t n;

	memset(out, 0, sizeof(*out));
	if (!text_copy(copy, sizeof(copy), text))
		return bad(text, err);
	char *dot = strchr(copy, '.');
	char *slash = strchr(copy, '/');
	if (dot) {
		*dot = 0;
		if (!text_u64(dot + 1, 100000, &n) || n == 0)
			return bad(text, err);
		out->index = (uint32_t)n;
	}
	if (slash)
		*slash = 0;
	const char *service = slash ? slash + 1 : dot ? copy : NULL;
	if (service && !text_is_label(service))
		return bad(text, err);
	if ((slash || !dot) && !text_is_label(copy))
		return bad(text, err);
	if (service)
		text_copy(out->service, sizeof(out->service), service);
	if (slash || !dot)
		text_copy(out->deployment, sizeof(out->deployment), copy);
	return 0;
}

static bool
has_service(const json_t *deployment, const char *name)
{
	const json_t *services = json_read_array(deployment, "services");

	for (size_t i = 0; i < json_read_count(services); i++) {
		if (strcmp(json_read_text(json_read_at(services, i), "name"), name) == 0)
			return true;
	}
	return false;
}

/* Deployments that have a service of this name, as a list for people. */
static size_t
owners(const json_t *deployments, const char *service, const char **one, char *list, size_t cap)
{
	size_t count = 0;

	list[0] = 0;
	for (size_t i = 0; i < json_read_count(deployments); i++) {
		const json_t *d = json_read_at(deployments, i);
		size_t length = strlen(list);

		if (!has_service(d, service))
			continue;
		*one = json_read_text(d, "name");
		text_format(list + length, cap - length, "%s%s/%s", count ? ", " : "", *one,
			    service);
		count++;
	}
	return count;
}

static size_t
beginnings(const json_t *deployments, const char *word, const char **one, char *list, size_t cap)
{
	size_t count = 0;

	list[0] = 0;
	for (size_t i = 0; i < json_read_count(deployments); i++) {
		const char *name = json_read_text(json_read_at(deployments, i), "name");
		size_t length = strlen(list);

		if (strcmp(name, word) == 0) {
			*one = name;
			return 1;
		}
		if (!text_starts(name, word))
			continue;
		*one = name;
		text_format(list + length, cap - length, "%s%s", count ? ", " : "", name);
		count++;
	}
	return count;
}

static int
unclear(const char *text, const char *list, struct err *err)
{
	err_set(err, ERR_USAGE, "\"%s\" may mean more than one", text);
	return err_why(err, "%s", list);
}

static int
no_deployment(const json_t *deployments, const char *name, struct err *err)
{
	const char *names[65] = {0};

	for (size_t i = 0; i < json_read_count(deployments) && i < 64; i++)
		names[i] = json_read_text(json_read_at(deployments, i), "name");
	const char *near = text_nearest(name, names);
	err_set(err, ERR_NOT_FOUND, "there is no deployment or service \"%s\"", name);
	if (near)
		return err_fix(err, "did you mean \"%s\"?", near);
	return err_fix(err, "zlayer status shows what there is");
}

static int
find_deployment(const json_t *deployments, const char *text, struct target *t, struct err *err)
{
	char list[ERR_TEXT_BYTES];
	const char *one = "";
	size_t count = beginnings(deployments, t->deployment, &one, list, sizeof(list));
	bool exact = count == 1 && strcmp(one, t->deployment) == 0;

	if (!exact && !t->service[0]) {
		char services[ERR_TEXT_BYTES];
		const char *owner = "";
		size_t with =
			owners(deployments, t->deployment, &owner, services, sizeof(services));

		if (with > 1)
			return unclear(text, services, err);
		if (with == 1) {
			text_copy(t->service, sizeof(t->service), t->deployment);
			text_copy(t->deployment, sizeof(t->deployment), owner);
			return 0;
		}
	}
	if (count == 0)
		return no_deployment(deployments, t->deployment, err);
	if (count > 1)
		return unclear(text, list, err);
	text_copy(t->deployment, sizeof(t->deployment), one);
	return 0;
}

static int
no_service(const json_t *deployment, const struct target *t, struct err *err)
{
	const json_t *services = json_read_array(deployment, "services");
	const char *names[65] = {0};

	for (size_t i = 0; i < json_read_count(services) && i < 64; i++)
		names[i] = json_read_text(json_read_at(services, i), "name");
	const char *near = text_nearest(t->service, names);
	err_set(err, ERR_NOT_FOUND, "%s has no service \"%s\"", t->deployment, t->service);
	if (near)
		return err_fix(err, "did you mean \"%s/%s\"?", t->deployment, near);
	return err_fix(err, "zlayer status %s shows its services", t->deployment);
}

static int
check_service(const json_t *deployments, const struct target *t, struct err *err)
{
	for (size_t i = 0; t->service[0] && i < json_read_count(deployments); i++) {
		const json_t *d = json_read_at(deployments, i);

		if (strcmp(json_read_text(d, "name"), t->deployment) != 0)
			continue;
		return has_service(d, t->service) ? 0 : no_service(d, t, err);
	}
	return 0;
}

int
target_match(const json_t *deployments, const char *text, struct target *out, struct err *err)
{
	char list[ERR_TEXT_BYTES];
	const char *one = "";

	if (target_parse(text, out, err) < 0)
		return -1;
	if (out->deployment[0]) {
		if (find_deployment(deployments, text, out, err) < 0)
			return -1;
		return check_service(deployments, out, err);
	}
	size_t count = owners(deployments, out->service, &one, list, sizeof(list));
	if (count == 0)
		return no_deployment(deployments, out->service, err);
	if (count > 1)
		return unclear(text, list, err);
	text_copy(out->deployment, sizeof(out->deployment), one);
	return 0;
}

/* NULL with err. */
static json_t *
ask(const struct cli *cli, const char *path, struct err *err)
{
	struct buf answer;
	json_t *root = NULL;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(cli, path, &answer, err) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, err);
	buf_fini(&answer);
	return root;
}

static int
check_replica(const struct cli *cli, const struct target *t, struct err *err)
{
	char text[TARGET_TEXT_BYTES], path[256];

	target_text(t, text);
	text_format(path, sizeof(path), "/v1/replicas?target=%s", text);
	json_t *root = ask(cli, path, err);
	if (!root)
		return -1;
	bool any = json_read_count(json_read_array(root, "items")) > 0;
	json_read_free(root);
	if (any)
		return 0;
	err_set(err, ERR_NOT_FOUND, "there is no replica %s", text);
	return err_fix(err, "zlayer ps -a %s/%s shows those that there are", t->deployment,
		       t->service);
}

int
target_resolve(const struct cli *cli, const char *text, struct target *out, struct err *err)
{
	if (target_parse(text, out, err) < 0)
		return -1;
	json_t *root = ask(cli, "/v1/deployments", err);
	if (!root)
		return -1;
	int rc = target_match(json_read_array(root, "items"), text, out, err);
	json_read_free(root);
	return rc == 0 && out->index ? check_replica(cli, out, err) : rc;
}

static int
the_only_one(const json_t *deployments, struct target *out, struct err *err)
{
	if (json_read_count(deployments) == 1) {
		text_copy(out->deployment, sizeof(out->deployment),
			  json_read_text(json_read_at(deployments, 0), "name"));
		return 0;
	}
	if (json_read_count(deployments) == 0)
		return err_set(err, ERR_NOT_FOUND, "nothing is deployed");
	err_set(err, ERR_USAGE, "there are %zu deployments: name one",
		json_read_count(deployments));
	return err_fix(err, "zlayer status shows them");
}

int
target_only(const struct cli *cli, const char *text, struct target *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	if (text) {
		if (target_resolve(cli, text, out, err) < 0)
			return -1;
		if (!out->service[0])
			return 0;
		return err_set(err, ERR_USAGE, "\"%s\" is not a deployment", text);
	}
	json_t *root = ask(cli, "/v1/deployments", err);
	if (!root)
		return -1;
	int rc = the_only_one(json_read_array(root, "items"), out, err);
	json_read_free(root);
	return rc;
}

void
target_text(const struct target *t, char out[TARGET_TEXT_BYTES])
{
	if (t->index)
		text_format(out, TARGET_TEXT_BYTES, "%s/%s.%u", t->deployment, t->service,
			    t->index);
	else
		text_format(out, TARGET_TEXT_BYTES, "%s%s%s", t->deployment,
			    t->service[0] ? "/" : "", t->service);
}
