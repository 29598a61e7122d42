/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_FILE_H
#define CLI_FILE_H

/* The document of a command: a file that was named, "-" for standard input, or the only one in this
 * folder that has one of the names. */

#include "base/buf.h"
#include "base/err.h"

enum { FILE_NAME_BYTES = 256 };

/* Looks in the folder dirfd. ERR_NOT_FOUND names what was looked for, ERR_USAGE which were seen. */
int file_find(int dirfd, char out[FILE_NAME_BYTES], struct err *err) MUST_CHECK;
/* named may be NULL. name_out is for messages. The buffer's cap is the limit. */
int file_read(const char *named, char name_out[FILE_NAME_BYTES], struct buf *out,
	      struct err *err) MUST_CHECK;

#endif
