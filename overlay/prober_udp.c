/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of a datagram only its head is read, and how long it was; of one that is sent, what is behind the
 * head are zeros. One that is longer than the device takes fails with EMSGSIZE: it is as lost as
 * one that is lost on the way.
 */
#include "overlay/prober_udp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/world.h"
#include "overlay/engine/udp.h"

enum { BATCH = 16, BATCHES = 8 };

struct prober_udp {
	struct udp udp;
	struct addr own;
	struct prober *prober;
	struct prober_calls calls; /* of the owner */
	uint8_t out[PROBE_MAX];
};

static void
send_one(void *arg, const struct addr *to, const uint8_t head[PROBE_BYTES], size_t bytes)
{
	struct prober_udp *u = arg;
	struct udp_send send = {
		.to = *to,
		.from = {.address = u->own},
		.data = u->out,
		.bytes = (uint32_t)bytes,
		.stride = (uint32_t)bytes,
	};

	send.to.port = PROBER_PORT;
	memcpy(u->out, head, PROBE_BYTES);
	udp_send(&u->udp, &send, 1);
}

static void
found(void *arg, uint64_t id, uint32_t mtu, uint64_t rtt_ns, bool another)
{
	struct prober_udp *u = arg;

	u->calls.found(u->calls.arg, id, mtu, rtt_ns, another);
}

static bool
knows(void *arg, uint64_t id, uint64_t token)
{
	struct prober_udp *u = arg;

	return u->calls.knows && u->calls.knows(u->calls.arg, id, token);
}

static void
known(void *arg, uint64_t id, uint64_t token)
{
	struct prober_udp *u = arg;

	if (u->calls.known)
		u->calls.known(u->calls.arg, id, token);
}

struct prober_udp *
prober_udp_new(int fd, const struct addr *own, uint32_t max, const struct prober_calls *of_owner,
	       struct err *err)
{
	static const struct udp_config config = {.no_gso = true, .no_gro = true};
	struct prober_udp *u = mem_zalloc(MEM_OVERLAY, sizeof(*u));
	const struct prober_calls calls = {
		.arg = u, .send = send_one, .found = found, .knows = knows, .known = known};

	if (u)
		u->prober = prober_new(&calls, max);
	if (!u || !u->prober) {
		mem_free(u);
		err_set(err, ERR_NO_MEMORY, "no memory to probe peers");
		return NULL;
	}
	u->own = *own;
	u->calls = *of_owner;
	if (fd_nonblock(fd, true) < 0 || udp_adopt(&u->udp, fd, &config, err) < 0) {
		if (err->kind == ERR_NONE)
			err_sys(err, errno, "cannot set up the socket that peers are probed with");
		u->udp.fd = -1;
		prober_udp_free(u);
		return NULL;
	}
	return u;
}

void
prober_udp_free(struct prober_udp *u)
{
	if (!u)
		return;
	prober_free(u->prober);
	udp_close(&u->udp);
	mem_free(u);
}

int
prober_udp_fd(const struct prober_udp *u)
{
	return u->udp.fd;
}

struct prober *
prober_udp_prober(struct prober_udp *u)
{
	return u->prober;
}

static bool
read_batch(struct prober_udp *u)
{
	struct mmsghdr messages[BATCH] = {0};
	struct sockaddr_storage from[BATCH];
	uint8_t heads[BATCH][PROBE_BYTES] = {0};
	struct iovec iov[BATCH];

	for (unsigned i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){heads[i], PROBE_BYTES};
		messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
						      .msg_namelen = sizeof(from[i]),
						      .msg_iov = &iov[i],
						      .msg_iovlen = 1};
	}
	int n = recvmmsg(u->udp.fd, messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
	for (int i = 0; i < n; i++) {
		struct addr a;

		if (addr_from_sockaddr((struct sockaddr *)&from[i], messages[i].msg_hdr.msg_namelen,
				       &a))
			prober_receive(u->prober, world_mono_ns(), &a, heads[i],
				       messages[i].msg_len);
	}
	return n == BATCH;
}

void
prober_udp_read(struct prober_udp *u)
{
	for (unsigned i = 0; i < BATCHES && read_batch(u); i++)
		;
}

void
prober_udp_tick(struct prober_udp *u)
{
	struct world w;

	world_real(&w);
	prober_tick(u->prober, &w);
}
