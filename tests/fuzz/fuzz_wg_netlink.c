/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the kernel's answers about a device: the same in one datagram or in one a message;
 * a state that was read can be said as a change, and read again as the same. */
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "overlay/wg/kernel_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kernel_wire_answer
answer_of(const struct nlmsghdr *first, struct setup *state)
{
	setup_init(state);
	return (struct kernel_wire_answer){
		.sequence = first->nlmsg_seq,
		.family = first->nlmsg_type,
		.state = state,
	};
}

static enum kernel_wire_event
read_one_by_one(struct kernel_wire_answer *a, const char *bytes, size_t size)
{
	enum kernel_wire_event event = KERNEL_WIRE_MORE;
	struct nlmsghdr h;

	while (event == KERNEL_WIRE_MORE && size >= sizeof(h)) {
		memcpy(&h, bytes, sizeof(h));
		size_t step = NLMSG_ALIGN((size_t)h.nlmsg_len);
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > size)
			break;
		char *copy = mem_dup(MEM_OVERLAY, bytes, h.nlmsg_len);
		if (!copy)
			abort();
		event = kernel_wire_read(a, copy, h.nlmsg_len);
		mem_free(copy);
		bytes += step < size ? step : size;
		size -= step < size ? step : size;
	}
	return event;
}

static void
check_same(const struct setup *a, const struct setup *b)
{
	if (a->peers_count != b->peers_count || a->prefixes_count != b->prefixes_count)
		abort();
	for (size_t i = 0; i < a->peers_count; i++) {
		const struct setup_peer *x = &a->peers[i], *y = &b->peers[i];

		if (memcmp(x->public_key, y->public_key, SETUP_KEY) != 0 ||
		    memcmp(x->psk, y->psk, SETUP_KEY) != 0 || x->keepalive_s != y->keepalive_s ||
		    x->has_endpoint != y->has_endpoint || !addr_equal(&x->endpoint, &y->endpoint) ||
		    x->prefixes_count != y->prefixes_count)
			abort();
	}
}

static void
say_and_read(const struct setup *s)
{
	static char message[KERNEL_WIRE_MESSAGE_MAX] __attribute__((aligned(8)));
	struct kernel_wire_at at = {0};
	struct setup back = {0};
	struct kernel_wire_answer a = {.sequence = 1, .family = 99, .state = &back};
	size_t n;

	while ((n = kernel_wire_put_set(message, 1, 99, "wg0", s, &at)) > 0)
		if (n > sizeof(message) || kernel_wire_read(&a, message, n) != KERNEL_WIRE_MORE)
			abort();
	check_same(s, &back);
	setup_fini(&back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct setup state, other;
	struct err err = {0};

	if (size < sizeof(struct nlmsghdr) || size > KERNEL_WIRE_ANSWER_MAX)
		return 0;
	if (kernel_wire_open(&err) < 0)
		abort();
	char *bytes = mem_dup(MEM_OVERLAY, data, size); /* aligned */
	if (!bytes)
		abort();
	struct kernel_wire_answer a = answer_of((const struct nlmsghdr *)(void *)bytes, &state);
	struct kernel_wire_answer b = answer_of((const struct nlmsghdr *)(void *)bytes, &other);
	enum kernel_wire_event event = kernel_wire_read(&a, bytes, size);
	if (event != read_one_by_one(&b, bytes, size) || a.code != b.code ||
	    (event == KERNEL_WIRE_FAILED) != (a.code != 0))
		abort();
	check_same(&state, &other);
	if (event != KERNEL_WIRE_FAILED)
		say_and_read(&state);
	setup_fini(&state);
	setup_fini(&other);
	/* As an answer without a state: a family. */
	a = (struct kernel_wire_answer){.sequence = a.sequence};
	(void)kernel_wire_read(&a, bytes, size);
	mem_free(bytes);
	return 0;
}
