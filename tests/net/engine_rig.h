/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_NET_ENGINE_RIG_H
#define TESTS_NET_ENGINE_RIG_H

/*
 * Two engines, each in a network namespace, with a cable between them:
 *
 *   engine a -- wg0 10.9.0.1, fd09::1                    wg0 10.9.0.2, fd09::2 -- engine b
 *        |                                                        |
 *      eth0 10.8.0.1, fd08::1  ------------------------  eth0 10.8.0.2, fd08::2
 *
 * All of it fails the running cmocka test when it cannot. Traffic is the kernel's own, through
 * sockets in these namespaces. Root; tun_rig_start() first.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include "overlay/engine/engine.h"
#include "overlay/wg/primitive.h"
#include "tests/net/tun_rig.h"

enum { ENGINE_RIG_PORT = 51820, ENGINE_RIG_WAIT_S = 60 };

/* In each payload that the helpers here send: nobody may see it on the cable. */
#define ENGINE_RIG_MARK "Wer will, der kann das lesen, nur nicht hier"

struct engine_rig_options {
	uint32_t mtu, cable_mtu; /* 0: 1420 and 1500 */
	size_t queues;           /* 0: 1 */
	enum tun_offload offload;
	bool no_gso, no_gro, v6; /* v6: the cable's family */
	const char *aead;
};

struct engine_rig_end {
	int ns;
	struct engine *engine;
	uint8_t private_key[SETUP_KEY], public_key[SETUP_KEY];
	struct addr endpoint; /* on the cable */
	uint8_t number;       /* 1, 2: the last of its addresses */
};

struct engine_rig {
	struct engine_rig_options options;
	struct engine_rig_end a, b;
	uint8_t psk[SETUP_KEY];
	_Atomic uint64_t ahead_ns;
};

/* With both engines, which know each other. */
void engine_rig_open(struct engine_rig *r, const struct engine_rig_options *o);
/* Without engines: the cable alone, and keys. */
void engine_rig_open_cable(struct engine_rig *r, const struct engine_rig_options *o);
void engine_rig_start(struct engine_rig *r, struct engine_rig_end *end);
void engine_rig_close(struct engine_rig *r);
/* One end is told of the other; endpoint: as well as where it is. */
void engine_rig_introduce(struct engine_rig *r, struct engine_rig_end *to,
			  const struct engine_rig_end *whom, bool endpoint);
void engine_rig_change(struct engine_rig_end *end, const struct setup *change);
void engine_rig_key(uint8_t private_out[SETUP_KEY], uint8_t public_out[SETUP_KEY]);
/* Time passes for both. */
void engine_rig_pass(struct engine_rig *r, uint64_t seconds);
/* Of the peer with that key. */
struct setup_peer engine_rig_peer(struct engine_rig_end *end, const uint8_t key[SETUP_KEY]);
uint64_t engine_rig_count(const struct engine_rig_end *end, enum engine_count which);
/* Waits until it is at least that. */
void engine_rig_await(const struct engine_rig_end *end, enum engine_count which, uint64_t least);

/* ---- traffic ---- */

/* A socket in an end's namespace, bound to its inner address of IPv4 (6: IPv6); with a time-out. */
int engine_rig_socket(const struct engine_rig_end *end, int type, int version);
uint16_t engine_rig_port_of(int fd);
socklen_t engine_rig_inner(const struct engine_rig_end *end, int version, uint16_t port,
			   struct sockaddr_storage *out);
/* Bytes by TCP from one to the other, compared as they come. */
void engine_rig_tcp(const struct engine_rig_end *from, const struct engine_rig_end *to, int version,
		    uint64_t bytes);
/* One datagram of UDP there and back again; false: lost. */
bool engine_rig_echo(const struct engine_rig_end *from, const struct engine_rig_end *to,
		     int version, size_t bytes);
/* The same for where it may well be lost: who waits for it waits a moment, not for a slow machine.
 */
bool engine_rig_try(const struct engine_rig_end *from, const struct engine_rig_end *to, int version,
		    size_t bytes);
/* One that nobody takes. */
void engine_rig_send(const struct engine_rig_end *from, const struct engine_rig_end *to);
/* Echoes, again and again, until one comes back. */
void engine_rig_reach(const struct engine_rig_end *from, const struct engine_rig_end *to,
		      int version);

/* Numbered datagrams all the time, some of them always on their way. */
struct engine_rig_load;

struct engine_rig_load *engine_rig_load(const struct engine_rig_end *from,
					const struct engine_rig_end *to);
/* Waits until so many more have come. */
void engine_rig_load_more(const struct engine_rig_load *l, uint64_t count);
/* Stops it. Gives how many were lost; *disorder_out: how many were overtaken. */
uint64_t engine_rig_load_stop(struct engine_rig_load *l, uint64_t *disorder_out);

/* ---- the cable ---- */

struct engine_rig_tap; /* hears all that is on an end's eth0 */

struct engine_rig_tap *engine_rig_tap(const struct engine_rig_end *end);
/* Takes what was heard so far. Gives how many of WireGuard's packets that were; fails the test when
 * one shows the mark. visit: may be NULL; payload of UDP. */
unsigned engine_rig_heard(struct engine_rig_tap *t,
			  void (*visit)(void *arg, const uint8_t *data, size_t bytes), void *arg);
void engine_rig_tap_close(struct engine_rig_tap *t);

#endif
