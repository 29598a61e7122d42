/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_VETH_H
#define DATAPLANE_VETH_H

/*
 * The programs of tc_veth.bpf.c with their maps, and one hook per container. Maps are pinned below
 * the working folder as 1/tc7-NAME, links as 1/veth-REPLICA: a process that dies leaves forwarding
 * as it is, its successor takes all of it over. Threading: one owner; calls do not block.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "dataplane/bpf/tc_judge.h"
#include "dataplane/hook.h"
#include "ring/msg.h"

struct veth;

/* Loads libbpf, opens or adopts maps, loads the program. Before confinement; owner is the user that
 * the process becomes: it must be able to pin and unpin links in the folder. */
int veth_open(uid_t owner, struct veth **out, struct err *err) MUST_CHECK;
void veth_close(struct veth *v); /* pins stay */

/* Addresses into the maps first, then the hook: no packet meets a program that does not know it.
 * When it fails, what stood goes on, if veth_left does not say that there is nothing.
 * identity: NULL when nobody has said it; then what a predecessor wrote of this replica stays, and
 * one of whom nobody wrote anything is not let through. */
int veth_add(struct veth *v, const struct msg_veth *row, const struct tc_identity *identity,
	     enum msg_hook *hook_out, struct err *err) MUST_CHECK;
/* What a replica is from now on. Harmless when it has no hook. */
int veth_identify(struct veth *v, uint64_t replica, const struct tc_identity *identity,
		  struct err *err) MUST_CHECK;
/* What is on a replica's device, whoever put it there. hook_out: of HOOK_STANDS. */
enum hook_left veth_left(const struct veth *v, const struct msg_veth *row, enum msg_hook *hook_out);
/* Whether this process's program is attached to its device. */
bool veth_has(const struct veth *v, uint64_t replica);
/* Whether a predecessor wrote what this replica is, at this device. */
bool veth_knows(const struct veth *v, const struct msg_veth *row);
void veth_remove(struct veth *v, uint64_t replica);
/* Calls back with every replica that has a hook (the callback may remove it). */
void veth_each(struct veth *v, void (*visit)(void *arg, uint64_t replica), void *arg);

/* Drops what a predecessor left of containers that are no longer there: entries of the maps for
 * links that no replica here has, pins of their hooks, maps of another number. Only when every
 * replica is known again. */
void veth_forget_others(struct veth *v);

/* Sum over CPUs of each counter (TC_COUNTS: dataplane/bpf/tc_event.h). */
int veth_counts(struct veth *v, uint64_t *out, struct err *err) MUST_CHECK;
/* Puts a program where others go on (enum tc_stage); -1: takes it away. 0, or as libbpf says. */
int veth_stage(struct veth *v, uint32_t stage, int program);
/* The loaded programs and maps, for the other files of this folder. */
struct tc_veth;
struct tc_veth *veth_loaded(const struct veth *v);
/* The program's descriptor: tests run packets through it. */
int veth_program(const struct veth *v);
/* Tells of who is denied, for the balancer's programs to go on with. */
int veth_denied(const struct veth *v);
/* The map through which the program calls what the balancer puts there (slot 0). */
int veth_chain(const struct veth *v);
/* Below the working folder: where pins are. */
const char *veth_folder(const struct veth *v);

#endif
