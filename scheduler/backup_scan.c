/* SPDX-License-Identifier: Apache-2.0 */
/* Slices of a file; what is wrong with them is said by backup_read.c, who asks knows the name. */
#include "scheduler/backup_scan.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"

enum { SLICE_BYTES = 64 << 10 };

int
backup_scan_feed(struct backup_read *r, int fd, struct err *err)
{
	defer_free uint8_t *slice = mem_alloc(MEM_SCHEDULER, SLICE_BYTES);

	if (!slice)
		return err_set(err, ERR_NO_MEMORY, "no memory to read a backup");
	for (off_t at = 0;;) {
		ssize_t n = pread(fd, slice, SLICE_BYTES, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot read the backup");
		if (n == 0)
			return backup_read_end(r, err);
		if (backup_read_add(r, slice, (size_t)n, err) < 0)
			return -1;
		at += n;
	}
}

void
backup_scan_take(const struct backup_read *r, struct backup_scan *out)
{
	out->head = *backup_read_head(r);
	out->bytes = backup_read_bytes(r);
	memcpy(out->sha256, backup_read_sha256(r), sizeof(out->sha256));
	for (unsigned kind = 0; kind < STORE_KINDS_; kind++)
		out->rows[kind] = backup_read_rows(r, kind);
}
