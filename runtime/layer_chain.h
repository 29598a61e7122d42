/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LAYER_CHAIN_H
#define RUNTIME_LAYER_CHAIN_H

/*
 * The name of a layer together with all that lies below it: the chain id of the OCI image-spec
 * (config.md). All ids are 64 hex digits. No I/O.
 */

#include <stdbool.h>

enum { LAYER_CHAIN_BYTES = 65 };

/* below: the chain id of the layer below, "" for the bottom layer. false: no memory. */
__attribute__((warn_unused_result)) bool layer_chain_next(const char *below, const char *diff_id,
							  char out[LAYER_CHAIN_BYTES]);

#endif
