/* SPDX-License-Identifier: Apache-2.0 */
/* A number, not a list of probes: what is missing would be found one by one, in processes of which
 * each could only say what the kernel refused it. */
#include "node/kernel.h"

#include <stdio.h>
#include <sys/utsname.h>

int
kernel_check(const char *release, struct err *err)
{
	unsigned major, minor;

	if (sscanf(release, "%3u.%5u", &major, &minor) != 2 || major > KERNEL_MAJOR_MIN ||
	    (major == KERNEL_MAJOR_MIN && minor >= KERNEL_MINOR_MIN))
		return 0;
	err_set(err, ERR_UNSUPPORTED, "this kernel is too old for a node: Linux %.64s", release);
	err_why(err,
		"containers' roots, their networks and the data path need Linux %d.%d or newer",
		KERNEL_MAJOR_MIN, KERNEL_MINOR_MIN);
	return err_fix(err, "boot a newer kernel; docs/operations.md says what each one adds");
}

int
kernel_check_running(struct err *err)
{
	struct utsname system;

	return uname(&system) < 0 ? 0 : kernel_check(system.release, err);
}
