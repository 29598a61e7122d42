/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file is read twice: once to know that it is whole, once to take rows from it. The second
 * reading checks as much as the first, so a file that somebody changes in between is refused too.
 */
#include "scheduler/restore.h"

#include <string.h>
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"

enum { BLOB_BYTES_MAX = 64 << 20, ROWS_BYTES_MAX = 64 << 20 };

/* ---- reading ---- */

static int
read_all(int fd, const struct backup_read_calls *calls, struct backup_scan *out, struct err *err)
{
	struct backup_read *r;

	if (backup_read_new(calls, &r, err) < 0)
		return -1;
	int rc = backup_scan_feed(r, fd, err);
	if (rc == 0 && out)
		backup_scan_take(r, out);
	backup_read_free(r);
	return rc;
}

int
restore_check(int fd, struct backup_scan *out, struct err *err)
{
	static const struct backup_read_calls none;

	memset(out, 0, sizeof(*out));
	return read_all(fd, &none, out, err);
}

/* ---- writing ---- */

struct putting {
	struct store *s;
	bool shared; /* rows get new ids */
	uint32_t self;
	struct map ids[STORE_KINDS_]; /* from the file's to the store's */
	struct buf late;              /* deployments that name an operation, with the file's id */
	bool blob;                    /* one is being gathered */
	enum store_blob blob_kind;
	uint64_t blob_id;
	struct buf bytes;
};

static bool
is_wanted(enum store_kind kind)
{
	return kind != STORE_NODE && kind != STORE_TICKET && kind != STORE_CLUSTER &&
	       kind != STORE_VOTER;
}

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory to restore a backup");
}

static uint64_t
id_now(const struct putting *p, enum store_kind kind, uint64_t id)
{
	return p->shared ? (uint64_t)(uintptr_t)map_get_u64(&p->ids[kind], id) : id;
}

static int
end_blob(struct putting *p, struct err *err)
{
	static const uint8_t nothing;
	int rc = 0;

	if (p->blob && !buf_ok(&p->bytes))
		rc = no_memory(err);
	else if (p->blob)
		rc = store_put_blob(
			p->s, p->blob_kind, id_now(p, store_blob_parent(p->blob_kind), p->blob_id),
			p->bytes.length ? p->bytes.data : &nothing, p->bytes.length, err);
	p->blob = false;
	buf_reset(&p->bytes);
	return rc;
}

static int
put_part(struct putting *p, const struct store_change *change, struct err *err)
{
	const struct store_key *key = &change->key;

	if (!is_wanted(store_blob_parent(key->kind)))
		return 0;
	if (key->chunk == 0) {
		if (end_blob(p, err) < 0)
			return -1;
		p->blob = true;
		p->blob_kind = key->kind;
		p->blob_id = key->id;
	}
	buf_put(&p->bytes, change->data, change->bytes);
	return 0;
}

/* What a row says of others becomes what they are here. */
static void
turn(const struct putting *p, enum store_kind kind, void *row)
{
	if (kind == STORE_SERVICE) {
		struct store_service *v = row;

		v->deployment = id_now(p, STORE_DEPLOYMENT, v->deployment);
	} else if (kind == STORE_REVISION) {
		struct store_revision *v = row;

		v->deployment = id_now(p, STORE_DEPLOYMENT, v->deployment);
	} else if (kind == STORE_PIN) {
		struct store_pin *v = row;

		v->revision = id_now(p, STORE_REVISION, v->revision);
	} else if (kind == STORE_OPERATION) {
		struct store_operation *v = row;

		v->deployment = id_now(p, STORE_DEPLOYMENT, v->deployment);
		v->service = id_now(p, STORE_SERVICE, v->service);
	} else if (kind == STORE_ROUTE) {
		struct store_route *v = row;

		v->service = id_now(p, STORE_SERVICE, v->service);
	} else if (kind == STORE_CRON) {
		struct store_cron *v = row;

		v->service = id_now(p, STORE_SERVICE, v->service);
	} else if (kind == STORE_FIRING) {
		struct store_firing *v = row;

		/* Its run was of a node that is not, or was made anew since: nobody has it. */
		v->service = id_now(p, STORE_SERVICE, v->service);
		v->owner = p->self;
		v->replica = 0;
	}
}

/* Under a new id. A deployment names its operation, which comes later and names the deployment. */
static int
put_anew(struct putting *p, enum store_kind kind, void *row, struct err *err)
{
	struct store_deployment *d = row;
	uint64_t head[2], none[2] = {0}, operation = 0;

	memcpy(head, row, sizeof(head));
	if (kind == STORE_DEPLOYMENT) {
		operation = d->operation;
		d->operation = 0;
	}
	memcpy(row, none, sizeof(none));
	if (store_put(p->s, kind, row, err) < 0)
		return -1;
	memcpy(none, row, sizeof(none));
	if (map_put_u64(&p->ids[kind], head[0], (void *)(uintptr_t)none[0]) < 0)
		return no_memory(err);
	if (operation) {
		d->operation = operation;
		buf_put(&p->late, d, sizeof(*d));
	}
	return buf_ok(&p->late) ? 0 : no_memory(err);
}

static int
put_row(struct putting *p, enum store_kind kind, const void *from, struct err *err)
{
	size_t bytes = store_shape(kind)->row_bytes;
	defer_free void *row = mem_alloc(MEM_SCHEDULER, bytes);

	if (!row)
		return no_memory(err);
	memcpy(row, from, bytes);
	turn(p, kind, row);
	return p->shared ? put_anew(p, kind, row, err) : store_place(p->s, kind, row, err);
}

static int
take(void *arg, const struct store_change *change, const void *row, struct err *err)
{
	struct putting *p = arg;

	if (!row)
		return put_part(p, change, err);
	if (end_blob(p, err) < 0)
		return -1;
	return is_wanted(change->key.kind) ? put_row(p, change->key.kind, row, err) : 0;
}

static int
put_late(struct putting *p, struct err *err)
{
	struct cursor in;

	cursor_init(&in, p->late.data, p->late.length);
	while (cursor_left(&in)) {
		struct store_deployment d;

		memcpy(&d, cursor_take(&in, sizeof(d)), sizeof(d));
		d.operation = id_now(p, STORE_OPERATION, d.operation);
		if (d.operation && store_put(p->s, STORE_DEPLOYMENT, &d, err) < 0)
			return -1;
	}
	return 0;
}

static int
clear(struct store *s, bool shared, struct err *err)
{
	if (!shared && store_drop_through(s, STORE_REPLICA, INT64_MAX, err) < 0)
		return -1;
	if (store_drop_through(s, STORE_DEPLOYMENT, INT64_MAX, err) < 0)
		return -1;
	return store_drop_through(s, STORE_OPERATION, INT64_MAX, err);
}

int
restore_put(int fd, struct store *s, uint32_t self, struct err *err)
{
	struct putting p = {.s = s, .self = self};
	const struct backup_read_calls calls = {.change = take, .arg = &p};
	struct store_status status;

	store_status(s, &status);
	p.shared = status.shared;
	for (unsigned kind = 0; kind < STORE_KINDS_; kind++)
		map_init(&p.ids[kind], MEM_SCHEDULER);
	buf_init(&p.late, MEM_SCHEDULER, ROWS_BYTES_MAX);
	buf_init(&p.bytes, MEM_SCHEDULER, BLOB_BYTES_MAX);
	int rc = clear(s, p.shared, err);
	if (rc == 0)
		rc = read_all(fd, &calls, NULL, err);
	if (rc == 0)
		rc = end_blob(&p, err);
	if (rc == 0)
		rc = put_late(&p, err);
	for (unsigned kind = 0; kind < STORE_KINDS_; kind++)
		map_fini(&p.ids[kind]);
	buf_fini(&p.late);
	buf_fini(&p.bytes);
	return rc;
}
