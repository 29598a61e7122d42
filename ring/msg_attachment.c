/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container engine may call its networks, containers and interfaces. Asked for by the
 * plugin, by api and by runtime with the same words: each refuses what the others would.
 */
#include "ring/msg_attachment.h"

#include <ctype.h>
#include <string.h>
#include "base/text.h"

/* CNI specification 1.1.0, "Network configuration format" and "Parameters". */
static bool
is_cni_name(const char *text)
{
	if (!isalnum((unsigned char)text[0]))
		return false;
	for (const char *c = text; *c != '\0'; c++)
		if (!isalnum((unsigned char)*c) && strchr("_.-", *c) == NULL)
			return false;
	return true;
}

/* dev_valid_name() of the kernel, and no name that its settings have for all devices. */
static bool
is_link_name(const char *text)
{
	static const char *const others[] = {"", ".", "..", "all", "default"};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(text, others[i]) == 0)
			return false;
	for (const char *c = text; *c != '\0'; c++)
		if (!isgraph((unsigned char)*c) || *c == '/' || *c == ':' || *c == '%')
			return false;
	return true;
}

int
msg_attach_key_check(const struct msg_attach_key *key, struct err *err)
{
	if (!MSG_OK(key->network) || !MSG_OK(key->container) || !MSG_OK(key->interface))
		return err_set(err, ERR_INVALID, "a text of an attachment does not end");
	if (!is_cni_name(key->network)) {
		err_set(err, ERR_INVALID, "\"%s\" cannot be a network's name", key->network);
		return err_fix(err, "a letter or digit, then letters, digits and _.-");
	}
	if (!is_cni_name(key->container)) {
		err_set(err, ERR_INVALID, "\"%s\" cannot be a container's id", key->container);
		return err_fix(err, "a letter or digit, then letters, digits and _.-");
	}
	if (!is_link_name(key->interface)) {
		err_set(err, ERR_INVALID, "\"%s\" cannot be an interface's name", key->interface);
		return err_fix(
			err,
			"1 to 15 printable characters without / : and %%, and not all or default");
	}
	return 0;
}

int
msg_attach_check(const struct msg_attach *attach, struct err *err)
{
	if (msg_attach_key_check(&attach->key, err) < 0)
		return -1;
	if (!MSG_OK(attach->name) || !MSG_OK(attach->netns))
		return err_set(err, ERR_INVALID, "a text of an attachment does not end");
	if (attach->name[0] != '\0' && !text_is_label(attach->name))
		return err_set(err, ERR_INVALID, "\"%s\" is not a label of DNS", attach->name);
	if (attach->netns[0] != '/' || strchr(attach->netns, '\n') != NULL)
		return err_set(err, ERR_INVALID, "\"%s\" is not the path of a network namespace",
			       attach->netns);
	return 0;
}
