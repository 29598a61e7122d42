/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_ETCD_JSON_H
#define SCHEDULER_ETCD_JSON_H

/*
 * What is said to etcd's JSON gateway (3.4: /v3/kv/range, /v3/kv/txn, /v3/watch, /v3/lease ...),
 * and what it says. 64-bit integers are texts there, keys and values base64; what is zero or empty
 * is left out. Requests go to the end of a buffer, whose sticky failure says all. Answers are
 * copied into the caller's arena; one that is no answer gives ERR_CORRUPT.
 * Threading: pure functions. json_read_open() came before.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "spec/json.h"

enum { ETCD_JSON_KVS_MAX = 1 << 20, ETCD_JSON_GETS_MAX = 3 };

/* ---- requests ---- */

struct etcd_json_range {
	const char *key;
	const char *end;   /* NULL: that key alone */
	uint64_t limit;    /* 0 none */
	int64_t revision;  /* 0 the newest */
	bool newest_first; /* by key, backwards */
	bool keys_only;
};

void etcd_json_range(struct buf *out, const struct etcd_json_range *range);

/* compares -> then -> what is done if all hold -> otherwise -> ... -> end */
struct etcd_json_txn {
	struct json j;
};

void etcd_json_txn(struct etcd_json_txn *t, struct buf *out);
void etcd_json_if_absent(struct etcd_json_txn *t, const char *key);
void etcd_json_if_there(struct etcd_json_txn *t, const char *key);
void etcd_json_if_value(struct etcd_json_txn *t, const char *key, const char *value);
void etcd_json_then(struct etcd_json_txn *t);
void etcd_json_otherwise(struct etcd_json_txn *t);
/* lease 0: none. */
void etcd_json_put(struct etcd_json_txn *t, const char *key, const void *data, size_t bytes,
		   int64_t lease);
void etcd_json_delete(struct etcd_json_txn *t, const char *key, const char *end);
void etcd_json_get(struct etcd_json_txn *t, const struct etcd_json_range *range);
void etcd_json_end(struct etcd_json_txn *t);

void etcd_json_login(struct buf *out, const char *user, const char *password);
void etcd_json_watch(struct buf *out, const char *key, const char *end, int64_t revision);
void etcd_json_lease_grant(struct buf *out, uint32_t ttl_s);
void etcd_json_lease(struct buf *out, int64_t lease); /* keepalive (also several), revoke */

/* ---- answers ---- */

struct etcd_json_kv {
	const char *key; /* NUL behind it */
	size_t key_bytes;
	const uint8_t *value;
	size_t value_bytes;
	int64_t revision; /* of its last change */
	int64_t lease;    /* it hangs on; 0: none */
	bool gone;        /* an event: deleted */
};

struct etcd_json_kvs {
	struct etcd_json_kv *items;
	size_t count;
	bool more; /* there are some behind these */
};

struct etcd_json_answer {
	uint64_t cluster;
	int64_t revision;
	bool succeeded;                                /* a txn: its compares held */
	struct etcd_json_kvs kvs;                      /* of a range */
	struct etcd_json_kvs gets[ETCD_JSON_GETS_MAX]; /* the first ranges of a txn */
	size_t gets_count;
	int64_t lease;
	int64_t ttl_s; /* 0: there is no such lease (any more) */
};

struct etcd_json_events {
	int64_t revision;
	bool created;
	bool canceled;
	int64_t compacted; /* canceled because of it; 0 not */
	char why[128];
	struct etcd_json_kvs kvs;
};

enum etcd_json_refusal {
	ETCD_JSON_OTHER,
	ETCD_JSON_NO_QUORUM, /* no leader, timed out, too busy: may be asked again */
	ETCD_JSON_NO_SPACE,
	ETCD_JSON_COMPACTED,
	ETCD_JSON_TOO_LARGE,
	ETCD_JSON_NOT_FOUND,
	ETCD_JSON_DENIED,
	ETCD_JSON_STRANGER, /* it wants a (new) token */
	ETCD_JSON_NAMED,    /* it has users, and the client's certificate a name */
	ETCD_JSON_NO_USERS, /* it knows none: no token is wanted */
};

/* Of range, txn, lease. */
int etcd_json_answer(const void *text, size_t bytes, struct arena *a, struct etcd_json_answer *out,
		     struct err *err) MUST_CHECK;
/* The token of an answer to etcd_json_login; false: there is none. */
bool etcd_json_token(const void *text, size_t bytes, char *out, size_t cap) MUST_CHECK;
/* One line of a watch's stream. */
int etcd_json_events(const void *text, size_t bytes, struct arena *a, struct etcd_json_events *out,
		     struct err *err) MUST_CHECK;
/* An answer that is no success; why: in etcd's words. */
enum etcd_json_refusal etcd_json_refusal(const void *text, size_t bytes, char *why, size_t cap);

#endif
