/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of a stream. A length beyond MSG_FRAME_MAX or a non-zero reserved byte ends the stream:
 * the other side is another program of ours and does not make such. Sending waits for the reader:
 * the sender has nothing better to do than to be slow with it.
 */
#include "runtime/frame.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

void
frame_head(uint8_t type, uint32_t bytes, uint8_t out[MSG_FRAME_HEAD])
{
	memset(out, 0, MSG_FRAME_HEAD);
	out[0] = type;
	for (int i = 0; i < 4; i++)
		out[4 + i] = (uint8_t)(bytes >> (8 * i));
}

uint8_t *
frame_space(struct frame_parser *p, size_t *cap_out)
{
	if (p->from > 0) {
		memmove(p->buffer, p->buffer + p->from, p->used - p->from);
		p->used -= p->from;
		p->from = 0;
	}
	*cap_out = sizeof(p->buffer) - p->used;
	return p->buffer + p->used;
}

int
frame_take(struct frame_parser *p, struct frame *out)
{
	const uint8_t *at = p->buffer + p->from;
	size_t left = p->used - p->from;
	if (left < MSG_FRAME_HEAD)
		return 0;
	uint32_t bytes = (uint32_t)at[4] | (uint32_t)at[5] << 8 | (uint32_t)at[6] << 16 |
			 (uint32_t)at[7] << 24;
	if (bytes > MSG_FRAME_MAX || at[1] != 0 || at[2] != 0 || at[3] != 0)
		return -1;
	if (left - MSG_FRAME_HEAD < bytes)
		return 0;
	*out = (struct frame){.type = at[0], .bytes = bytes, .data = at + MSG_FRAME_HEAD};
	p->from += MSG_FRAME_HEAD + bytes;
	return 1;
}

static int
send_all(int sock, struct iovec *iov, size_t count)
{
	while (count > 0) {
		struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
		ssize_t n = sendmsg(sock, &message, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = sock, .events = POLLOUT};
			if (poll(&p, 1, -1) < 0 && errno != EINTR)
				return -1;
			continue;
		}
		if (n < 0)
			return -1;
		while (count > 0 && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count > 0) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

int
frame_send(int sock, uint8_t type, const void *head, size_t head_bytes, const void *data,
	   size_t bytes)
{
	uint8_t first[MSG_FRAME_HEAD];
	frame_head(type, (uint32_t)(head_bytes + bytes), first);
	struct iovec iov[3] = {
		{.iov_base = first, .iov_len = sizeof(first)},
		{.iov_base = (void *)(uintptr_t)head, .iov_len = head_bytes},
		{.iov_base = (void *)(uintptr_t)data, .iov_len = bytes},
	};
	return send_all(sock, iov, 3);
}

int
frame_send_u32(int sock, uint8_t type, uint32_t value)
{
	uint8_t text[4];
	for (int i = 0; i < 4; i++)
		text[i] = (uint8_t)(value >> (8 * i));
	return frame_send(sock, type, NULL, 0, text, sizeof(text));
}

int
frame_send_text(int sock, uint8_t type, const char *text)
{
	return frame_send(sock, type, NULL, 0, text, strlen(text));
}
