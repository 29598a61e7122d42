/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_OPENAPI_H
#define API_OPENAPI_H

#include <stddef.h>

/* docs/openapi.json, as it was when this was built. Made by tools/embed. */
extern const unsigned char openapi_text[];
extern const size_t openapi_bytes;

#endif
