/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_UPLINK_MARK_H
#define NODE_UPLINK_MARK_H

/*
 * Which settings of the machine were switched for an uplink: kept as words of the uplink's alias
 * ("zlayer NAME 4:eth0 6:eth0"), so that they are found by whoever comes after a crash, and go with
 * the link. A mark is set before its setting is switched, and only for one that was off.
 *
 *   4:LINK   net.ipv4.conf.LINK.forwarding         0 -> 1
 *   6:LINK   net.ipv6.conf.LINK.force_forwarding   0 -> 1   (Linux 6.17)
 *   all6     net.ipv6.conf.all.forwarding          0 -> 1   (before that)
 *   ra:LINK  net.ipv6.conf.LINK.accept_ra          1 -> 2   (with all6: else the machine would stop
 *                                                           listening to its routers)
 *
 * Threading: plain values; settings are of the calling thread's network namespace.
 */

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"

enum { UPLINK_MARK_BYTES = 256, UPLINK_MARK_LINKS_MAX = 8 };

struct uplink_mark_links {
	char v4[UPLINK_MARK_LINKS_MAX][IFNAMSIZ]; /* of default routes */
	char v6[UPLINK_MARK_LINKS_MAX][IFNAMSIZ];
	size_t v4_count, v6_count;
};

/* "zlayer NAME": an alias without marks. False when alias is not one of ours. */
void uplink_mark_begin(const char *instance, char out[UPLINK_MARK_BYTES]);
bool uplink_mark_ours(const char *alias);
/* Adds a word once; ERR_LIMIT when it does not fit. */
int uplink_mark_add(char alias[UPLINK_MARK_BYTES], const char *word, struct err *err) MUST_CHECK;
/* Visits the words behind the name. */
void uplink_mark_each(const char *alias, void (*visit)(void *arg, const char *word), void *arg);

/* Adds the marks that packets between the uplink and `links` need. */
int uplink_mark_plan(const struct uplink_mark_links *links, char alias[UPLINK_MARK_BYTES],
		     struct err *err) MUST_CHECK;
/* Switches what is marked, and the uplink's own settings. */
int uplink_mark_switch(const char *uplink, const char *alias, struct err *err) MUST_CHECK;
/* Switches back what is marked. What the administrator has switched on for all links stays. */
void uplink_mark_restore(const char *alias);

/* Whether the machine forwards between all its links: then it is nobody's business to stop it. */
bool uplink_mark_routes4(void);
bool uplink_mark_routes6(void);

#endif
