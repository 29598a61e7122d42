/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_CONTAINER_H
#define RING_MSG_CONTAINER_H

/* Containers as runtime has them, commands in them, and their logs. The rules are those of
 * ring/msg.h. */

#include "ring/msg_base.h"

enum msg_container_state {
	MSG_CONTAINER_PREPARING = 1, /* image, network, root file system */
	MSG_CONTAINER_RUNNING,
	MSG_CONTAINER_STOPPING,
	MSG_CONTAINER_EXITED,
	MSG_CONTAINER_FAILED, /* could not be started; reason says why */
};

struct msg_container { /* key: replica */
	uint64_t replica;
	uint32_t attempt;
	uint32_t state;
	uint32_t conditions; /* MSG_IMAGE_READY .. MSG_STARTED */
	uint32_t pid;        /* in the host's pid namespace; 0 when none */
	struct addr addr4;
	struct addr addr6;
	int64_t created_wall_ns;
	int64_t started_wall_ns;
	int64_t exited_wall_ns;
	int32_t exit_status; /* 0..255, or -1 when ended by a signal */
	uint32_t exit_signal;
	uint32_t oom_killed; /* running: how many of its processes; ended: 1 if that was its end */
	uint32_t seccomp_killed;
	uint64_t memory_bytes; /* working set, 0 unknown */
	uint64_t memory_peak;
	uint64_t memory_limit; /* 0 none */
	uint64_t cpu_ns;
	uint32_t pids;
	uint32_t listening_count; /* listening TCP sockets seen in its namespace when a check failed
				   */
	uint16_t listening_ports[8];
	uint8_t listening_loopback[8]; /* 1: on a loopback address only */
	char image_digest[MSG_DIGEST];
	struct msg_reason reason;
	/* Of the image, while it is pulled and after it was: 0 when it was here. */
	uint64_t pull_bytes;       /* fetched so far */
	uint64_t pull_total_bytes; /* to fetch */
	uint32_t pull_layers;      /* of the image; 0 not known yet, or nothing was pulled */
	uint32_t pull_layers_here; /* that need not be fetched */
	uint32_t pulling;          /* it is under way */
	uint32_t hold; /* no program runs: while this does, exit_* and hold_oom are its end */
	/* Init steps of this attempt. */
	uint32_t init_count;
	uint32_t init_done;
	uint32_t init_failed; /* one of them is why it could not be started */
	uint32_t hold_oom;
	uint64_t init_warned;     /* bit per step: failed and was passed over */
	char init_step[MSG_NAME]; /* that runs, or has failed; "" none */
	uint64_t measured_ns;     /* CLOCK_BOOTTIME, of memory_bytes and cpu_ns; 0: never yet */
	/* As its monitor has it: when it ends the container by itself (CLOCK_BOOTTIME; 0: never).
	 */
	uint64_t lease_until_ns;
	uint64_t lease_epoch;
	uint32_t lease_over; /* it did: that was the end of this attempt */
	uint32_t pad_;
};

struct msg_veth { /* key: replica */
	uint64_t replica;
	uint32_t ifindex; /* host end, in the fabric */
	uint32_t pad_;
	uint8_t mac[6];      /* of the container's end */
	uint8_t host_mac[6]; /* of the host's end */
	/* Of a container of others what it is, with MSG_IDENTITY_SAID; 0: table identity says it.
	 */
	uint32_t overlays;
	struct addr addr4;
	struct addr addr6;
	uint64_t deployment, service; /* of a container of others */
};

struct msg_exec {
	uint64_t replica;
	uint32_t tty;
	uint32_t rows, columns;
	uint32_t argc;
	char user[MSG_NAME];
	char workdir[MSG_PATH];
};

struct msg_logs {
	uint64_t replica;
	int64_t since_wall_ns; /* 0: from the beginning */
	int64_t until_wall_ns; /* 0: no end */
	uint32_t tail;         /* last N lines; UINT32_MAX: all */
	uint32_t follow;
	uint32_t attempt; /* 0: all, else only of this attempt */
	uint32_t pad_;
};

/* The streams of exec and logs: frames over a SOCK_STREAM socketpair, little-endian:
 * u8 type, u8 flags 0, u16 0, u32 length, then the bytes. */
enum msg_frame {
	MSG_FRAME_STDIN = 1, /* length 0: end of input */
	MSG_FRAME_STDOUT,
	MSG_FRAME_STDERR,
	MSG_FRAME_RESIZE, /* u16 rows, u16 columns */
	MSG_FRAME_SIGNAL, /* u32 number */
	MSG_FRAME_EXIT,   /* u32 status 0..255 (128+n on a signal); the last one */
	MSG_FRAME_ERROR,  /* text: could not be started (exit 125..127 follows) */
	MSG_FRAME_LINE,   /* logs: i64 wall_ns, u32 attempt, u8 stream (1 out, 2 err), u8 flags
			   * (1: line was cut), u16 0, then the line without its end */
	/* Of another node's replica, the last one: */
	MSG_FRAME_LOST, /* text: why the way to it ended */
	MSG_FRAME_DONE, /* nothing: all of it has come. A stream without either was lost, too */
};
enum { MSG_FRAME_MAX = 65536, MSG_FRAME_HEAD = 8 };

#endif
