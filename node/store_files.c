/* SPDX-License-Identifier: Apache-2.0 */
/* Paths come from node.yaml alone, which belongs to root; links are followed. */
#include "node/store_files.h"

#include "node/registries.h"
#include "ring/leash.h"

size_t
store_files_open(const struct config_store_etcd *etcd, int fds[STORE_FILES], uint64_t *which_out)
{
	const char *const paths[STORE_FILES] = {etcd->ca, etcd->cert, etcd->key,
						etcd->password_file};
	size_t count = 0;

	*which_out = 0;
	for (size_t i = 0; i < STORE_FILES; i++) {
		int fd = paths[i][0] ? registries_file(paths[i]) : -1;

		if (fd < 0)
			continue;
		fds[count++] = fd;
		*which_out |= UINT64_C(1) << i;
	}
	return count;
}
