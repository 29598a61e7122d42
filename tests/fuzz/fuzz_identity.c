/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates from anybody: only what the authority signed is read. The first byte chooses whether
 * the bytes are a node's certificate or an authority's. */

#include <stdint.h>
#include <stdlib.h>
#include "scheduler/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct identity_authority authority;
	struct identity_authority other;
	struct identity who;
	struct err err = {0};

	if (!authority.certificate && identity_authority_create(&authority, 0, &err) < 0)
		abort();
	if (size == 0)
		return 0;
	if (data[0] & 1) {
		if (identity_judge(&authority, data + 1, size - 1, 0, &who) < IDENTITY_FOREIGN)
			abort();
	} else if (identity_authority_of(&other, data + 1, size - 1, NULL, &err) == 0) {
		identity_judge(&other, data + 1, size - 1, 0, &who);
		identity_authority_fini(&other);
	}
	return 0;
}
