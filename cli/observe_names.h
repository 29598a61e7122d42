/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_OBSERVE_NAMES_H
#define CLI_OBSERVE_NAMES_H

/* Names that `observe` filters by: what nobody knows is said, not waited for in silence. */

#include "cli/cli.h"

/* Remarks on standard error about --peer and --service of which the node knows nothing; none with
 * --quiet, or when the node cannot be asked. No error: such a one may come, and of one that has
 * gone flows may be kept. */
void observe_names_check(const struct cli *cli);

#endif
