/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_UAPI_H
#define OVERLAY_WG_UAPI_H

/*
 * WireGuard's cross-platform configuration protocol (https://www.wireguard.com/xplatform), this
 * end of it, without I/O: lines come in, in pieces of any size; what is asked for goes out.
 *
 *   get=1\n\n               the device, and errno=0
 *   set=1\nKEY=VALUE\n..\n  a change, and errno=N
 *
 * N is 0 or minus an errno: EINVAL for a key or value that is wrong or stands where it may not,
 * EPROTO for what is not of this protocol, E2BIG for a limit, ENOMEM. A request with one wrong
 * line changes nothing at all: it is read to its end, then answered.
 *
 *   struct uapi u;
 *   uapi_init(&u);
 *   while bytes: switch (uapi_read(&u, bytes, n, &used)) {
 *   case UAPI_MORE:   all of it was used
 *   case UAPI_GET:    uapi_put_state(), uapi_next()
 *   case UAPI_SET:    apply u.change, uapi_put_code(), uapi_next()
 *   case UAPI_WRONG:  uapi_put_code(u.code), then, if u.broken, the end; else uapi_next() }
 *
 * An endpoint has no zone (%eth0), like all addresses here. Keys are wiped when they were used.
 * Threading: one owner.
 */

#include "base/buf.h"
#include "overlay/wg/setup.h"

enum {
	UAPI_LINE_MAX = 256,         /* bytes, with its end */
	UAPI_REQUEST_MAX = 16777216, /* bytes: of the most peers and prefixes there may be */
};

enum uapi_event { UAPI_MORE, UAPI_GET, UAPI_SET, UAPI_WRONG };

enum uapi_state {
	UAPI_BEGIN,
	UAPI_GETS, /* get=1 was read, the empty line was not */
	UAPI_DEVICE,
	UAPI_PEER,
};

struct uapi {
	enum uapi_state state;
	int code;    /* errno of the first wrong line; 0 */
	bool broken; /* nothing more can be understood */
	size_t line_bytes, request_bytes;
	struct setup change;
	char line[UAPI_LINE_MAX];
};

void uapi_init(struct uapi *u);
void uapi_fini(struct uapi *u);
/* Reads up to the end of a request; used_out: how many of the bytes. */
enum uapi_event uapi_read(struct uapi *u, const void *data, size_t bytes, size_t *used_out);
/* After the answer: for the next request. */
void uapi_next(struct uapi *u);

/* Answers. code: errno, or 0. */
void uapi_put_code(struct buf *out, int code);
/* All of it: its place is made at once, so that no key is left behind where it grew. False: no
 * memory, and nothing was written. Wipe what was. */
bool uapi_put_state(struct buf *out, const struct setup *s);
size_t uapi_state_bytes_max(const struct setup *s); /* at most so long */

#endif
