/* SPDX-License-Identifier: Apache-2.0 */
/* The disk of a simulated node. It keeps only what is on the platter; what was written and not yet
 * made durable is in the operation, and the draw decides how much of it a crash leaves. */
#include "tests/sim/disk.h"

#include <assert.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"

enum { SYNC_NS_MIN = 20000, SYNC_NS_USUAL = 2000000, SYNC_NS_MOST = 5000000000 };

void
sim_disk_init(struct disk *d, struct draw draw, struct parcels *parcels)
{
	memset(d, 0, sizeof(*d));
	d->draw = draw;
	d->parcels = parcels;
	d->sync_ns_max = SYNC_NS_USUAL;
}

static void
drop_ops(struct disk *d)
{
	for (size_t i = 0; i < d->op_count; i++)
		parcel_put(d->parcels, d->ops[i].parcel);
	d->op_count = 0;
}

void
sim_disk_fini(struct disk *d)
{
	drop_ops(d);
	mem_free(d->ops);
	mem_free(d->answered);
	for (size_t i = 0; i < d->file_count; i++)
		mem_free(d->files[i].data);
	d->file_count = 0;
	d->ops = NULL;
}

bool
sim_disk_submit(struct disk *d, bool replace, uint16_t what, uint64_t token, struct parcel *parcel)
{
	if (token == 0 || sim_disk_token(d, token) == DISK_PENDING) {
		parcel_put(d->parcels, parcel);
		return false;
	}
	if (d->op_count == d->op_room) {
		d->op_room = d->op_room ? d->op_room * 2 : 4;
		d->ops = mem_resize(MEM_BASE, d->ops, d->op_room, sizeof(d->ops[0]));
		assert(d->ops);
	}
	d->ops[d->op_count++] = (struct disk_op){replace, what, token, parcel};
	return true;
}

bool
sim_disk_busy(const struct disk *d)
{
	return d->op_count > 0;
}

uint64_t
sim_disk_duration_ns(struct disk *d)
{
	uint64_t ns = draw_scale(&d->draw, SYNC_NS_MIN, d->sync_ns_max);

	if (d->slow > 1)
		ns *= d->slow;
	return ns < SYNC_NS_MOST ? ns : SYNC_NS_MOST;
}

const struct disk_file *
sim_disk_file(const struct disk *d, uint16_t what)
{
	for (size_t i = 0; i < d->file_count; i++)
		if (d->files[i].what == what)
			return &d->files[i];
	return NULL;
}

static struct disk_file *
make_file(struct disk *d, uint16_t what)
{
	size_t i = 0;

	while (i < d->file_count && d->files[i].what < what)
		i++;
	if (i < d->file_count && d->files[i].what == what)
		return &d->files[i];
	assert(d->file_count < DISK_FILES_MAX);
	memmove(&d->files[i + 1], &d->files[i], (d->file_count - i) * sizeof(d->files[0]));
	d->file_count++;
	d->files[i] = (struct disk_file){.what = what};
	return &d->files[i];
}

static void
add_bytes(struct disk_file *f, const uint8_t *data, size_t bytes)
{
	if (bytes == 0)
		return;
	if (f->bytes + bytes > f->room) {
		f->room = (f->bytes + bytes) * 2;
		f->data = mem_resize(MEM_BASE, f->data, f->room, 1);
		assert(f->data);
	}
	if (data)
		memcpy(f->data + f->bytes, data, bytes);
	else
		memset(f->data + f->bytes, 0, bytes);
	f->bytes += bytes;
}

static void
carry_out(struct disk *d, const struct disk_op *op)
{
	struct disk_file *f = make_file(d, op->what);

	if (op->replace)
		f->bytes = 0;
	add_bytes(f, op->parcel->data, op->parcel->bytes);
}

/* Some of what it would have done. */
static void
tear(struct disk *d, const struct disk_op *op)
{
	size_t bytes = op->parcel->bytes, part = (size_t)draw_below(&d->draw, bytes + 1);
	uint64_t how = draw_below(&d->draw, 4);
	struct disk_file *f;

	if (how == 0)
		return;
	if (how == 1 || op->replace) {
		if (how == 1)
			carry_out(d, op);
		return;
	}
	f = make_file(d, op->what);
	add_bytes(f, op->parcel->data, part);
	if (how == 2)
		add_bytes(f, NULL, bytes - part);
}

/* Until the ring has its full length its numbers are its indexes, so growing moves nothing. */
static void
note_answer(struct disk *d, uint64_t token, bool good)
{
	if (d->answers == d->answered_room && d->answered_room < DISK_TOKENS) {
		d->answered_room = d->answered_room ? d->answered_room * 2 : 4;
		d->answered =
			mem_resize(MEM_BASE, d->answered, d->answered_room, sizeof(d->answered[0]));
		assert(d->answered);
	}
	d->answered[d->answers++ % d->answered_room] = (struct disk_answer){token, good};
}

int
sim_disk_finish(struct disk *d, uint64_t *token_out)
{
	struct disk_op op = d->ops[0];
	int status = 0;

	assert(d->op_count > 0);
	d->op_count--;
	memmove(d->ops, d->ops + 1, d->op_count * sizeof(d->ops[0]));
	if (d->full)
		status = ERR_NO_SPACE;
	else if (draw_chance(&d->draw, d->fail_ppm))
		status = ERR_SYSTEM;
	if (status == 0)
		carry_out(d, &op);
	else
		tear(d, &op);
	note_answer(d, op.token, status == 0);
	*token_out = op.token;
	parcel_put(d->parcels, op.parcel);
	return status;
}

void
sim_disk_crash(struct disk *d)
{
	if (d->op_count > 0)
		tear(d, &d->ops[0]);
	drop_ops(d);
	d->answers = 0;
}

enum disk_token
sim_disk_token(const struct disk *d, uint64_t token)
{
	uint64_t room = d->answered_room, known = d->answers < room ? d->answers : room;

	for (size_t i = 0; i < d->op_count; i++)
		if (d->ops[i].token == token)
			return DISK_PENDING;
	for (uint64_t n = 1; n <= known; n++) {
		size_t i = (d->answers - n) % room;

		if (d->answered[i].token == token)
			return d->answered[i].good ? DISK_GOOD : DISK_BAD;
	}
	return DISK_UNKNOWN;
}
