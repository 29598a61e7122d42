/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AEAD table: each own way of it that runs here beside EVP, in turns, one core. A row is a
 * length and how many packets stand in a batch: as many as a super-packet of 64 KiB has, at most
 * 45, or one alone; CPU time for each packet, and bytes a nanosecond (GB/s).
 *
 * bench-aead [--json] [--rounds N]
 */
#include <inttypes.h>
#include "base/err.h"
#include "bench/bench.h"
#include "overlay/wg/aead.h"

enum {
	ROUNDS = 15,
	ROUNDS_MAX = 99,
	ROUND_BYTES = 4 << 20, /* of each way in each round, a packet counted as 512 at least */
	COUNTED_MIN = 512,
	BATCH_MAX = 45,
	SUPER_BYTES = 64 << 10,
	LENGTH_MAX = 16384,
	ROOM = SUPER_BYTES + LENGTH_MAX + BATCH_MAX * 64,
};

static uint8_t memory[ROOM];
static struct aead_job jobs[BATCH_MAX];

static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "bench-aead: %s\n", what);
	exit(1);
}

static void
lay_out(uint32_t length, unsigned batch)
{
	for (unsigned i = 0; i < batch; i++) /* as in a datagram: 16 bytes of head, text, tag */
		jobs[i] = (struct aead_job){.data = memory + 16 + (size_t)i * (length + 32),
					    .length = length,
					    .counter = i};
}

/* CPU nanoseconds for a packet. Packets that are opened are sealed anew in between, not counted. */
static double
measure(struct aead *a, uint32_t length, unsigned batch, bool open)
{
	static const uint8_t key[AEAD_KEY] = {1, 2, 3};
	uint32_t counted = length < COUNTED_MIN ? COUNTED_MIN : length;
	unsigned times = 1 + ROUND_BYTES / (counted * batch);
	uint64_t spent = 0;

	lay_out(length, batch);
	if (!open) {
		spent = bench_clock(CLOCK_THREAD_CPUTIME_ID);
		for (unsigned i = 0; i < times; i++)
			aead_seal_batch(a, key, jobs, batch);
		spent = bench_clock(CLOCK_THREAD_CPUTIME_ID) - spent;
		return (double)spent / times / batch;
	}
	aead_seal_batch(a, key, jobs, batch);
	static uint8_t sealed[ROOM];
	uint64_t copying = 0;

	memcpy(sealed, memory, ROOM);
	spent = bench_clock(CLOCK_THREAD_CPUTIME_ID);
	for (unsigned i = 0; i < times; i++) {
		memcpy(memory, sealed, (size_t)batch * (length + 32) + 16);
		aead_open_batch(a, key, jobs, batch);
	}
	spent = bench_clock(CLOCK_THREAD_CPUTIME_ID) - spent;
	must(jobs[batch - 1].ok, "a packet was not opened");
	copying = bench_clock(CLOCK_THREAD_CPUTIME_ID);
	for (unsigned i = 0; i < times; i++) {
		memcpy(memory, sealed, (size_t)batch * (length + 32) + 16);
		__asm__ volatile("" : : "r"(memory) : "memory");
	}
	copying = bench_clock(CLOCK_THREAD_CPUTIME_ID) - copying;
	return (double)(spent - copying) / times / batch;
}

static void
compare(struct aead *way, struct aead *evp, uint32_t length, unsigned batch, bool open,
	unsigned rounds, bool json)
{
	double ours[ROUNDS_MAX], theirs[ROUNDS_MAX];
	char row[64];

	for (unsigned i = 0; i < rounds; i++) {
		ours[i] = measure(way, length, batch, open);
		theirs[i] = measure(evp, length, batch, open);
	}
	snprintf(row, sizeof(row), "%s %s %" PRIu32 " x %u", way->way->name, open ? "open" : "seal",
		 length, batch);
	struct bench_row r = {.bench = "aead",
			      .row = row,
			      .unit = "ns/packet",
			      .ours = bench_quantile(ours, rounds, 0.5),
			      .peer_name = "EVP",
			      .peer = bench_quantile(theirs, rounds, 0.5)};

	bench_print(json, &r);
	snprintf(row, sizeof(row), "%s %s %" PRIu32 " x %u", way->way->name, open ? "open" : "seal",
		 length, batch);
	r.unit = "GB/s";
	r.ours = length / r.ours;
	r.peer = length / r.peer;
	r.higher_is_better = true;
	bench_print(json, &r);
}

static void
all_lengths(struct aead *way, struct aead *evp, unsigned rounds, bool json)
{
	static const uint32_t lengths[] = {64, 256, 1420, 8908, LENGTH_MAX};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		unsigned many = SUPER_BYTES / lengths[i];

		many = many < BATCH_MAX ? many : BATCH_MAX;
		for (int open = 0; open < 2; open++) {
			compare(way, evp, lengths[i], many, open, rounds, json);
			compare(way, evp, lengths[i], 1, open, rounds, json);
		}
	}
}

int
main(int argc, char **argv)
{
	unsigned rounds = ROUNDS;
	bool json = false;
	struct err err = {0};
	struct aead way, evp;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
			rounds = (unsigned)strtoul(argv[++i], NULL, 10);
		else
			must(false, "usage: bench-aead [--json] [--rounds N]");
	}
	must(rounds >= 1 && rounds <= ROUNDS_MAX, "--rounds: 1 to 99");
	must(aead_init(&evp, &aead_evp, &err) == 0, "no memory");
	for (size_t i = 0; aead_way(i); i++) {
		if (aead_way(i) == &aead_evp)
			continue;
		if (aead_check(aead_way(i), &err) != 0) {
			fprintf(stderr, "bench-aead: %s\n", err.what);
			continue;
		}
		must(aead_init(&way, aead_way(i), &err) == 0, "no memory");
		all_lengths(&way, &evp, rounds, json);
		aead_fini(&way);
	}
	aead_fini(&evp);
	return 0;
}
