/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_DOCUMENT_H
#define CLI_DOCUMENT_H

/* The document that a command was given, read and checked here, without a node. */

#include <stdbool.h>
#include "cli/cli.h"
#include "cli/file.h"
#include "spec/doc.h"

struct document {
	char name[FILE_NAME_BYTES];
	struct buf text;
	struct doc *doc;
	const char *deployment;
};

/* 0, or the exit status: then all errors were shown. available: also refuse what this version
 * cannot do. Call document_fini in both cases. */
int document_read(const struct cli *cli, struct document *d, bool available);
void document_fini(struct document *d);

#endif
