/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that seal with one session, up to its last message: no counter is given out twice, none
 * is left out before the end, none beyond it, and the last one to let go wipes it. Means most with
 * -Db_sanitize=thread -Db_lundef=false; runs in every build.
 */
#include <pthread.h>
#include "overlay/wg/session.h"
#include "tests/support/prop.h"
#include "base/mem.h"

enum { THREADS = 8, COUNTERS = 400000 };

static const uint64_t first_counter = SESSION_REJECT_AFTER_MESSAGES - COUNTERS, now_ns = 1000;

static struct session *session;
static _Atomic uint8_t seen[COUNTERS];
static _Atomic uint64_t given;

static void *
seal(void *arg)
{
	struct prop p = {.state = (uint64_t)(size_t)arg};
	uint64_t first;

	for (;;) {
		uint32_t count = (uint32_t)(1 + prop_below(&p, SESSION_BLOCK_MAX));

		if (!session_reserve(session, count, now_ns, &first))
			break;
		prop_check(first >= first_counter);
		prop_check(first + count <= SESSION_REJECT_AFTER_MESSAGES);
		for (uint32_t i = 0; i < count; i++)
			prop_check(atomic_fetch_add(&seen[first - first_counter + i], 1) == 0);
		atomic_fetch_add(&given, count);
	}
	prop_check(!session_reserve(session, 1, now_ns, &first));
	session_unref(session);
	return NULL;
}

int
main(void)
{
	const struct noise_keys keys = {.local = 1, .remote = 2};
	const size_t before = mem_used_all();
	pthread_t threads[THREADS];

	session = session_new(&keys, NULL, now_ns);
	prop_check(session != NULL);
	session->next = first_counter;
	for (size_t i = 0; i < THREADS; i++) {
		session_ref(session);
		prop_check(pthread_create(&threads[i], NULL, seal, (void *)(i + 1)) == 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		prop_check(pthread_join(threads[i], NULL) == 0);
	/* What is missing is less than the block that reached beyond the end. */
	prop_check(given <= COUNTERS && given > COUNTERS - SESSION_BLOCK_MAX);
	prop_check(!session_sends(session, now_ns));
	session_unref(session);
	prop_check(mem_used_all() == before);
	return 0;
}
