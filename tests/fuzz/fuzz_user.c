/* SPDX-License-Identifier: Apache-2.0 */
/* passwd and group of a hostile image: the input, cut in three (user, passwd, group) at zero bytes.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "runtime/monitor/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char spec[128];
	struct user user;
	struct err err = {0};
	const uint8_t *cut = memchr(data, 0, bytes);
	size_t first = cut == NULL ? 0 : (size_t)(cut - data);
	if (first >= sizeof(spec))
		first = sizeof(spec) - 1;
	memcpy(spec, data, first);
	spec[first] = '\0';
	const uint8_t *rest = data + first;
	size_t left = bytes - first;
	const uint8_t *middle = memchr(rest, 1, left);
	size_t half = middle == NULL ? left / 2 : (size_t)(middle - rest);
	if (user_find(spec, (const char *)rest, half, (const char *)rest + half, left - half, &user,
		      &err) == 0)
		assert(user.groups_count <= USER_GROUPS_MAX &&
		       memchr(user.home, 0, USER_HOME_BYTES));
	return 0;
}
