/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_UAPI_SOCKET_H
#define OVERLAY_WG_UAPI_SOCKET_H

/*
 * The socket NAME.sock in /var/run/wireguard, at which wg(8) and wg-quick(8) find a device that is
 * not the kernel's. Who may connect may read the device's keys: its mode is 0600 from the moment
 * that it exists.
 *
 * Threading: the loop's thread; the device is called from it.
 */

#include <uv.h>
#include "base/err.h"
#include "overlay/wg/setup.h"

enum {
	UAPI_SOCKET_CONNECTIONS_MAX = 16, /* one more waits for its turn */
	UAPI_SOCKET_IDLE_MS = 10000,      /* nothing came, and nothing of an answer went */
	UAPI_SOCKET_NAME_MAX = 15,        /* bytes: an interface's */
};

struct uapi_socket_device {
	/* Fills what is empty. Gives 0 or an errno. */
	int (*get)(void *arg, struct setup *out);
	/* All of the change or nothing. Gives 0 or an errno. */
	int (*set)(void *arg, const struct setup *change);
	void *arg;
	uint64_t idle_ms; /* 0: UAPI_SOCKET_IDLE_MS */
};

struct uapi_socket;

#define UAPI_SOCKET_FOLDER "/var/run/wireguard"
/* In two steps, by a process that may make that folder and one that serves: a descriptor that
 * listens at NAME.sock in it. -1: as uapi_socket_open. */
int uapi_socket_bind(const char *name, struct err *err) MUST_CHECK;
/* fd: taken, also on failure. Its name stays when it is closed. */
struct uapi_socket *uapi_socket_adopt(uv_loop_t *loop, int fd,
				      const struct uapi_socket_device *device,
				      struct err *err) MUST_CHECK;

/* folder: borrowed for the call. The device is copied. NULL: ERR_INVALID (no such name),
 * ERR_CONFLICT (somebody answers there; a socket that nobody has open any more is replaced). */
struct uapi_socket *uapi_socket_open(uv_loop_t *loop, int folder, const char *name,
				     const struct uapi_socket_device *device,
				     struct err *err) MUST_CHECK;
/* Removes the socket and ends its connections; its memory goes in the loop's next rounds. NULL is
 * fine. */
void uapi_socket_close(struct uapi_socket *s);

#endif
