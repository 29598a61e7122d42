/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_CONTROL_H
#define RUNTIME_MONITOR_CONTROL_H

/*
 * What a monitor and the runtime say to each other, over the SOCK_SEQPACKET socket `control` of the
 * container's folder, and what the monitor leaves in the files `state` (its folder below /run) and
 * `exit` (there and below the data folder). A monitor outlives the program that started it: fields
 * are only added at the end, and a reader accepts CONTROL_VERSION_MIN up to its own version (two
 * back), zero-padding what is shorter.
 *
 * The monitor sends struct control_state to every connection when it is accepted and whenever the
 * state changes; after the last one (CONTROL_EXITED, CONTROL_FAILED) it leaves. The runtime sends
 * struct control_order. One message is one packet.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CONTROL_MAGIC = 0x4e4f4d5a, /* "ZMON" */
	CONTROL_VERSION = 3,
	CONTROL_VERSION_MIN = 1,
	CONTROL_TEXT = 256,
};

enum control_phase {
	CONTROL_STARTING = 1,
	CONTROL_RUNNING,
	CONTROL_STOPPING,
	CONTROL_EXITED,
	CONTROL_FAILED, /* could not be started: what, why, fix */
	CONTROL_INIT,   /* its init steps run */
};

struct control_state {
	uint32_t magic;
	uint16_t version;
	uint16_t phase;
	uint64_t replica;
	uint32_t attempt;
	uint32_t monitor_pid;
	uint64_t monitor_start; /* field 22 of /proc/PID/stat: with the pid it names one process */
	uint32_t pid;           /* of the container's first process, 0 when none */
	uint32_t oom_kills;
	uint64_t pid_start;
	int64_t started_wall_ns;
	int64_t exited_wall_ns;
	int32_t exit_status; /* 0..255, -1 on a signal */
	uint32_t exit_signal;
	uint64_t lines_out;
	uint64_t lines_err;
	uint64_t lines_dropped;
	uint32_t err_kind; /* enum err_kind; 0 none */
	uint32_t err_code; /* errno */
	char what[CONTROL_TEXT];
	char why[CONTROL_TEXT];
	char fix[CONTROL_TEXT];
	/* Not in version 1. */
	uint32_t init_done;   /* steps */
	uint32_t init_failed; /* one of them is why it failed */
	uint64_t init_warned; /* bit per step: failed, and is to be told */
	/* Not before version 3. */
	uint64_t lease_until_ns; /* CLOCK_BOOTTIME, when it is killed; 0: never */
	uint64_t lease_epoch;
	uint32_t lease_over; /* it was */
	uint32_t pad_;
};

enum control_verb {
	CONTROL_QUERY = 1, /* answered with the state */
	CONTROL_STOP,      /* signal, then SIGKILL after grace_ms */
	CONTROL_KILL,
	CONTROL_LEASE, /* not before version 3: the new deadline; 0 takes it away */
};

struct control_order {
	uint32_t magic;
	uint16_t version;
	uint16_t verb;
	uint32_t signal;
	uint32_t grace_ms;
	/* Not before version 3. */
	uint64_t lease_until_ns;
	uint64_t lease_epoch;
};

/* A state as it came from a socket or file: magic, version, ended texts; shorter ones of an older
 * version are padded. */
bool control_state_check(const void *data, size_t bytes, struct control_state *out);
bool control_order_check(const void *data, size_t bytes, struct control_order *out);
/* Start time of a process in ticks since boot; 0 when there is none. */
uint64_t control_start_of(uint32_t pid);

#endif
