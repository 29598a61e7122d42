/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as node.yaml: refused, or a configuration whose dump gives the same bytes; and any
 * bytes as the struct itself, as a role would get them. */
#include <stdlib.h>
#include <string.h>
#include "spec/config.h"
#include "spec/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
parse(const char *text, size_t bytes, struct config *out)
{
	struct diag_list diags;
	bool good;

	diag_list_init(&diags);
	config_defaults(out);
	good = config_parse(text, bytes, "fuzz.yaml", out, &diags) == 0;
	if (!good && diag_count(&diags) == 0)
		abort();
	if (config_check(out, sizeof(*out)) == NULL)
		abort();
	diag_list_fini(&diags);
	return good;
}

static void
check_bytes(const uint8_t *data, size_t size)
{
	static struct config copy;

	config_defaults(&copy);
	for (size_t i = 0; i + 3 <= size; i += 3)
		((uint8_t *)&copy)[(data[i] | (size_t)data[i + 1] << 8) % sizeof(copy)] =
			data[i + 2];
	if (config_check(&copy, sizeof(copy)) != NULL) {
		struct buf out;

		buf_init(&out, MEM_SPEC, 1 << 20);
		config_dump_yaml(&copy, &out);
		buf_fini(&out);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config first, second;
	struct err err = {0};
	struct buf out;

	if (dl_load_yaml(&err) != 0)
		abort();
	check_bytes(data, size);
	if (!parse((const char *)data, size, &first))
		return 0;
	buf_init(&out, MEM_SPEC, 4 << 20);
	config_dump_yaml(&first, &out);
	if (!parse(buf_cstr(&out), out.length, &second) ||
	    memcmp(&first, &second, sizeof(first)) != 0)
		abort();
	buf_fini(&out);
	return 0;
}
