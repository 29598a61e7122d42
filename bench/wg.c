/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What WireGuard's handshakes cost, in CPU time of one thread. 1,000 peers begin in turns; the
 * device that is measured knows them all.
 *
 *   respond   an initiation is answered and confirmed: all that the answering end does, its
 *             session included; the peer is the curve alone, which is asked four times
 *   begin     an initiation is made and the response to it taken: the other end; five times
 *   rate      respond, as handshakes a second; the peer figure is what is wanted of it
 *   forged    an initiation without a right first MAC is refused; likewise
 *   load      under load an initiation is answered by a cookie
 *   account   a batch that was sent and one that was received are noted, timers included, with
 *             SETUP_PEERS_MAX peers; the peer moves a place in a heap of as many each time
 *
 * bench-wg [--json] [--handshakes N]
 */
#include "bench/bench.h"
#include "overlay/wg/device_core.h"

enum { PEERS = 1000, ACCOUNTS = 2000000, FLOOD = 200000, WANTED = 3000, WANTED_FORGED = 1000000 };

static const uint64_t second = 1000000000;

static size_t handshakes = 5000;
static struct world world;

struct end {
	struct device *device;
	struct addr addr;
	uint8_t public_key[PRIMITIVE_KEY];
	uint8_t out[NOISE_INITIATION + NOISE_OVERHEAD];
	size_t out_bytes;
};

static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "bench-wg: %s\n", what);
	exit(1);
}

static void
call_send(void *arg, const struct device_datagram *d)
{
	struct end *e = arg;

	memcpy(e->out, d->data, d->bytes);
	e->out_bytes = d->bytes;
}

static size_t
call_staged(void *arg, struct device_peer *peer)
{
	(void)arg;
	(void)peer;
	return 0;
}

static void
call_peer(void *arg, struct device_peer *peer)
{
	(void)arg;
	(void)peer;
}

static void
call_keys(void *arg, struct device_peer *peer, struct session *s, enum device_keys what)
{
	(void)arg;
	(void)peer;
	(void)s;
	(void)what;
}

static void
open_end(struct end *e, uint32_t number)
{
	const struct device_calls calls = {.arg = e,
					   .send = call_send,
					   .staged = call_staged,
					   .ready = call_peer,
					   .give_up = call_peer,
					   .keys = call_keys,
					   .gone = call_peer};
	uint8_t key[PRIMITIVE_KEY];
	struct noise_identity id;
	struct err err = {0};

	addr_from_v4_be(number, 51820, &e->addr);
	world_random(&world, key, sizeof(key));
	must(device_new(&calls, &world, &e->device, &err) == 0 &&
		     device_set_private_key(e->device, key, &err) == 0 &&
		     device_identity(e->device, &id),
	     "no device");
	memcpy(e->public_key, id.public_key, PRIMITIVE_KEY);
}

static struct device_peer *
know(struct device *d, const uint8_t *key, const struct addr *endpoint)
{
	struct device_change change = {.endpoint = endpoint};
	struct device_peer *peer;
	struct err err = {0};

	memcpy(change.public_key, key, PRIMITIVE_KEY);
	must(device_change(d, &change, &world, &peer, &err) == 0 && peer, "no peer");
	return peer;
}

static uint64_t
cpu(void)
{
	return bench_clock(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- handshakes ---- */

struct spent {
	double begin_ns, respond_ns;
};

static void
confirm(struct end *at, struct end *from)
{
	struct device_opened opened;

	must(device_open(at->device, &world, &from->addr, from->out, from->out_bytes, &opened) ==
		     DEVICE_KEEPALIVE,
	     "not confirmed");
}

static struct spent
shake(struct end *server, struct end *clients, struct device_peer **to_server)
{
	uint64_t begin = 0, respond = 0, at;
	struct session *s;

	for (size_t i = 0; i < handshakes; i++) {
		struct end *c = &clients[i % PEERS];

		/* Old enough for each to begin anew. */
		world.mono_ns += second;
		world.wall_ns += (int64_t)second;
		at = cpu();
		must(device_wants_send(c->device, to_server[i % PEERS], &world, &s) == DEVICE_WAIT,
		     "a session that is too young");
		begin += cpu() - at;
		at = cpu();
		must(device_receive(server->device, &world, &c->addr, c->out, c->out_bytes, 0) ==
			     DEVICE_OK,
		     "no response");
		respond += cpu() - at;
		at = cpu();
		must(device_receive(c->device, &world, &server->addr, server->out,
				    server->out_bytes, 0) == DEVICE_OK,
		     "the response is wrong");
		begin += cpu() - at;
		at = cpu();
		confirm(server, c);
		respond += cpu() - at;
	}
	return (struct spent){(double)begin / (double)handshakes,
			      (double)respond / (double)handshakes};
}

/* One shared secret. */
static double
curve(void)
{
	uint8_t key[PRIMITIVE_KEY], point[PRIMITIVE_KEY], out[PRIMITIVE_KEY];
	const size_t times = 4000;

	world_random(&world, key, sizeof(key));
	must(primitive_public(key, point), "no memory");
	uint64_t began = cpu();
	for (size_t i = 0; i < times; i++)
		must(primitive_dh(key, point, out), "no memory");
	return (double)(cpu() - began) / (double)times;
}

/* Messages a second that end at `want`. */
static double
flood(struct end *server, const struct end *client, enum device_result want, size_t queued)
{
	uint8_t packet[NOISE_INITIATION];

	memcpy(packet, client->out, sizeof(packet));
	if (want == DEVICE_FORGED)
		packet[NOISE_INITIATION - NOISE_MACS] ^= 1;
	uint64_t began = cpu();
	for (size_t i = 0; i < FLOOD; i++)
		must(device_receive(server->device, &world, &client->addr, packet, sizeof(packet),
				    queued) == want,
		     "another answer to a flood");
	return (double)FLOOD * 1e9 / (double)(cpu() - began);
}

/* ---- accounting ---- */

static double
account(struct end *server, struct device_peer **peers, size_t count)
{
	uint64_t began = cpu();

	for (size_t i = 0; i < ACCOUNTS; i++) {
		struct device_peer *p = peers[i * 7919 % count];

		world.mono_ns += 1000;
		device_sent(server->device, p, &world, 65000, true);
		must(device_received(server->device, p->awake->slots.current, &world, &p->endpoint,
				     65000, true) == p,
		     "not its session");
	}
	return (double)(cpu() - began) / ACCOUNTS;
}

static double
heap_moves(size_t count)
{
	struct heap_item *items = mem_array(MEM_BASE, count, sizeof(*items));
	struct heap h;

	must(items != NULL, "no memory");
	heap_init(&h, MEM_BASE);
	for (size_t i = 0; i < count; i++) {
		heap_item_init(&items[i]);
		must(heap_set(&h, &items[i], i) == 0, "no memory");
	}
	uint64_t began = cpu();
	for (size_t i = 0; i < ACCOUNTS; i++)
		must(heap_set(&h, &items[i * 7919 % count], count + i) == 0, "no memory");
	double ns = (double)(cpu() - began) / ACCOUNTS;
	heap_fini(&h);
	mem_free(items);
	return ns;
}

/* With as many peers as there may be, of which those that shook hands are busy. */
static void
fill(struct device *d)
{
	uint8_t key[PRIMITIVE_KEY];

	while (device_count(d) < SETUP_PEERS_MAX) {
		world_random(&world, key, sizeof(key));
		know(d, key, &(struct addr){.port = 1});
	}
}

static void
run(bool json)
{
	static struct end server, clients[PEERS];
	static struct device_peer *to_server[PEERS], *to_client[PEERS];

	open_end(&server, 1);
	for (uint32_t i = 0; i < PEERS; i++) {
		open_end(&clients[i], i + 2);
		to_server[i] = know(clients[i].device, server.public_key, &server.addr);
		to_client[i] = know(server.device, clients[i].public_key, &clients[i].addr);
	}
	double dh = curve() / 1000;
	struct spent spent = shake(&server, clients, to_server);
	bench_print(json, &(struct bench_row){"wg", "respond", "us CPU", spent.respond_ns / 1000,
					      "4 x X25519", 4 * dh, false});
	bench_print(json, &(struct bench_row){"wg", "begin", "us CPU", spent.begin_ns / 1000,
					      "5 x X25519", 5 * dh, false});
	bench_print(json, &(struct bench_row){"wg", "rate", "handshakes/s", 1e9 / spent.respond_ns,
					      "wanted", WANTED, true});
	/* An initiation again. */
	struct session *s;
	world.mono_ns += 200 * second;
	world.wall_ns += 200 * (int64_t)second;
	device_wants_send(clients[0].device, to_server[0], &world, &s);
	bench_print(json, &(struct bench_row){"wg", "forged", "messages/s",
					      flood(&server, &clients[0], DEVICE_FORGED, 0),
					      "wanted", WANTED_FORGED, true});
	bench_print(json, &(struct bench_row){
				  "wg", "load", "messages/s",
				  flood(&server, &clients[0], DEVICE_COOKIE, DEVICE_QUEUE_LOADED),
				  "respond", 1e9 / spent.respond_ns, true});
	/* So that accounting finds sessions that are young. */
	for (size_t i = 0; i < PEERS; i++)
		if (to_client[i]->awake->slots.current)
			to_client[i]->awake->slots.current->born_ns = world.mono_ns;
	fill(server.device);
	bench_print(json, &(struct bench_row){"wg", "account", "ns CPU",
					      account(&server, to_client, PEERS), "heap moves",
					      heap_moves(SETUP_PEERS_MAX), false});
	for (size_t i = 0; i < PEERS; i++)
		device_free(clients[i].device);
	device_free(server.device);
}

int
main(int argc, char **argv)
{
	bool json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (strcmp(argv[i], "--handshakes") == 0 && i + 1 < argc) {
			handshakes = strtoul(argv[++i], NULL, 10);
		} else {
			fprintf(stderr, "usage: bench-wg [--json] [--handshakes N]\n");
			return 2;
		}
	}
	must(handshakes >= PEERS, "no such number");
	world_real(&world);
	run(json);
	return 0;
}
