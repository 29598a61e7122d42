/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a library and filling the table of its functions. All or nothing: the table is written
 * only when every symbol was found, so a table whose first word is set is complete. The handle is
 * kept open for the life of the process.
 *
 * Called by a role at its start, before any thread: no locking.
 */
#include "base/dl.h"

#include <assert.h>
#include <dlfcn.h>
#include <string.h>

static int
find_all(void *handle, const char *soname, const char *const *symbols, size_t count,
	 struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		if (dlsym(handle, symbols[i]) == NULL) {
			err_set(err, ERR_UNSUPPORTED, "%s has no function %s", soname, symbols[i]);
			return err_fix(err, "install a newer version of the library");
		}
	}
	return 0;
}

int
dl_load_(const char *soname, const char *const *symbols, void **table, size_t count,
	 struct err *err)
{
	void *first;

	assert(count > 0 && symbols[count] == NULL);
	/* The table is a struct of function pointers: only bytes may be moved to and from it. */
	memcpy(&first, table, sizeof(first));
	if (first != NULL)
		return 0;

	void *handle = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		const char *why = dlerror();
		err_set(err, ERR_UNSUPPORTED, "cannot load the library %s", soname);
		if (why != NULL)
			err_why(err, "%s", why);
		return err_fix(err, "install the package that has %s", soname);
	}
	if (find_all(handle, soname, symbols, count, err) < 0) {
		dlclose(handle);
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		void *symbol = dlsym(handle, symbols[i]);
		memcpy(table + i, &symbol, sizeof(symbol));
	}
	return 0;
}
