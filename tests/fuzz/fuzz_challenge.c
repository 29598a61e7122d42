/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate of a hostile registry: what is kept is text that ends. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "wire/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct challenge c = {0};

	(void)challenge_parse((const char *)data, size, &c);
	if (!memchr(c.realm, 0, sizeof(c.realm)) || !memchr(c.service, 0, sizeof(c.service)) ||
	    !memchr(c.scope, 0, sizeof(c.scope)))
		abort();
	return 0;
}
