/* SPDX-License-Identifier: Apache-2.0 */
/* What the program etcd prints: its version, lines of its log; and an order for it. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "node/etcd_log.h"
#include "node/etcd_program.h"
#include "node/etcd_spawn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
order(const uint8_t *data, size_t size)
{
	static struct etcd_spawn_words words;
	struct msg_etcd_order o = {0};
	struct addr listen = {.port = 9885};
	struct err err = {0};

	memcpy(&o, data, size < sizeof(o) ? size : sizeof(o));
	if (etcd_spawn_order_holds(&o, &err) < 0 || o.life == 0 ||
	    etcd_spawn_words(&o, &listen, "/data", "/shown", &words, &err) < 0)
		return;
	for (size_t i = 1; i < words.count; i++)
		assert(strncmp(words.argv[i], "--", 2) == 0 && !strchr(words.argv[i], ' '));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char version[ETCD_PROGRAM_VERSION], said[ETCD_LOG_SAID];
	enum log_level level;
	struct err err = {0};

	if (etcd_program_read((const char *)data, size, version, &err) == 0)
		assert(version[0] == '3');
	assert(strlen(version) < sizeof(version));
	etcd_log_read((const char *)data, size, &level, said);
	assert(level <= LOG_ERROR && strlen(said) < sizeof(said));
	order(data, size);
	return 0;
}
