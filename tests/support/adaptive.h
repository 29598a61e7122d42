/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_ADAPTIVE_H
#define TESTS_SUPPORT_ADAPTIVE_H

#include <stdio.h>

/* Deployment "shop" with service "web", scale: {mode: adaptive, SCALE}, and the lines `more` behind
 * it. Until the next call. */
static inline const char *
adaptive_document(const char *scale, const char *more)
{
	static char text[1024];

	snprintf(text, sizeof(text),
		 "version: v1\n"
		 "deployment: shop\n"
		 "services:\n"
		 "  web:\n"
		 "    image: {name: web:1}\n"
		 "    resources: {cpu: 0.5, memory: 128Mi}\n"
		 "    endpoints: [{name: http, protocol: http, port: 8080, host: shop.test,"
		 " expose: public}]\n"
		 "    health: {check: {type: http, url: /health}}\n"
		 "    scale: {mode: adaptive, %s}\n"
		 "%s",
		 scale, more);
	return text;
}

#endif
