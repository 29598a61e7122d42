/* SPDX-License-Identifier: Apache-2.0 */
/* Questions and answers of admission, as a stranger may send them: what is taken is the same when
 * it is written and taken again. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "scheduler/admission.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
question(const uint8_t *data, size_t size)
{
	struct admission_question q, again;
	struct err err = {0};
	struct buf out;

	if (admission_take_question(data, size, &q, &err) < 0)
		return;
	buf_init(&out, MEM_SCHEDULER, 1 << 16);
	admission_put_question(&q, &out);
	if (out.length != size + 4 || memcmp(out.data + 4, data, size) != 0 ||
	    admission_take_question(out.data + 4, size, &again, &err) < 0 ||
	    memcmp(&q, &again, sizeof(q)) != 0)
		abort();
	buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct admission_answer a;
	struct err err = {0};

	question(data, size);
	if (admission_take_answer(data, size, &a, &err) == 0) {
		for (size_t i = 0; i < a.nodes_count; i++)
			if (!admission_name_fits(a.nodes[i].name))
				abort();
		admission_answer_fini(&a);
	}
	return 0;
}
