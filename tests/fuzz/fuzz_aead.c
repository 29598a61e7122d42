/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways of the AEAD table beside EVP: the same bytes in all of memory after sealing a batch and
 * after opening it, forged packets among it, and the same verdicts.
 *
 * Input: key, counter of the first packet (8 bytes), and four bytes for each packet: length (two),
 * how far it stands from the one before, which of its bytes is forged (0: none). 0xffff as a length
 * ends the batch; what is left, again and again, is the text.
 */
#include <stdlib.h>
#include <string.h>
#include "overlay/wg/aead.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	JOBS_MAX = 70,
	LENGTH_MAX = 4096,
	GAP_MAX = 64,
	WAYS_MAX = 8,
	ROOM = 64 << 10,
	HEAD = AEAD_KEY + 8,
	END = 0xffff,
};

static struct aead aeads[WAYS_MAX];
static size_t ways;
static uint8_t text[ROOM], ours[ROOM], theirs[ROOM], forged_at[JOBS_MAX];
static struct aead_job jobs[JOBS_MAX], reference[JOBS_MAX];

static void
must(bool holds)
{
	if (!holds)
		abort();
}

/* The rows that run here; the reference is the first. */
static void
start(void)
{
	struct err err = {0};

	if (ways)
		return;
	must(aead_init(&aeads[ways++], &aead_evp, &err) == 0);
	for (size_t i = 0; aead_way(i); i++)
		if (aead_way(i) != &aead_evp && aead_way(i)->runs_here() && ways < WAYS_MAX)
			must(aead_init(&aeads[ways++], aead_way(i), &err) == 0);
}

static size_t
read_jobs(const uint8_t *data, size_t size, uint64_t counter)
{
	size_t at = 0, place = 0, n = 0;

	while (n < JOBS_MAX && at + 4 <= size) {
		unsigned length = data[at] | (unsigned)data[at + 1] << 8;

		if (length == END) {
			at += 2;
			break;
		}
		length %= LENGTH_MAX + 1;
		place += data[at + 2] % GAP_MAX;
		if (place + length + AEAD_TAG > ROOM)
			break;
		jobs[n] = (struct aead_job){
			.data = ours + place, .length = length, .counter = counter + n};
		forged_at[n] = data[at + 3];
		place += length + AEAD_TAG;
		at += 4;
		n++;
	}
	for (size_t i = 0; i < ROOM; i++)
		text[i] = at < size ? data[at + i % (size - at)] : (uint8_t)i;
	return n;
}

/* The key lies in the input itself, which has exactly its size. */
static void
compare(struct aead *way, const uint8_t *key, size_t n)
{
	memcpy(ours, text, ROOM);
	memcpy(theirs, text, ROOM);
	for (size_t i = 0; i < n; i++) {
		reference[i] = jobs[i];
		reference[i].data = theirs + (jobs[i].data - ours);
	}
	aead_seal_batch(way, key, jobs, n);
	aead_seal_batch(&aeads[0], key, reference, n);
	for (size_t i = 0; i < n; i++)
		must(jobs[i].ok && reference[i].ok);
	must(memcmp(ours, theirs, ROOM) == 0);
	for (size_t i = 0; i < n; i++) {
		size_t at = forged_at[i] * (size_t)37 % (jobs[i].length + AEAD_TAG);

		if (!forged_at[i])
			continue;
		jobs[i].data[at] ^= forged_at[i];
		reference[i].data[at] ^= forged_at[i];
	}
	aead_open_batch(way, key, jobs, n);
	aead_open_batch(&aeads[0], key, reference, n);
	for (size_t i = 0; i < n; i++)
		must(jobs[i].ok == !forged_at[i] && reference[i].ok == jobs[i].ok);
	must(memcmp(ours, theirs, ROOM) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t counter;

	if (size < HEAD)
		return 0;
	start();
	memcpy(&counter, data + AEAD_KEY, sizeof(counter));
	size_t n = read_jobs(data + HEAD, size - HEAD, counter);

	for (size_t i = 1; i < ways; i++)
		compare(&aeads[i], data, n);
	return 0;
}
