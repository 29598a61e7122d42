/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_OPTIONS_H
#define NODE_OPTIONS_H

/* The command line of `zlayer serve`, and the configuration that goes with it. */

#include <stdbool.h>
#include "base/err.h"
#include "node/instance.h"
#include "spec/config.h"

struct options {
	char instance[MSG_NAME];
	char data_path[INSTANCE_PATH]; /* "": what the configuration says */
	char config_path[INSTANCE_PATH];
	bool config_given;
	bool help;
};

int options_parse(int argc, char **argv, struct options *out, struct err *err) MUST_CHECK;
/* Loads the configuration. A wrong file is printed to standard error as the command line prints
 * documents, and summed up in *err; of a node at work (SIGHUP) its errors go into the log. */
int options_config(const struct options *options, bool at_work, struct config *out,
		   struct err *err) MUST_CHECK;
/* Where the data folder is, as an absolute path. */
int options_data(const struct options *options, const struct config *config, char *out, size_t cap,
		 struct err *err) MUST_CHECK;
void options_usage(void);

#endif
