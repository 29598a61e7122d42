/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_RELAY_CHOICE_H
#define OVERLAY_RELAY_CHOICE_H

/*
 * Which node passes on between this one and another, where both only dial out
 * (docs/decisions/018). Each end chooses for itself, by what it sees; both rank the nodes alike, so
 * that they mostly take the same one, and different pairs take different ones. Where they see
 * different things it does no harm: who hears the other by another way answers by that way
 * (WireGuard's roaming).
 *
 * A core without I/O. Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Both ends say something each 25 s; a handshake is tried again after 5. */
enum { RELAY_CHOICE_SILENT_MS = 40000 };

struct relay_choice {   /* zeroed at first */
	uint64_t relay; /* 0: none */
	uint64_t since_ns;
};

struct relay_candidate {
	uint64_t id;  /* not 0, the same on all nodes */
	bool present; /* it was heard of late: its own session with this node */
};

/* The relay to take now, of `list`; 0: none is present. heard_ns: when something last came from
 * the peer, 0 never. Stays as it is while that is not RELAY_CHOICE_SILENT_MS ago and the relay is
 * present; else the next one by rank. self and peer: ids as those of candidates. */
uint64_t relay_choice_take(struct relay_choice *c, uint64_t self, uint64_t peer,
			   const struct relay_candidate *list, size_t count, uint64_t heard_ns,
			   uint64_t now_ns);

#endif
