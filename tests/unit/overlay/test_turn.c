/* SPDX-License-Identifier: Apache-2.0 */
/* Work that is drawn by many threads is finished in the order in which it was drawn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include "overlay/engine/turn.h"

enum { THREADS = 6, NUMBERS = 3000 };

static struct turn turn;
static pthread_mutex_t drawing = PTHREAD_MUTEX_INITIALIZER;
static uint64_t finished[NUMBERS], count; /* in turn: not atomic on purpose */

static void *
work(void *arg)
{
	(void)arg;
	for (;;) {
		pthread_mutex_lock(&drawing);
		uint64_t number = turn_draw(&turn);
		pthread_mutex_unlock(&drawing);
		/* Some take longer. */
		for (uint64_t i = 0; i < number % 7; i++)
			sched_yield();
		turn_wait(&turn, number);
		if (number < NUMBERS)
			finished[count++] = number;
		turn_pass(&turn);
		if (number >= NUMBERS)
			return NULL;
	}
}

static void
test_order(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	turn_init(&turn);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	turn_fini(&turn);
	assert_int_equal(count, NUMBERS);
	for (uint64_t i = 0; i < NUMBERS; i++)
		assert_int_equal(finished[i], i);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
