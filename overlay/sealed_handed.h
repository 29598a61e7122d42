/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_SEALED_HANDED_H
#define OVERLAY_SEALED_HANDED_H

/*
 * What node has handed over for sealed traffic: the queues of the TUN device and the UDP sockets,
 * or a door to the kernel's device. Who uses them gets duplicates, so that there is something to
 * make the next one of.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "overlay/engine/engine.h"
#include "ring/leash.h"
#include "spec/config.h"

enum { SEALED_HANDED_SOCKETS_MAX = 4 };

struct sealed_handed {
	struct tun queues[LEASH_TUNNEL_QUEUES_MAX];
	size_t queues_count;
	uint32_t mtu;
	int sockets[SEALED_HANDED_SOCKETS_MAX]; /* bound, of any family */
	size_t sockets_count;
	enum msg_backend_kind backend; /* whose device there is, or is to be; 0: none */
	int door;                      /* to the kernel's; -1: none */
	uint16_t family, port;         /* of generic netlink; its UDP socket's */
};

void sealed_handed_init(struct sealed_handed *h);
/* LEASH_TUNNEL: instead of what was there before. When it is not the engine's the sockets are
 * closed too: node has closed its own, and others may have the port. The descriptors are taken. */
void sealed_handed_tunnel(struct sealed_handed *h, const struct leash_message *m, int *fds,
			  size_t count);
/* A bound socket, which is taken. False: it is one of those that there are; after an upgrade node
 * hands over all of them again. */
bool sealed_handed_socket(struct sealed_handed *h, int *fd);
/* As ring/leash.h asks: what is bound elsewhere than the configuration says is closed. True: some
 * were. */
bool sealed_handed_drop(struct sealed_handed *h, const struct config *config);
void sealed_handed_close_sockets(struct sealed_handed *h);
/* A duplicate of the door; -1 with err. */
int sealed_handed_door(const struct sealed_handed *h, struct err *err) MUST_CHECK;

/* There is all that an engine needs. */
bool sealed_handed_suffices(const struct sealed_handed *h);
/* NULL: no descriptors, or what engine_new() says. */
struct engine *sealed_handed_engine(const struct sealed_handed *h, struct err *err) MUST_CHECK;

#endif
