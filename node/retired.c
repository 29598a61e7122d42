/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adding up the metric pages of the dead. A page may come from a process that was taken over before
 * it died: base/metric.h checks lengths and labels on a copy of each series, this file ids, kinds
 * and values.
 */
#include "node/retired.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "ring/metrics.h"

#define FILE_NAME "retired"
#define VALUE_MAX (UINT64_MAX / 4)

enum { FILE_MAGIC = 0x5445525a, FILE_VERSION = 1, FILE_MAX = 64 << 20 };

struct file_head {
	uint32_t magic;
	uint32_t version;
	uint32_t series_bytes;
	uint32_t count;
};

static bool
series_holds(const struct metric_series *s)
{
	const struct metrics_family *family = metrics_family(s->metric);

	if (!family || family->kind != (enum metric_kind)s->kind || s->kind == METRIC_GAUGE)
		return false;
	if (s->label_bytes >= METRIC_LABEL_BYTES ||
	    strnlen(s->labels, METRIC_LABEL_BYTES) != s->label_bytes)
		return false;
	for (size_t i = 0; i < METRIC_VALUES; i++)
		if (s->values[i] > VALUE_MAX)
			return false;
	return true;
}

static bool
add_series(struct metric_page *into, const struct metric_series *from)
{
	struct metric_labels labels = {.length = from->label_bytes};

	if (!series_holds(from))
		return false;
	memcpy(labels.text, from->labels, from->label_bytes);
	struct metric_series *to =
		metric_get(into, from->metric, (enum metric_kind)from->kind, &labels);
	/* The limit of series per service keeps the oldest. */
	if (from->created_ns < to->created_ns)
		__atomic_store_n(&to->created_ns, from->created_ns, __ATOMIC_RELAXED);
	size_t values = from->kind == METRIC_COUNTER ? 1 : METRIC_VALUES;
	for (size_t i = 0; i < values; i++) {
		uint64_t sum = __atomic_load_n(&to->values[i], __ATOMIC_RELAXED) + from->values[i];

		if (sum <= VALUE_MAX)
			__atomic_store_n(&to->values[i], sum, __ATOMIC_RELAXED);
	}
	return true;
}

size_t
retired_add(struct metric_page *into, const struct metric_page *from)
{
	size_t added = 0;
	uint32_t capacity = __atomic_load_n(&from->capacity, __ATOMIC_RELAXED);
	struct metric_series copy;

	for (uint32_t i = 0; i < capacity; i++)
		if (metric_read(from, i, &copy))
			added += add_series(into, &copy);
	return added;
}

int
retired_save(int dirfd, const struct metric_page *page, struct err *err)
{
	struct file_head head = {FILE_MAGIC, FILE_VERSION, sizeof(struct metric_series), 0};
	struct metric_series copy;
	struct buf out;

	buf_init(&out, MEM_NODE, FILE_MAX);
	buf_put(&out, &head, sizeof(head));
	for (uint32_t i = 0; i < page->capacity; i++) {
		if (!metric_read(page, i, &copy) || copy.kind == METRIC_GAUGE)
			continue;
		buf_put(&out, &copy, sizeof(copy));
		head.count++;
	}
	int rc = -1;
	if (!buf_ok(&out)) {
		(void)err_set(err, ERR_NO_MEMORY, "no memory to save the counters");
	} else {
		memcpy(out.data, &head, sizeof(head));
		rc = fd_replace(dirfd, FILE_NAME, out.data, out.length, 0600, err);
	}
	buf_fini(&out);
	return rc;
}

static int
load(struct metric_page *page, const struct buf *in, struct err *err)
{
	struct file_head head;
	struct metric_series one;

	if (in->length < sizeof(head))
		return err_set(err, ERR_CORRUPT, "the saved counters are damaged");
	memcpy(&head, in->data, sizeof(head));
	if (head.magic != FILE_MAGIC || head.version != FILE_VERSION ||
	    head.series_bytes != sizeof(one) ||
	    in->length != sizeof(head) + (size_t)head.count * sizeof(one))
		return err_set(err, ERR_CORRUPT, "the saved counters are damaged");
	for (uint32_t i = 0; i < head.count; i++) {
		memcpy(&one, in->data + sizeof(head) + (size_t)i * sizeof(one), sizeof(one));
		(void)add_series(page, &one);
	}
	return 0;
}

int
retired_load(int dirfd, struct metric_page *page, struct err *err)
{
	struct buf in;

	if (faccessat(dirfd, FILE_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0;
	buf_init(&in, MEM_NODE, FILE_MAX);
	int rc = fd_read_file(dirfd, FILE_NAME, &in, err);
	if (rc == 0)
		rc = load(page, &in, err);
	buf_fini(&in);
	return rc;
}
