/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_CHECKSUM_H
#define OVERLAY_ENGINE_CHECKSUM_H

/*
 * The Internet's checksum (RFC 1071): a sum of 16-bit words in ones' complement. Words are taken as
 * the machine has them and put back the same way, which gives the right bytes on any machine; a sum
 * that is going on is 64 bits wide. Each piece of data but the last has an even length.
 * Threading: pure.
 */

#include <stddef.h>
#include <stdint.h>

uint64_t checksum_add(uint64_t sum, const void *data, size_t bytes);
/* Copies, too, in the same pass. The areas do not overlap. */
uint64_t checksum_copy(uint64_t sum, void *to, const void *from, size_t bytes);
/* What both do on any CPU; to NULL: does not copy. */
uint64_t checksum_plain(uint64_t sum, void *to, const void *from, size_t bytes);
/* Adds a number that stands in the packet as 16 bits (or, if greater, as 32) in network order. */
uint64_t checksum_number(uint64_t sum, uint32_t value);
/* The 16 bits of it, to be stored with memcpy: as a header's partial sum, or, inverted, as its
 * checksum. Data with its right checksum in it gives 0xffff. */
uint16_t checksum_fold(uint64_t sum);

#endif
