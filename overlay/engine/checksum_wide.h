/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_CHECKSUM_WIDE_H
#define OVERLAY_ENGINE_CHECKSUM_WIDE_H

/*
 * checksum.h's sums on vectors of 64 bytes, for CPUs that have the AVX-512 of the AEAD table's
 * fastest way; on others nothing of it may run. Threading: pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool checksum_wide_runs_here(void);
uint64_t checksum_wide_add(uint64_t sum, const void *data, size_t bytes);
uint64_t checksum_wide_copy(uint64_t sum, void *to, const void *from, size_t bytes);

#endif
