/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_KERNEL_WIRE_H
#define OVERLAY_WG_KERNEL_WIRE_H

/*
 * What is said to the kernel about its WireGuard devices, and what it answers, as bytes: rtnetlink
 * (7) for a link of kind "wireguard", generic netlink's family "wireguard", version 1
 * (<linux/wireguard.h>). A change and a state may be longer than a message: a change is said in
 * several, a state is put together of several. No I/O; messages are built and read with libmnl,
 * opened by kernel_wire_open.
 *
 * Writers give the bytes of a message. Their place is KERNEL_WIRE_MESSAGE_MAX bytes, aligned as a
 * struct nlmsghdr; wipe it, because it may hold keys.
 * Threading: one owner of each place and answer.
 */

#include "base/err.h"
#include "overlay/wg/setup.h"

enum {
	KERNEL_WIRE_MESSAGE_MAX = 16384, /* bytes that are sent */
	KERNEL_WIRE_ANSWER_MAX = 65536,  /* bytes that come */
	KERNEL_WIRE_NAME_MAX = 15,       /* of a link's name */
};

int kernel_wire_open(struct err *err) MUST_CHECK;

struct kernel_wire_link {
	const char *name;
	uint32_t mtu; /* 0: the kernel's own choice */
	int ns;       /* where it is born, while its UDP socket stays; -1: here */
};

/* How far a change has been said; zeroed: nothing of it. */
struct kernel_wire_at {
	bool begun;
	size_t peer, prefix;
};

size_t kernel_wire_put_add(void *out, uint32_t sequence, const struct kernel_wire_link *link);
size_t kernel_wire_put_remove(void *out, uint32_t sequence, const char *name);
/* The number of the family. */
size_t kernel_wire_put_family(void *out, uint32_t sequence);
size_t kernel_wire_put_get(void *out, uint32_t sequence, uint16_t family, const char *name);
/* The next part of a change; 0: all was said. Prefixes to be removed are left out: kernels have no
 * word for that (until 6.16), see kernel_set(). */
size_t kernel_wire_put_set(void *out, uint32_t sequence, uint16_t family, const char *name,
			   const struct setup *change, struct kernel_wire_at *at);

enum kernel_wire_event {
	KERNEL_WIRE_MORE, /* it goes on in the next datagram */
	KERNEL_WIRE_DONE,
	KERNEL_WIRE_FAILED, /* code; what was read of a state is of no use */
};

struct kernel_wire_answer {
	uint32_t sequence;   /* of the question; others' answers are passed over */
	uint16_t family;     /* in: of messages about a device; out: what was asked for */
	bool interrupted;    /* a state changed while it was told: ask again */
	int code;            /* errno; EBADMSG: not what such a message is */
	struct setup *state; /* filled; NULL when none was asked for */
};

/* A datagram, aligned likewise. */
enum kernel_wire_event kernel_wire_read(struct kernel_wire_answer *a, const void *bytes,
					size_t count);

#endif
