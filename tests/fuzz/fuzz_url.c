/* SPDX-License-Identifier: Apache-2.0 */
/* Targets, authorities, paths, queries: normalising twice changes nothing more. */
#include <stdlib.h>
#include <string.h>
#include "wire/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const char *data = (const char *)bytes;
	static char out[16384], again[16384];
	struct url_authority authority;
	struct url_target target;
	struct url_pair pair;
	size_t at = 0, n, m;

	if (size > sizeof(out))
		return 0;
	for (int m2 = 0; m2 < HTTP_METHODS_; m2++) {
		if (url_target_parse(data, size, (enum http_method)m2, &target) &&
		    (target.path.at + target.path.length > size ||
		     target.query.at + target.query.length > size ||
		     target.authority.at + target.authority.length > size))
			abort();
	}
	if (url_authority_parse(data, size, &authority))
		(void)url_host_fold(authority.host, authority.host_length, out, sizeof(out));
	if (url_path_normalise(data, size, out, size, &n) == URL_PATH_OK) {
		if (n > size || n == 0 || out[0] != '/')
			abort();
		if (url_path_normalise(out, n, again, n, &m) != URL_PATH_OK || m != n ||
		    memcmp(out, again, n) != 0)
			abort();
	}
	while (url_query_next(data, size, &at, &pair))
		(void)url_decode(pair.name, pair.name_length, true, out, sizeof(out));
	(void)url_query_get(data, size, "a", out, 8);
	if (url_encode(data, size / 4, out, sizeof(out)) >= 0 && !memchr(data, 0, size / 4) &&
	    (url_decode(out, strlen(out), false, again, sizeof(again)) != (long)(size / 4) ||
	     memcmp(again, data, size / 4) != 0))
		abort();
	return 0;
}
