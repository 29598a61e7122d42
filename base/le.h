/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LE_H
#define BASE_LE_H

/*
 * Little-endian integers at places of a message whose layout is fixed: the caller has made sure
 * that there is room. What grows is written with a buf, what comes from others is read with a
 * cursor (base/buf.h). bytes: 1 to 8.
 */

#include <stdint.h>

/* Gives the place behind it. */
static inline uint8_t *
le_put(uint8_t *at, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> 8 * i);
	return at + bytes;
}

static inline uint64_t
le_get(const uint8_t *at, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)at[i] << 8 * i;
	return v;
}

#endif
