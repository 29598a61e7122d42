/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the node's configuration as an empty file means it, for config_page.py. */
#include <stdio.h>
#include "base/buf.h"
#include "spec/config.h"

int
main(void)
{
	static struct config config;
	struct buf text;

	buf_init(&text, MEM_SPEC, 1 << 20);
	config_defaults(&config);
	config_dump_yaml(&config, &text);
	fputs(buf_cstr(&text), stdout);
	buf_fini(&text);
	return 0;
}
