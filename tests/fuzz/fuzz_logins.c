/* SPDX-License-Identifier: Apache-2.0 */
/* config.json, and what a program that keeps logins printed: what is taken of them is text that
 * ends, and a program's name has no slash. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/logins.h"
#include "wire/json_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct registry_login *l)
{
	if (!memchr(l->user, 0, sizeof(l->user)) || !memchr(l->password, 0, sizeof(l->password)) ||
	    !memchr(l->identity, 0, sizeof(l->identity)) ||
	    !memchr(l->helper, 0, sizeof(l->helper)) || strchr(l->helper, '/'))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool loaded;
	struct registry_login l;
	struct err err = {0};

	if (!loaded && json_read_open(&err) < 0)
		return 0;
	loaded = true;
	if (logins_find((const char *)data, size, "reg.test:5000", "team/app", &l, &err) > 0)
		check(&l);
	err_clear(&err);
	if (logins_take((const char *)data, size, &l, &err) == 0)
		check(&l);
	return 0;
}
