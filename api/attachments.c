/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers of others on this node's mesh: what the CNI plugin asks for. Everything is runtime's;
 * here is only what it looks like. A list says who is attached, so that the plugin can tell which
 * of them no engine has any more.
 */
#include <string.h>
#include "api/body.h"
#include "api/route.h"
#include "api/rows.h"
#include "api/view.h"
#include "base/text.h"

enum { ANSWER_MAX = 8192 };

static void
put_address(struct json *j, const char *key, const struct addr *a)
{
	char text[ADDR_TEXT_BYTES];

	addr_put_ip(a, text, sizeof(text));
	json_text(j, key, addr_is_zero(a) ? NULL : text);
}

static void
put_mac(struct json *j, const char *key, const uint8_t mac[6])
{
	json_textf(j, key, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
		   mac[5]);
}

static void
put_row(struct json *j, const struct msg_attachment *row)
{
	json_u64(j, "id", row->id);
	VIEW_TEXT(j, "network", row->key.network);
	VIEW_TEXT(j, "container", row->key.container);
	VIEW_TEXT(j, "interface", row->key.interface);
	VIEW_TEXT(j, "name", row->name);
	VIEW_TEXT(j, "netns", row->netns);
	put_address(j, "addr4", &row->addr4);
	put_address(j, "addr6", &row->addr6);
	view_time(j, "created", row->created_wall_ns);
}

static void
put_item(struct json *j, struct server *s, const void *row)
{
	(void)s;
	json_object(j, NULL);
	put_row(j, row);
	json_end(j);
}

static int
by_key(const void *a, const void *b)
{
	const struct msg_attachment *x = *(const void *const *)a, *y = *(const void *const *)b;
	int order = strncmp(x->key.network, y->key.network, sizeof(x->key.network));

	if (order == 0)
		order = strncmp(x->key.container, y->key.container, sizeof(x->key.container));
	return order ? order
		     : strncmp(x->key.interface, y->key.interface, sizeof(x->key.interface));
}

static bool
is_wanted(const void *row, void *network)
{
	const struct msg_attachment *a = row;

	return strncmp(a->key.network, network, sizeof(a->key.network)) == 0;
}

void
attachments_list(struct call *call)
{
	char network[MSG_NAME];
	bool one = call_query(call, "network", network, sizeof(network));

	if (call->answered)
		return;
	rows_answer(call, &(struct rows_list){ROLE_RUNTIME, MSG_TABLE_ATTACHMENT,
					      one ? is_wanted : NULL, network, by_key, put_item});
}

/* ---- one of them ---- */

static int
take_member(void *arg, const char *key, json_t *value, struct err *err)
{
	struct msg_attach *op = arg;

	if (strcmp(key, "network") == 0)
		return body_text(value, key, op->key.network, sizeof(op->key.network), err);
	if (strcmp(key, "container") == 0)
		return body_text(value, key, op->key.container, sizeof(op->key.container), err);
	if (strcmp(key, "interface") == 0)
		return body_text(value, key, op->key.interface, sizeof(op->key.interface), err);
	if (strcmp(key, "netns") == 0)
		return body_text(value, key, op->netns, sizeof(op->netns), err);
	if (strcmp(key, "name") == 0)
		return body_text(value, key, op->name, sizeof(op->name), err);
	return body_unknown(key, "network, container, interface, netns, name", err);
}

static void
answer(struct call *call, unsigned status, const void *body, size_t bytes)
{
	const struct msg_attach_answer *a = body;
	struct buf b;
	struct json j;

	if (!call_answer_begin(call, "runtime", bytes == sizeof(*a), ANSWER_MAX, &b, &j))
		return;
	put_row(&j, &a->row);
	put_address(&j, "gateway4", &a->gateway4);
	put_address(&j, "gateway6", &a->gateway6);
	put_address(&j, "nameserver", &a->service4);
	json_u64(&j, "mtu", a->mtu);
	put_mac(&j, "mac", a->mac);
	put_mac(&j, "host_mac", a->host_mac);
	VIEW_TEXT(&j, "link", a->link);
	json_end(&j);
	call_json(call, status, NULL, &b);
}

static void
attached(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	(void)fds, (void)count;
	answer(call, 201, body, bytes);
}

static void
checked(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	(void)fds, (void)count;
	answer(call, 200, body, bytes);
}

static void
ask(struct call *call, uint16_t what, call_answer_fn done)
{
	struct msg_attach op = {0};
	struct err err = {0};

	if (!body_each(call, take_member, &op))
		return;
	if (msg_attach_check(&op, &err) < 0)
		call_problem(call, &err);
	else
		call_ask(call, ROLE_RUNTIME, what, &op, sizeof(op), NULL, 0, CALL_ASK_MS, done);
}

void
attachments_add(struct call *call)
{
	ask(call, MSG_OP_ATTACH, attached);
}

void
attachments_check(struct call *call)
{
	ask(call, MSG_OP_ATTACH_CHECK, checked);
}

static void
detached(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_detached *d = body;
	struct buf b;
	struct json j;

	(void)fds, (void)count;
	if (!call_answer_begin(call, "runtime", bytes == sizeof(*d), ANSWER_MAX, &b, &j))
		return;
	json_bool(&j, "removed", d->removed != 0);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

void
attachments_remove(struct call *call)
{
	struct msg_attach_key key = {0};
	struct err err = {0};

	call_query(call, "interface", key.interface, sizeof(key.interface));
	if (call->answered)
		return;
	if (!text_copy(key.network, sizeof(key.network), call->param[0]) ||
	    !text_copy(key.container, sizeof(key.container), call->param[1]))
		err_set(&err, ERR_INVALID, "the name of a network or container is too long");
	if (err.kind || msg_attach_key_check(&key, &err) < 0)
		call_problem(call, &err);
	else
		call_ask(call, ROLE_RUNTIME, MSG_OP_DETACH, &key, sizeof(key), NULL, 0, CALL_ASK_MS,
			 detached);
}

static void
is_ready(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	struct buf b;
	struct json j;

	(void)body, (void)fds, (void)count;
	if (!call_answer_begin(call, "runtime", bytes == 0, ANSWER_MAX, &b, &j))
		return;
	json_bool(&j, "ready", true);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

void
attachments_ready(struct call *call)
{
	call_ask(call, ROLE_RUNTIME, MSG_OP_ATTACH_READY, NULL, 0, NULL, 0, CALL_ASK_MS, is_ready);
}
