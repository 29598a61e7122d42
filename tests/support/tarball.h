/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_TARBALL_H
#define TESTS_SUPPORT_TARBALL_H

/* Writes tar archives into a buffer, right and wrong ones. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"

static inline void
tarball_checksum(uint8_t *h)
{
	unsigned sum = 0;

	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
}

static inline void
tarball_pad(struct buf *b)
{
	static const uint8_t zeros[512];

	buf_put(b, zeros, -b->length & 511);
}

struct tarball_entry {
	const char *path;
	char type; /* '0' when 0 */
	const char *link;
	unsigned mode; /* 0644 or 0755 when 0 */
	unsigned uid, gid;
	uint64_t mtime;
	const void *data;
	size_t bytes;
};

static inline void
tarball_add(struct buf *b, const struct tarball_entry *e)
{
	uint8_t h[512] = {0};
	char type = e->type ? e->type : '0';
	unsigned mode = e->mode ? e->mode : type == '5' ? 0755 : 0644;

	memcpy(h, e->path, strnlen(e->path, 100));
	snprintf((char *)h + 100, 8, "%07o", mode & 07777777);
	snprintf((char *)h + 108, 8, "%07o", e->uid & 07777777);
	snprintf((char *)h + 116, 8, "%07o", e->gid & 07777777);
	snprintf((char *)h + 124, 12, "%011llo", (unsigned long long)e->bytes & 077777777777);
	snprintf((char *)h + 136, 12, "%011llo", (unsigned long long)e->mtime & 077777777777);
	h[156] = (uint8_t)type;
	if (e->link)
		memcpy(h + 157, e->link, strnlen(e->link, 100));
	memcpy(h + 257, "ustar\00000", 8);
	tarball_checksum(h);
	buf_put(b, h, sizeof(h));
	buf_put(b, e->data, e->bytes);
	tarball_pad(b);
}

static inline void
tarball_file(struct buf *b, const char *path, const char *text)
{
	tarball_add(b, &(struct tarball_entry){.path = path, .data = text, .bytes = strlen(text)});
}

static inline void
tarball_folder(struct buf *b, const char *path)
{
	tarball_add(b, &(struct tarball_entry){.path = path, .type = '5'});
}

static inline void
tarball_link(struct buf *b, char type, const char *path, const char *to)
{
	tarball_add(b, &(struct tarball_entry){.path = path, .type = type, .link = to});
}

/* One record of a pax header, for the next entry. */
static inline void
tarball_pax(struct buf *b, const char *key, const void *value, size_t bytes)
{
	char text[8192];
	char length[16];
	size_t total = strlen(key) + bytes + 3;
	size_t digits = (size_t)snprintf(length, sizeof(length), "%zu", total + 1);

	digits = (size_t)snprintf(length, sizeof(length), "%zu", total + digits);
	int head = snprintf(text, sizeof(text), "%zu %s=", total + digits, key);

	memcpy(text + head, value, bytes);
	text[(size_t)head + bytes] = '\n';
	tarball_add(b, &(struct tarball_entry){
			       .path = "pax", .type = 'x', .data = text, .bytes = total + digits});
}

static inline void
tarball_end(struct buf *b)
{
	static const uint8_t zeros[1024];

	buf_put(b, zeros, sizeof(zeros));
}

#endif
