/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two exchanges with wireguard-go of Debian 12, recorded: what our device said and what it was
 * answered, the other way round, and all that was random at both ends (wireguard-go's as strace saw
 * it come from getrandom). Both ends are our device here, with the same keys, clock and random
 * bytes: each of the datagrams must be the one that was recorded, to the last bit.
 */
#include "overlay/wg/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { BYTES_MAX = 256, DATAGRAMS = 4 };

struct recorded_end {
	const char *private_key, *number, *ephemeral, *text;
};

struct recorded {
	struct recorded_end first, second; /* who began, and who answered */
	const char *psk;
	int64_t wall_ns; /* when it began */
	/* Initiation, response, the first one's data, the second one's. */
	const char *datagrams[DATAGRAMS];
};

/* Our device began; wireguard-go answered. */
static const struct recorded ours_began = {
	.first =
		{
			.private_key =
				"4990cbbbdae982e0d7ea873c36c61225038881d3f0c4df27860b7d7ea3f4057e",
			.number = "3a74257b",
			.ephemeral =
				"efddd364f5e1da1e256abb734ea18e5d56b11f941c0b637af6837d6a407d6068",
			.text = "4500005400010000400166980a0700020a0700010800edcf000900011c1d1e1f20"
				"2122232425"
				"262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f40414243444546"
				"4748494a4b"
				"4c4d4e4f50515253",
		},
	.second =
		{
			.private_key =
				"f0d866795ebdab8a9d3cc099b2ea62d3616569c19fdf83a5d47091301800bf34",
			.number = "c17e41f0",
			.ephemeral =
				"f0a377f9e3dacbfa670289165d5e11b87305a6402511d136bc086417815e8746",
			.text = "4500005465930000400101060a0700010a0700020000f5cf000900011c1d1e1f20"
				"2122232425"
				"262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f40414243444546"
				"4748494a4b"
				"4c4d4e4f50515253",
		},
	.psk = "67b856981d93190eff126edc77bdda3c4a9ba187201b3754f9855358dee4bb81",
	.wall_ns = INT64_C(1795404511689014299),
	.datagrams =
		{
			"010000003a74257b3cb4686d80d5975bc159c8a80d7aaec80c2cb2a3d003d4056ff688e76c"
			"08"
			"5935661888d1c019a94dc9fadf0ea4eff46d28416f831e305eaf9e8ca784a9367b1e458e99"
			"31"
			"dfdd8367fa9f8237c4a8bb049c0b587ce81230caf2cce1b867bb949fbaa52c6c026c7f1a41"
			"4f"
			"55f86d29bf5c998e64d8e122dada00e1b95c00000000000000000000000000000000",
			"02000000c17e41f03a74257bc58c2146a0a180967f3507e229dc92eed8bab90420a8cc564d"
			"d2"
			"10691b955b227fd02872225ef826c9434f6b0b10275e01253a77c1c901f8c19cca3c441e9a"
			"b3"
			"00000000000000000000000000000000",
			"04000000c17e41f000000000000000005157c789583009f056630d00633ca90a9a96b68c4d"
			"ef"
			"a21d6b1adca1ab2896d0a66ec05e651a976fc3c883eb419bb10a9dc4d42460a6f16e4505c6"
			"af"
			"1cfa1388cca9802b5c9655275e931a07f3d8674df9ffc9d72bdbdf8eaebf08d1f61c81fc3b"
			"0b"
			"abde174b700ecf136c21d930ff8e",
			"040000003a74257b00000000000000002d3616e19584e1de735040ac930dc345694ed260f4"
			"e9"
			"a2030b5ce7fd93010f46a9f4836078aea6dce020af6829a0ae29b6fdaee84a849d54227c90"
			"d1"
			"320103ac719d9f6102739e9a0f89370b21410fa3b0bdec6c870adb1a447ca87a7df9535388"
			"32"
			"eb645d68eb46210d63d115a20d51",
		},
};

/* wireguard-go began; our device answered. */
static const struct recorded theirs_began = {
	.first =
		{
			.private_key =
				"6f8d1bf047e205872e3cbc3f00bafad771275c11483280f5ac716d619a2f265f",
			.number = "ce5ba88d",
			.ephemeral =
				"98e6d6eb9dccd53d85b4b0cdd58c9f7be142fabd29793754067ca570d3d50b3e",
			.text = "45000022776840004011af520a0700010a070002bda20009000e002f5765722064"
				"61",
		},
	.second =
		{
			.private_key =
				"f7386400fdd95fdd0b83fde2efd73b07941e66c5543786f58c6a548011cba9f9",
			.number = "a60b34d8",
			.ephemeral =
				"4159612be53cf6bf67f403deba8cafdbcbc95290177bb77e808bcafde96ea52d",
			.text = "4500005400010000400166980a0700020a0700010800edcf000900011c1d1e1f20"
				"2122232425"
				"262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f40414243444546"
				"4748494a4b"
				"4c4d4e4f50515253",
		},
	.psk = "a3633f1af6aea9b42eaf768dac43e7986a2c2be786c95f05c512ad32a6e5b83e",
	.wall_ns = INT64_C(1795404513788529152),
	.datagrams =
		{
			"01000000ce5ba88de609663d517f1bd7b95ab6f87092c1007da50ad6722d9564ac8661751a"
			"b2"
			"390fc5a6d6e3fceec2f6d861a5c85529657c980da6f5dae07c8a73da2fddb6950b50e5f525"
			"dc"
			"e947702c8767e0df836278e819064107a3e05e0da02c8d30b610caa876c0357bd3b345f579"
			"05"
			"dc6e502ca64243981c877bdfe5538c0d814c00000000000000000000000000000000",
			"02000000a60b34d8ce5ba88dae11571839dd270f135524402f6d743d5902bbc773bf3e504d"
			"a1"
			"4424465473671c958a7ab59db3684a1da2e6e1c0b279da75d6cacd502b58c19a700df39bfe"
			"27"
			"00000000000000000000000000000000",
			"04000000a60b34d80000000000000000a4bef7dac753c2d63d232f83fc11dfbf5b7f779273"
			"10"
			"88db61e19f115cbab333f340000a7e51bff15b0182c9cfe2fc9aaa38706a258231afe9fc10"
			"5b"
			"ae35432b",
			"04000000ce5ba88d0000000000000000c2319453328c4fbdddcd5bdf3a84c9f467838c59e7"
			"50"
			"53422b0b577f814decfbcd92f898a15591cab808fa13509be0c0553acdc0596dbe557529f4"
			"3e"
			"ec1f3efe09f9177e7150f3888378f63b869e62c4f15f0450aa825d3a4d03de5536494e017a"
			"66"
			"d50e278faf9d15114d2d4afeb185",
		},
};

/* ---- two devices ---- */

struct end {
	const struct recorded_end *as;
	struct device *device;
	struct device_peer *peer;
	struct addr addr;
	uint8_t public_key[PRIMITIVE_KEY];
	uint8_t text[BYTES_MAX]; /* that waits */
	size_t staged;
	uint8_t sent[BYTES_MAX]; /* the last datagram */
	size_t sent_bytes;
};

static struct world world;
static struct end first, second;
static struct end *acting; /* whose the next random bytes are */

static size_t
unhex(const char *text, uint8_t *out)
{
	size_t bytes = strlen(text) / 2;

	assert_true(bytes <= BYTES_MAX);
	for (size_t i = 0; i < bytes; i++) {
		unsigned v;

		assert_int_equal(sscanf(text + 2 * i, "%2x", &v), 1);
		out[i] = (uint8_t)v;
	}
	return bytes;
}

/* Numbers and ephemeral keys are known by their length; nothing else that is drawn is seen. */
static void
draw(void *arg, void *out, size_t bytes)
{
	(void)arg;
	memset(out, 0xa5, bytes);
	if (acting && bytes == 4)
		unhex(acting->as->number, out);
	else if (acting && bytes == PRIMITIVE_KEY)
		unhex(acting->as->ephemeral, out);
}

static void
call_send(void *arg, const struct device_datagram *d)
{
	struct end *e = arg;

	assert_true(d->bytes <= BYTES_MAX);
	memcpy(e->sent, d->data, d->bytes);
	e->sent_bytes = d->bytes;
}

static size_t
call_staged(void *arg, struct device_peer *peer)
{
	const struct end *e = arg;

	(void)peer;
	return e->staged > 0;
}

static void
call_ready(void *arg, struct device_peer *peer)
{
	struct end *e = arg;

	assert_int_equal(device_seal(e->device, peer, &world, e->text, e->staged, e->sent,
				     sizeof(e->sent), &e->sent_bytes),
			 DEVICE_OK);
	e->staged = 0;
}

static void
call_nothing(void *arg, struct device_peer *peer)
{
	(void)arg;
	(void)peer;
}

static void
call_keys(void *arg, struct device_peer *peer, struct session *session, enum device_keys what)
{
	(void)arg;
	(void)peer;
	(void)session;
	(void)what;
}

static void
make(struct end *e, const struct recorded_end *as, uint8_t number)
{
	const struct device_calls calls = {.arg = e,
					   .send = call_send,
					   .staged = call_staged,
					   .ready = call_ready,
					   .give_up = call_nothing,
					   .keys = call_keys,
					   .gone = call_nothing};
	uint8_t key[PRIMITIVE_KEY];
	struct noise_identity id;
	struct err err = {0};

	*e = (struct end){.as = as};
	assert_int_equal(device_new(&calls, &world, &e->device, &err), 0);
	assert_int_equal(unhex(as->private_key, key), PRIMITIVE_KEY);
	assert_int_equal(device_set_private_key(e->device, key, &err), 0);
	assert_true(device_identity(e->device, &id));
	memcpy(e->public_key, id.public_key, PRIMITIVE_KEY);
	addr_from_v4_be(__builtin_bswap32(0xc0000200u | number), 51820, &e->addr);
}

/* All that the other one sends is its own. */
static void
know(struct end *e, const struct end *other, const char *psk)
{
	struct device_prefix all = {0};
	uint8_t key[PRIMITIVE_KEY];
	struct device_change c = {
		.psk = key, .endpoint = &other->addr, .prefixes = &all, .prefixes_count = 1};
	struct err err = {0};

	assert_int_equal(unhex(psk, key), PRIMITIVE_KEY);
	assert_true(addr_parse_prefix("0.0.0.0/0", &all.prefix));
	memcpy(c.public_key, other->public_key, PRIMITIVE_KEY);
	assert_int_equal(device_change(e->device, &c, &world, &e->peer, &err), 0);
}

/* ---- what happened ---- */

static void
said(const struct end *e, const char *datagram)
{
	uint8_t want[BYTES_MAX];
	size_t bytes = unhex(datagram, want);

	assert_int_equal(e->sent_bytes, bytes);
	assert_memory_equal(e->sent, want, bytes);
}

static void
hears(struct end *e, const struct end *from)
{
	acting = e;
	assert_int_equal(
		device_receive(e->device, &world, &from->addr, from->sent, from->sent_bytes, 0),
		DEVICE_OK);
}

static void
reads(struct end *e, struct end *from, const char *text)
{
	uint8_t want[BYTES_MAX];
	size_t bytes = unhex(text, want);
	struct device_opened opened;

	assert_int_equal(
		device_open(e->device, &world, &from->addr, from->sent, from->sent_bytes, &opened),
		DEVICE_OK);
	assert_int_equal(opened.bytes, bytes);
	assert_memory_equal(opened.text, want, bytes);
}

static void
happens(const struct recorded *r)
{
	struct session *session;

	acting = NULL;
	world = (struct world){.mono_ns = 1000000000, .wall_ns = r->wall_ns, .random = draw};
	make(&first, &r->first, 1);
	make(&second, &r->second, 2);
	know(&first, &second, r->psk);
	know(&second, &first, r->psk);

	first.staged = unhex(r->first.text, first.text);
	acting = &first;
	assert_int_equal(device_wants_send(first.device, first.peer, &world, &session),
			 DEVICE_WAIT);
	said(&first, r->datagrams[0]);
	hears(&second, &first);
	said(&second, r->datagrams[1]);
	hears(&first, &second);
	said(&first, r->datagrams[2]);
	reads(&second, &first, r->first.text);
	second.staged = unhex(r->second.text, second.text);
	call_ready(&second, second.peer);
	said(&second, r->datagrams[3]);
	reads(&first, &second, r->second.text);
	device_free(first.device);
	device_free(second.device);
}

static void
test_ours_began(void **state)
{
	(void)state;
	happens(&ours_began);
}

static void
test_theirs_began(void **state)
{
	(void)state;
	happens(&theirs_began);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ours_began),
		cmocka_unit_test(test_theirs_began),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
