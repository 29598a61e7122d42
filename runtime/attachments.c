/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attachment is made in this order: address (on disk before anybody sees it), link, the row that
 * tells the data path of it, with what it is; when that lets packets through, the link's end in the
 * fabric, its line on disk, its row, the answer.
 * Whatever goes wrong before the answer takes all of it back, and so does the sweep of runtime's
 * next start, for which a link without a line is nobody's. Removing goes the other way round and
 * never fails: what is left of it is swept, too.
 *
 * Nothing here holds a namespace open: a container that has ended takes its link along, and that is
 * how its end is seen when nobody tells of it.
 */
#include "runtime/attachments.h"

#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/attachment_link.h"

enum { MARGIN_MS = 1000 };
#define MARGIN_NS (MARGIN_MS * UINT64_C(1000000))

static const char file[] = "attachments";

struct attachments {
	struct container_host *host;
	struct attachment_book book;
};

/* ---- on disk ---- */

static int
save(const struct attachments *all, struct err *err)
{
	struct buf text;
	buf_init(&text, MEM_RUNTIME, ATTACHMENT_TEXT_MAX);
	attachment_book_save(&all->book, &text);
	int done = buf_ok(&text) ? fd_replace(all->host->place.data, file, text.data, text.length,
					      0600, err)
				 : err_set(err, ERR_NO_MEMORY, "no memory to keep the attachments");
	buf_fini(&text);
	return done;
}

static int
load(struct attachments *all, struct err *err)
{
	struct buf text;
	buf_init(&text, MEM_RUNTIME, ATTACHMENT_TEXT_MAX);
	int done = fd_read_file(all->host->place.data, file, &text, err);
	if (done < 0 && err->kind == ERR_NOT_FOUND) {
		err_clear(err);
		done = 0;
	} else if (done == 0) {
		done = attachment_book_load(&all->book, buf_cstr(&text), err);
	}
	buf_fini(&text);
	return done;
}

/* ---- rows ---- */

static int
set_row(struct attachments *all, enum msg_table table, uint64_t id, const void *row,
	struct err *err)
{
	if (ring_table_set(station_writer(all->host->st), table, id, row, NULL) != RING_OK)
		return err_set(err, ERR_LIMIT, "no room in a table for an attachment");
	station_kick(all->host->st);
	return 0;
}

/* Its addresses are still taken. */
static void
take_down(struct attachments *all, uint64_t id)
{
	struct ring_writer *w = station_writer(all->host->st);
	net_remove(all->host->net, id);
	ring_table_remove(w, MSG_TABLE_ATTACHMENT, id);
	ring_table_remove(w, MSG_TABLE_VETH, id);
	station_kick(all->host->st);
	attachment_book_remove(&all->book, id);
}

static void
undo(struct attachments *all, const struct attachment *a)
{
	uint64_t id = a->row.id;
	take_down(all, id);
	container_link_free_addresses(all->host, &id, 1);
}

/* However many they are: the two files are written once. */
static void
forget(struct attachments *all, const uint64_t *ids, size_t count)
{
	struct err err = {0};
	if (count == 0)
		return;
	for (size_t i = 0; i < count; i++)
		take_down(all, ids[i]);
	container_link_free_addresses(all->host, ids, count);
	/* A line too many is dropped at the next start: its link is gone. */
	if (save(all, &err) < 0)
		log_err(LOG_WARN, "attachments that are gone are still noted", &err);
}

static void
log_attachment(const char *what, const struct attachment *a)
{
	char addr[ADDR_TEXT_BYTES];
	addr_put_ip(&a->row.addr4, addr, sizeof(addr));
	log_event(LOG_INFO, what, log_s("network", a->row.key.network),
		  log_s("container", a->row.key.container),
		  log_s("interface", a->row.key.interface), log_s("addr4", addr), LOG_END);
}

/* ---- attach ---- */

static void
answer(const struct attachments *all, const struct attachment *a,
       const struct station_request *request)
{
	const struct msg_prefix *prefix = &all->host->prefix;
	struct msg_attach_answer out = {
		.row = a->row,
		.gateway4 = prefix->gateway4,
		.gateway6 = prefix->gateway6,
		.service4 = prefix->service4,
		.mtu = prefix->mtu,
	};
	struct net_link_info info;
	struct err err = {0};
	if (net_find(all->host->net, a->row.id, &info, &err) < 0) {
		station_answer_err(all->host->st, request, &err);
		return;
	}
	memcpy(out.mac, info.mac, sizeof(out.mac));
	memcpy(out.host_mac, info.host_mac, sizeof(out.host_mac));
	net_link_name(a->row.id, out.link);
	station_answer(all->host->st, request, &out, sizeof(out), NULL, 0);
}

static void
refuse(struct attachments *all, struct attachment *a, const struct err *err)
{
	struct station_request request = a->request;
	undo(all, a);
	station_answer_err(all->host->st, &request, err);
}

static void
finish(struct attachments *all, struct attachment *a)
{
	struct err err = {0};
	if (attachment_link_connect(all->host, a, &err) < 0) {
		refuse(all, a, &err);
		return;
	}
	a->whole = true;
	if (save(all, &err) < 0 ||
	    set_row(all, MSG_TABLE_ATTACHMENT, a->row.id, &a->row, &err) < 0) {
		a->whole = false;
		refuse(all, a, &err);
		return;
	}
	log_attachment("a container of others is attached", a);
	answer(all, a, &a->request);
}

/* Not whole: waits for the data path, which says yes or why not. */
static void
step(struct attachments *all, struct attachment *a)
{
	struct net_link_info info;
	struct err err = {0};
	if (net_find(all->host->net, a->row.id, &info, &err) < 0) {
		refuse(all, a, &err);
		return;
	}
	switch (container_link_verdict(all->host, a->row.id, info.ifindex, &err)) {
	case CONTAINER_LINK_PASSES:
		finish(all, a);
		return;
	case CONTAINER_LINK_REFUSED:
		refuse(all, a, &err);
		return;
	case CONTAINER_LINK_WAITS:
		break;
	}
	if (world_mono_ns() < a->give_up_mono_ns)
		return;
	err_set(&err, ERR_TIMEOUT, "the data path has not taken the container's link in time");
	err_fix(&err, "try again; zlayer status says how the node is");
	refuse(all, a, &err);
}

static uint64_t
choose_id(const struct attachments *all)
{
	struct world world;
	uint64_t id;
	world_real(&world);
	do {
		id = (world_random_u64(&world) & (MSG_ATTACHMENT_BIT - 1)) | MSG_ATTACHMENT_BIT;
	} while (attachment_book_get(&all->book, id) != NULL);
	return id;
}

static int
is_ready(const struct attachments *all, struct err *err)
{
	if (all->host->have_prefix && all->host->dataplane != NULL)
		return 0;
	err_set(err, ERR_UNREACHABLE, "this node cannot give a container an address now");
	err_why(err, all->host->have_prefix ? "its data path has not started"
					    : "it does not know its own addresses yet");
	return err_fix(err, "try again in a few seconds");
}

static int
attach(struct attachments *all, const struct station_request *request,
       const struct msg_attach *body, struct err *err)
{
	struct msg_attachment row = {.key = body->key, .created_wall_ns = world_wall_ns()};
	struct attachment *a;
	if (msg_attach_check(body, err) < 0 || is_ready(all, err) < 0)
		return -1;
	if (attachment_book_find(&all->book, &body->key) != NULL) {
		err_set(err, ERR_CONFLICT, "%s of container %s is attached to %s already",
			body->key.interface, body->key.container, body->key.network);
		return err_fix(err, "remove that first (DEL)");
	}
	defer_close int ns = net_guest_open(all->host->net, body->netns, err);
	if (ns < 0)
		return -1;
	row.id = choose_id(all);
	text_copy(row.name, sizeof(row.name), body->name);
	text_copy(row.netns, sizeof(row.netns), body->netns);
	if (attachment_book_add(&all->book, &row, &a, err) < 0)
		return -1;
	a->request = *request;
	a->give_up_mono_ns =
		request->deadline_mono_ns > MARGIN_NS ? request->deadline_mono_ns - MARGIN_NS : 0;
	if (attachment_link_make(all->host, a, ns, err) < 0) {
		undo(all, a);
		return -1;
	}
	step(all, a);
	return 0;
}

/* ---- the others ---- */

static int
detach(struct attachments *all, const struct station_request *request,
       const struct msg_attach_key *key, struct err *err)
{
	struct msg_detached out = {0};
	struct err told = {0};
	if (msg_attach_key_check(key, err) < 0)
		return -1;
	struct attachment *a = attachment_book_find(&all->book, key);
	if (a != NULL && !a->whole) {
		err_set(&told, ERR_INTERRUPTED, "it was removed while it was attached");
		refuse(all, a, &told);
	} else if (a != NULL) {
		log_attachment("a container of others is detached", a);
		forget(all, &(uint64_t){a->row.id}, 1);
	}
	out.removed = a != NULL;
	station_answer(all->host->st, request, &out, sizeof(out), NULL, 0);
	return 0;
}

static int
check(struct attachments *all, const struct station_request *request, const struct msg_attach *body,
      struct err *err)
{
	struct net_config config;
	struct net_link_info info;
	if (msg_attach_check(body, err) < 0 || is_ready(all, err) < 0)
		return -1;
	const struct attachment *a = attachment_book_find(&all->book, &body->key);
	if (a == NULL || !a->whole)
		return err_set(err, ERR_NOT_FOUND, "%s of container %s is not attached to %s",
			       body->key.interface, body->key.container, body->key.network);
	defer_close int ns = net_guest_open(all->host->net, body->netns, err);
	if (ns < 0)
		return -1;
	const struct net_guest guest = {.ns = ns, .device = a->row.key.interface};
	attachment_link_config(all->host, a, &guest, &config);
	if (net_guest_check(all->host->net, &config, err) < 0 ||
	    net_find(all->host->net, a->row.id, &info, err) < 0)
		return -1;
	if (container_link_verdict(all->host, a->row.id, info.ifindex, err) !=
	    CONTAINER_LINK_PASSES) {
		if (err->kind == 0)
			err_set(err, ERR_CONFLICT, "the data path has not taken the link");
		return -1;
	}
	answer(all, a, request);
	return 0;
}

/* ---- */

bool
attachments_has(const struct attachments *all, uint64_t id)
{
	return attachment_book_get(&all->book, id) != NULL;
}

/* Removing is not allowed while the table is walked. */
static size_t
list_ids(const struct attachments *all, bool whole, uint64_t out[MSG_ATTACHMENTS_MAX])
{
	struct map_iter it = {0};
	size_t count = 0;
	while (map_next(&all->book.entries, &it)) {
		const struct attachment *a = it.value;
		if (a->whole == whole)
			out[count++] = a->row.id;
	}
	return count;
}

void
attachments_step(struct attachments *all)
{
	uint64_t ids[MSG_ATTACHMENTS_MAX];
	size_t count = list_ids(all, false, ids);
	for (size_t i = 0; i < count; i++)
		step(all, attachment_book_get(&all->book, ids[i]));
	count = list_ids(all, true, ids);
	for (size_t i = 0; i < count; i++)
		attachment_link_follow(all->host, attachment_book_get(&all->book, ids[i]));
}

void
attachments_sweep(struct attachments *all)
{
	uint64_t ids[MSG_ATTACHMENTS_MAX];
	struct net_link_info info;
	struct err err = {0};
	attachments_step(all);
	size_t count = list_ids(all, true, ids), gone = 0;
	for (size_t i = 0; i < count; i++) {
		if (net_find(all->host->net, ids[i], &info, &err) == 0 || err.kind != ERR_NOT_FOUND)
			continue;
		log_attachment("a container of others is gone",
			       attachment_book_get(&all->book, ids[i]));
		ids[gone++] = ids[i];
	}
	forget(all, ids, gone);
}

/* 1: it is there, 0: it is gone. The addresses are those that it has, whatever the node's prefix is
 * by now. */
static int
pick_up(struct attachments *all, struct attachment *a, struct err *err)
{
	const struct address_pool_entry *entry = address_pool_find(&all->host->pool, a->row.id);
	struct net_link_info info;
	if (entry == NULL)
		return 0;
	if (net_find(all->host->net, a->row.id, &info, err) < 0)
		return err->kind == ERR_NOT_FOUND ? 0 : -1;
	a->row.addr4 = entry->addr4;
	a->row.addr6 = entry->addr6;
	if (attachment_link_show(all->host, a, &info, err) < 0 ||
	    set_row(all, MSG_TABLE_ATTACHMENT, a->row.id, &a->row, err) < 0)
		return -1;
	return 1;
}

static int
pick_up_all(struct attachments *all, struct err *err)
{
	uint64_t ids[MSG_ATTACHMENTS_MAX];
	size_t count = list_ids(all, true, ids), gone = 0;
	for (size_t i = 0; i < count; i++) {
		int there = pick_up(all, attachment_book_get(&all->book, ids[i]), err);
		if (there < 0)
			return -1;
		err_clear(err);
		if (!there)
			ids[gone++] = ids[i];
	}
	forget(all, ids, gone);
	return 0;
}

/* Who reads the table knows from its version that all is in it, also when that is nothing. */
static int
mark(struct attachments *all, struct err *err)
{
	static const struct msg_attachment nothing;
	if (set_row(all, MSG_TABLE_ATTACHMENT, MSG_ATTACHMENT_BIT, &nothing, err) < 0)
		return -1;
	ring_table_remove(station_writer(all->host->st), MSG_TABLE_ATTACHMENT, MSG_ATTACHMENT_BIT);
	return 0;
}

int
attachments_open(struct container_host *host, struct attachments **out, struct err *err)
{
	struct attachments *all = mem_zalloc(MEM_RUNTIME, sizeof(*all));
	if (all == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory for attachments");
	all->host = host;
	attachment_book_init(&all->book);
	if (load(all, err) < 0 || pick_up_all(all, err) < 0 || mark(all, err) < 0) {
		attachments_close(all);
		return -1;
	}
	*out = all;
	return 0;
}

void
attachments_close(struct attachments *all)
{
	if (all == NULL)
		return;
	attachment_book_fini(&all->book);
	mem_free(all);
}

bool
attachments_request(struct attachments *all, const struct station_request *request,
		    const void *body, size_t bytes)
{
	struct msg_attach attach_body;
	struct msg_attach_key key;
	struct err err = {0};
	int done = err_set(&err, ERR_INVALID, "a request about an attachment is malformed");
	switch (request->op) {
	case MSG_OP_ATTACH:
	case MSG_OP_ATTACH_CHECK:
		if (bytes != sizeof(attach_body))
			break;
		err_clear(&err);
		memcpy(&attach_body, body, sizeof(attach_body));
		done = request->op == MSG_OP_ATTACH ? attach(all, request, &attach_body, &err)
						    : check(all, request, &attach_body, &err);
		break;
	case MSG_OP_DETACH:
		if (bytes != sizeof(key))
			break;
		err_clear(&err);
		memcpy(&key, body, sizeof(key));
		done = detach(all, request, &key, &err);
		break;
	case MSG_OP_ATTACH_READY:
		err_clear(&err);
		done = is_ready(all, &err);
		if (done == 0)
			station_answer(all->host->st, request, NULL, 0, NULL, 0);
		break;
	default:
		return false;
	}
	if (done < 0)
		station_answer_err(all->host->st, request, &err);
	return true;
}
