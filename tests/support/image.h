/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_IMAGE_H
#define TESTS_SUPPORT_IMAGE_H

/* A record for tests; its digest is made of one hex digit. Its layers are 'c' and the digit. */

#include <stdio.h>
#include <string.h>
#include "runtime/image_record.h"
#include "runtime/layout.h"

/* The record's texts are not const; nobody writes to them. */
#define IMAGE_TEXT(text) ((char *)(uintptr_t)(text))

static inline struct image_record
image_sample(char digit)
{
	static char digests[256][80];
	static char layers[256][72];
	static char *lists[256][2];
	static char *entrypoint[] = {IMAGE_TEXT("/bin/web")};
	static char *env[] = {IMAGE_TEXT("PATH=/bin"), IMAGE_TEXT("EMPTY=")};
	size_t i = (unsigned char)digit;

	memset(layers[i], digit, 64);
	memset(layers['c'], 'c', 64);
	lists[i][0] = layers['c'];
	lists[i][1] = layers[i];
	snprintf(digests[i], sizeof(digests[i]), "sha256:%.64s", layers[i]);
	return (struct image_record){
		.digest = digests[i],
		.config_digest = digests[i],
		.name = IMAGE_TEXT("shop/web:1"),
		.architecture = IMAGE_TEXT(layout_machine()),
		.os = IMAGE_TEXT("linux"),
		.variant = IMAGE_TEXT(""),
		.entrypoint = {entrypoint, 1},
		.env = {env, 2},
		.workdir = IMAGE_TEXT("/srv"),
		.user = IMAGE_TEXT("33:33"),
		.stop_signal = IMAGE_TEXT(""),
		.layers = {lists[i], 2},
		.bytes = 12345,
		.created_s = -5,
	};
}

#endif
