/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of a hostile name server, and the resolver's files. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "wire/dns_stub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_stub_addrs addrs = {0};
	struct dns_stub_conf conf;
	uint8_t query[DNS_STUB_QUERY_BYTES];
	char name[DNS_STUB_NAME_BYTES], candidate[DNS_STUB_NAME_BYTES];
	uint16_t id = 0;

	if (size > 1)
		id = (uint16_t)(data[0] << 8 | data[1]);
	(void)dns_stub_answer(data, size, id, "www.test", DNS_STUB_A, &addrs);
	(void)dns_stub_answer(data, size, id, "www.test", DNS_STUB_AAAA, &addrs);
	dns_stub_hosts((const char *)data, size, "localhost", &addrs);
	if (addrs.count > DNS_STUB_ADDRS_MAX)
		abort();
	dns_stub_conf((const char *)data, size, &conf);
	if (conf.servers_count == 0 || conf.servers_count > DNS_STUB_SERVERS_MAX ||
	    conf.search_count > DNS_STUB_SEARCH_MAX)
		abort();
	size_t length = size < sizeof(name) ? size : sizeof(name) - 1;
	memcpy(name, data, length);
	name[length] = '\0';
	for (size_t i = 0; dns_stub_candidate(&conf, name, i, candidate, sizeof(candidate)); i++) {
		if (i > DNS_STUB_SEARCH_MAX ||
		    dns_stub_query(id, candidate, DNS_STUB_A, query) > sizeof(query))
			abort();
	}
	return 0;
}
