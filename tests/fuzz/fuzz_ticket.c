/* SPDX-License-Identifier: Apache-2.0 */
/* Words that somebody typed: what is read is written again as the same word. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "scheduler/ticket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[1024];
	char again[TICKET_TEXT_BYTES];
	struct ticket t;
	struct err err = {0};

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (ticket_read(text, &t, &err) < 0) {
		if (err.kind != ERR_INVALID)
			abort();
		return 0;
	}
	ticket_write(&t, again);
	if (!strstr(text, again))
		abort();
	return 0;
}
