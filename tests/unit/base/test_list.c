/* SPDX-License-Identifier: Apache-2.0 */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

struct item {
	int number;
	struct list link;
};

static void
expect(struct list *head, const int *numbers, size_t count)
{
	struct list *l = head->next;

	for (size_t i = 0; i < count; i++, l = l->next) {
		struct item *item = container_of(l, struct item, link);

		assert_ptr_not_equal(l, head);
		assert_int_equal(item->number, numbers[i]);
		assert_ptr_equal(l->next->prev, l);
	}
	assert_ptr_equal(l, head);
}

static void
test_push(void **state)
{
	struct item items[] = {{.number = 1}, {.number = 2}, {.number = 3}};
	struct list head;

	(void)state;
	list_init(&head);
	assert_true(list_empty(&head));
	list_push(&head, &items[0].link);
	list_push(&head, &items[1].link);
	list_push_front(&head, &items[2].link);
	assert_false(list_empty(&head));
	expect(&head, (int[]){3, 1, 2}, 3);
}

static void
test_remove(void **state)
{
	struct item items[] = {{.number = 1}, {.number = 2}, {.number = 3}};
	struct list head;

	(void)state;
	list_init(&head);
	for (size_t i = 0; i < 3; i++)
		list_push(&head, &items[i].link);
	list_remove(&items[1].link);
	expect(&head, (int[]){1, 3}, 2);
	list_remove(&items[1].link);
	expect(&head, (int[]){1, 3}, 2);
	list_remove(&items[0].link);
	list_remove(&items[2].link);
	assert_true(list_empty(&head));
}

static void
test_each_may_remove(void **state)
{
	struct item items[6];
	struct list head;
	struct list *it;
	struct list *tmp;
	int visited = 0;

	(void)state;
	list_init(&head);
	list_each (it, tmp, &head)
		visited++;
	assert_int_equal(visited, 0);
	for (int i = 0; i < 6; i++) {
		items[i].number = i;
		list_push(&head, &items[i].link);
	}
	list_each (it, tmp, &head) {
		struct item *item = container_of(it, struct item, link);

		visited++;
		if (item->number % 2 == 0) {
			list_remove(it);
			*item = (struct item){0};
		}
	}
	assert_int_equal(visited, 6);
	expect(&head, (int[]){1, 3, 5}, 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_push),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_each_may_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
