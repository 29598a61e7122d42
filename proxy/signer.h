/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SIGNER_H
#define PROXY_SIGNER_H

/* The signer role: the only process that has private keys. Publishes certificates (table
 * certificate), answers MSG_OP_SIGN, issues from the local authority, rotates ticket keys. */

#include "ring/station.h"

extern const struct station_role signer_role;

#endif
