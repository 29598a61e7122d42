/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_HOLD_H
#define RUNTIME_MONITOR_HOLD_H

/* Process 1 of a container whose program has ended and which is kept to be looked at. Closes
 * report_fd, which says that it runs; ends with status 0 at the first signal that asks for it. */
_Noreturn void hold_run(int report_fd);

#endif
