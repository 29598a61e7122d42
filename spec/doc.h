/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_DOC_H
#define SPEC_DOC_H

/*
 * The deployment document (docs/spec.md) as C structs, all in one arena that the document owns:
 * parsed, checked, defaults filled in. Everything is read-only after doc_parse().
 *
 *  - Texts are NUL-terminated UTF-8 without NUL inside. A NULL text means "not given" and is only
 *    found where a comment says so. Lists are `items` and `count`; items of an empty one is NULL.
 *  - Numbers where 0 means "not given" say so. Durations are milliseconds, sizes bytes, cpu
 *    thousandths of a core.
 *  - Maps (services, env, labels ...) are sorted by key: two documents that mean the same give the
 *    same dump.
 *  - Every section remembers where it came from in `node`; doc_where() gives line and column of any
 *    of its keys, doc_diag() adds a diagnostic there, also long after parsing.
 * Threading: read-only after doc_parse, so any number of readers.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/arena.h"
#include "base/buf.h"
#include "spec/cron.h"
#include "spec/diag.h"
#include "spec/image_ref.h"

struct yaml_node;

enum {
	DOC_BYTES_MAX = 1 << 20,
	DOC_SERVICES_MAX = 1000,
	DOC_EXTERNALS_MAX = 256,
	DOC_ROUTES_MAX = 256,
	DOC_TUNNELS_MAX = 64,
	DOC_ENDPOINTS_MAX = 64, /* of a service */
	DOC_REPLICAS_MAX = 10000,
	DOC_LIST_MAX = 1024, /* any other list or map */
	DOC_PROBE_MAX = 255, /* bytes of a udp_probe */
	DOC_NAME_BYTES = 64, /* of deployment, service, endpoint, volume, with the NUL */
};

struct doc_texts {
	const char **items;
	size_t count;
};

struct doc_pair {
	const char *key;
	const char *value;
};

struct doc_pairs {
	struct doc_pair *items;
	size_t count;
};

/* ---- service: image, command, resources, env ---- */

enum doc_rtype { DOC_RTYPE_SERVICE, DOC_RTYPE_JOB, DOC_RTYPE_CRON };

enum { DOC_SCHEDULE_BYTES = 512 }; /* with its NUL */

enum doc_overlap { DOC_OVERLAP_FORBID, DOC_OVERLAP_ALLOW, DOC_OVERLAP_REPLACE };
enum doc_catch_up { DOC_CATCH_UP_LAST, DOC_CATCH_UP_ALL, DOC_CATCH_UP_NONE };
enum doc_on_loss { DOC_ON_LOSS_SKIP, DOC_ON_LOSS_RETRY };

struct doc_cron { /* what is done at the times of the schedule */
	const struct yaml_node *node;
	enum doc_overlap overlap;   /* a time comes while a run is under way */
	enum doc_catch_up catch_up; /* times went by while nothing could be run */
	enum doc_on_loss on_loss;   /* a run was lost with the node */
};

enum doc_pull { DOC_PULL_ALWAYS, DOC_PULL_NEWER, DOC_PULL_IF_NOT_PRESENT, DOC_PULL_NEVER };

struct doc_image {
	const struct yaml_node *node;
	const char *name; /* as written */
	struct image_ref ref;
	enum doc_pull pull_policy;
};

struct doc_command {
	const struct yaml_node *node;
	/* has_x: given, also when the list is empty. */
	bool has_entrypoint, has_args;
	struct doc_texts entrypoint;
	struct doc_texts args;
	const char *workdir; /* NULL: the image's */
};

struct doc_ulimit {
	const struct yaml_node *node;
	const char *name; /* "nofile" */
	uint64_t soft;    /* UINT64_MAX: unlimited */
	uint64_t hard;
};

/* 0 (NULL) where not given. */
struct doc_resources {
	const struct yaml_node *node;
	uint32_t cpu_milli;
	uint64_t memory_bytes;
	uint64_t memory_swap_bytes; /* memory and swap together */
	uint64_t memory_reservation_bytes;
	uint32_t pids;
	uint32_t cpu_shares;
	const char *cpuset; /* "0-3,5" */
	int32_t oom_score_adj;
	struct doc_ulimit *ulimits;
	size_t ulimits_count;
};

enum doc_env_kind {
	DOC_ENV_TEXT,
	DOC_ENV_NODE,   /* $E:NAME: a variable of the node's environment */
	DOC_ENV_SECRET, /* $S:name, $S:@service/name */
};

struct doc_env_piece {
	enum doc_env_kind kind;
	const char *text;    /* the text itself, the variable's or the secret's name */
	const char *service; /* of $S:@service/name; else NULL */
};

struct doc_env {
	const struct yaml_node *node; /* the value */
	const char *name;
	const char *value; /* as written: what a dump shows */
	struct doc_env_piece *pieces;
	size_t pieces_count; /* 0: the empty text */
};

/* ---- service: network, endpoints ---- */

struct doc_overlay {
	const struct yaml_node *node;
	bool enabled;
	bool encrypted;
	bool isolated;
};

enum doc_join_mode { DOC_JOIN_OPEN, DOC_JOIN_TOKEN, DOC_JOIN_CLOSED };
enum doc_join_scope { DOC_JOIN_SERVICE, DOC_JOIN_GLOBAL };

struct doc_join {
	const struct yaml_node *node;
	enum doc_join_mode mode;
	enum doc_join_scope scope;
};

struct doc_overlays {
	const struct yaml_node *node;
	struct doc_overlay service;
	struct doc_overlay global;
};

struct doc_network {
	const struct yaml_node *node;
	struct doc_overlays overlays;
	struct doc_join join;
};

enum doc_protocol {
	DOC_PROTOCOL_HTTP,
	DOC_PROTOCOL_HTTPS,
	DOC_PROTOCOL_TCP,
	DOC_PROTOCOL_UDP,
	DOC_PROTOCOL_WEBSOCKET,
};

enum doc_expose { DOC_EXPOSE_INTERNAL, DOC_EXPOSE_PUBLIC };

enum doc_stream_check { DOC_STREAM_NO_CHECK, DOC_STREAM_TCP_CONNECT, DOC_STREAM_UDP_PROBE };

struct doc_stream_health {
	const struct yaml_node *node;
	enum doc_stream_check type;
	const char *request; /* udp_probe: what is sent; else NULL */
	const char *expect;  /* udp_probe: what the answer begins with; NULL: anything */
};

struct doc_stream {
	const struct yaml_node *node; /* NULL: not given; the rest has its defaults */
	bool tls;
	bool proxy_protocol;
	uint64_t session_timeout_ms;
	struct doc_stream_health health_check;
};

struct doc_prefixes {
	struct addr_prefix *items;
	size_t count;
};

/* 0: no limit given. */
struct doc_limits {
	const struct yaml_node *node; /* NULL: not given */
	uint32_t rps;
	uint32_t burst;
	uint64_t body_bytes;
	uint64_t header_bytes;
	uint32_t concurrent;
	struct doc_prefixes allow; /* none: everybody */
	struct doc_prefixes deny;  /* goes before allow */
};

struct doc_jwt {
	const struct yaml_node *node; /* NULL: not given */
	const char *secret;           /* "$S:name" */
	struct doc_pairs claims;
};

struct doc_auth {
	const struct yaml_node *node; /* NULL: not given; else one of the two is */
	struct doc_jwt jwt;
	const char *basic; /* "$S:name" or NULL */
};

enum doc_balance_kind {
	DOC_BALANCE_P2C,
	DOC_BALANCE_ROUND_ROBIN,
	DOC_BALANCE_LEAST_CONN,
	DOC_BALANCE_HASH_HEADER,
	DOC_BALANCE_HASH_COOKIE,
	DOC_BALANCE_HASH_CLIENT_IP,
	DOC_BALANCE_STICKY_COOKIE,
};

struct doc_balance {
	const struct yaml_node *node; /* NULL: not given */
	enum doc_balance_kind kind;
	const char *name; /* of the header or cookie; else NULL */
};

struct doc_tunnel_access {
	const struct yaml_node *node;
	bool enabled;
	uint64_t max_ttl_ms;
	bool audit;
};

struct doc_endpoint_tunnel {
	const struct yaml_node *node; /* NULL: not given */
	bool enabled;
	uint16_t remote_port; /* 0: the endpoint's */
	struct doc_tunnel_access access;
};

struct doc_endpoint {
	const struct yaml_node *node;
	const char *name;
	enum doc_protocol protocol;
	uint16_t port;
	uint16_t target_port;
	const char *host; /* NULL: any; lower case; "*.suffix" */
	const char *path; /* begins with '/', no '/' at the end unless it is all of it */
	bool strip_path;
	enum doc_expose expose;
	struct doc_stream stream;
	struct doc_limits limits;
	struct doc_auth auth;
	struct doc_balance balance;
	struct doc_endpoint_tunnel tunnel;
};

/* ---- service: scale, depends, health, init, errors ---- */

enum doc_scale_mode { DOC_SCALE_FIXED, DOC_SCALE_ADAPTIVE, DOC_SCALE_MANUAL };

struct doc_targets {
	const struct yaml_node *node;
	uint32_t cpu_percent; /* 0: not given */
	uint32_t memory_percent;
	uint32_t rps; /* per ready replica */
};

/* min <= max always hold; fixed: both are `replicas`; manual: 0 and DOC_REPLICAS_MAX. */
struct doc_scale {
	const struct yaml_node *node;
	enum doc_scale_mode mode;
	uint32_t replicas; /* to begin with; adaptive: min */
	uint32_t min;
	uint32_t max;
	uint64_t cooldown_ms;
	struct doc_targets targets;
	bool unique; /* never two replicas of one number, over partitions of the cluster too */
};

enum doc_condition { DOC_CONDITION_STARTED, DOC_CONDITION_HEALTHY, DOC_CONDITION_READY };
enum doc_on_failure { DOC_ON_FAILURE_FAIL, DOC_ON_FAILURE_WARN, DOC_ON_FAILURE_CONTINUE };

struct doc_depend {
	const struct yaml_node *node;
	const char *service; /* exists in the document */
	enum doc_condition condition;
	uint64_t timeout_ms;
	enum doc_on_failure on_timeout;
};

/* A command line: a text is run by the container's /bin/sh -c, a list as it is. */
struct doc_run {
	const struct yaml_node *node; /* NULL: none */
	bool shell;
	struct doc_texts argv; /* shell: one item */
};

enum doc_check_type { DOC_CHECK_TCP, DOC_CHECK_HTTP, DOC_CHECK_COMMAND };

struct doc_check {
	const struct yaml_node *node;
	enum doc_check_type type;
	uint16_t port;   /* tcp, http: filled in from the first endpoint when not given */
	const char *url; /* http: "/path" asked of the replica, or "http://host..."; else NULL */
	uint16_t expect_status;
	struct doc_run command;
};

struct doc_health {
	const struct yaml_node *node; /* NULL: no health block: the weaker gate */
	uint64_t start_grace_ms;
	uint64_t interval_ms;
	uint64_t timeout_ms;
	uint32_t retries;
	struct doc_check check;
};

enum doc_init_uses { DOC_INIT_WAIT_TCP, DOC_INIT_WAIT_HTTP, DOC_INIT_RUN };

struct doc_init_with {
	const struct yaml_node *node;
	const char *host; /* wait_tcp */
	uint16_t port;
	const char *url; /* wait_http */
	uint16_t expect_status;
	struct doc_run command; /* run */
};

struct doc_init_step {
	const struct yaml_node *node;
	const char *id;
	enum doc_init_uses uses;
	struct doc_init_with with;
	uint32_t retry;
	uint64_t timeout_ms;
	enum doc_on_failure on_failure;
};

struct doc_init {
	const struct yaml_node *node;
	struct doc_init_step *steps;
	size_t steps_count;
};

enum doc_init_action { DOC_INIT_FAIL, DOC_INIT_RESTART, DOC_INIT_BACKOFF };
enum doc_panic_action { DOC_PANIC_RESTART, DOC_PANIC_SHUTDOWN, DOC_PANIC_ISOLATE };

struct doc_on_init_failure {
	const struct yaml_node *node;
	enum doc_init_action action;
};

struct doc_on_panic {
	const struct yaml_node *node;
	enum doc_panic_action action;
};

struct doc_errors {
	const struct yaml_node *node;
	struct doc_on_init_failure on_init_failure;
	struct doc_on_panic on_panic;
};

/* ---- service: placement, privileges, storage, update ---- */

enum doc_node_mode { DOC_NODE_SHARED, DOC_NODE_DEDICATED, DOC_NODE_EXCLUSIVE };
enum doc_spread { DOC_SPREAD_NODE, DOC_SPREAD_ZONE, DOC_SPREAD_NONE };

struct doc_selector {
	const struct yaml_node *node;
	struct doc_pairs labels;
	struct doc_pairs prefer_labels;
};

struct doc_placement {
	const struct yaml_node *node;
	enum doc_node_mode mode;
	struct doc_selector selector;
	struct doc_texts tolerate;
	enum doc_spread spread;
};

struct doc_device {
	const struct yaml_node *node;
	const char *path; /* absolute */
	bool read;
	bool write;
	bool mknod;
};

#define DOC_CAPS_ALL UINT64_MAX

enum doc_storage_type {
	DOC_STORAGE_BIND,
	DOC_STORAGE_NAMED,
	DOC_STORAGE_ANONYMOUS,
	DOC_STORAGE_TMPFS,
	DOC_STORAGE_TEMPLATE,
};

struct doc_storage {
	const struct yaml_node *node;
	enum doc_storage_type type;
	const char *target;  /* absolute, in the container */
	const char *source;  /* bind: absolute, of the node; else NULL */
	const char *name;    /* named; else NULL */
	bool readonly;       /* bind, named */
	uint64_t size_bytes; /* named, tmpfs; 0: not given */
	uint32_t mode;       /* tmpfs; 01777 by default */
	const char *content; /* template; else NULL */
};

enum doc_order { DOC_ORDER_START_FIRST, DOC_ORDER_STOP_FIRST };
enum doc_update_failure { DOC_UPDATE_ROLLBACK, DOC_UPDATE_PAUSE };

/* order: when not given, stop-first for one replica that owns a named volume or a public tcp or
 * udp port of the host. */
struct doc_update {
	const struct yaml_node *node;
	enum doc_order order;
	uint32_t max_surge;
	uint32_t max_unavailable;
	uint64_t drain_ms;
	uint64_t monitor_ms;
	enum doc_update_failure on_failure;
};

struct doc_logs {
	const struct yaml_node *node;
	uint64_t max_size_bytes;
	uint32_t max_files;
};

enum doc_runtime {
	DOC_RUNTIME_BUILTIN,
	DOC_RUNTIME_CRUN,
	DOC_RUNTIME_RUNC,
	DOC_RUNTIME_PATH,
	DOC_RUNTIME_EXEC
};
enum doc_seccomp { DOC_SECCOMP_DEFAULT, DOC_SECCOMP_UNCONFINED, DOC_SECCOMP_FILE };

struct doc_service {
	const struct yaml_node *node;
	const char *name;
	enum doc_rtype rtype;
	const char *schedule; /* cron; else NULL */
	struct cron times;    /* of the schedule */
	struct doc_cron cron;
	struct doc_image image;
	struct doc_command command;
	struct doc_resources resources;
	struct doc_env *env;
	size_t env_count;
	struct doc_network network;
	struct doc_endpoint *endpoints;
	size_t endpoints_count;
	struct doc_scale scale;
	struct doc_depend *depends;
	size_t depends_count;
	struct doc_health health;
	struct doc_init init;
	struct doc_errors errors;
	struct doc_placement placement; /* the key is `node` */
	struct doc_device *devices;
	size_t devices_count;
	uint64_t cap_add; /* bit per capability; DOC_CAPS_ALL */
	uint64_t cap_drop;
	bool privileged;
	struct doc_storage *storage;
	size_t storage_count;
	struct doc_update update;
	const char *hostname; /* NULL: given by the node */
	const char *user;     /* "1000:1000", "app"; NULL: the image's */
	struct doc_pairs labels;
	int stop_signal; /* the signal's number */
	uint64_t stop_grace_period_ms;
	bool read_only_root_fs;
	struct doc_pairs sysctls;
	struct doc_pairs extra_hosts; /* name -> address */
	enum doc_seccomp seccomp;
	const char *seccomp_file; /* absolute; else NULL */
	enum doc_runtime runtime;
	const char *runtime_path; /* DOC_RUNTIME_PATH: absolute; else NULL */
	struct doc_logs logs;
	/* Recognised, never available on this node: doc_check_available() refuses them. */
	uint32_t gpu;
	bool wasm;
	const char *isolation;
	const char *platform;
};

/* ---- beside the services ---- */

struct doc_external {
	const struct yaml_node *node;
	const char *name;
	struct addr *backends;
	size_t backends_count;
	struct doc_endpoint *endpoints;
	size_t endpoints_count;
	struct doc_health health;
};

struct doc_route_target {
	const struct yaml_node *node;
	const char *service;
	const char *endpoint; /* NULL: the service's only one */
	uint32_t weight;
};

struct doc_mirror {
	const struct yaml_node *node; /* NULL: none */
	const char *service;
	uint32_t percent;
};

struct doc_sticky {
	const struct yaml_node *node; /* NULL: none; else exactly one is given */
	const char *cookie;
	const char *header;
	bool client_ip;
};

struct doc_feedback {
	const struct yaml_node *node; /* NULL: none */
	bool enabled;
	uint32_t percent; /* of the requests that are recorded */
};

struct doc_route {
	const struct yaml_node *node;
	const char *host; /* NULL: any */
	const char *url_prefix;
	struct doc_route_target *targets;
	size_t targets_count;
	struct doc_mirror mirror;
	struct doc_sticky sticky;
	struct doc_feedback feedback;
};

enum doc_tunnel_protocol { DOC_TUNNEL_TCP, DOC_TUNNEL_UDP };

struct doc_tunnel {
	const struct yaml_node *node;
	const char *name;
	const char *from; /* nodes */
	const char *to;
	uint16_t local_port;
	uint16_t remote_port;
	enum doc_tunnel_protocol protocol;
	enum doc_expose expose;
};

struct doc {
	struct arena arena;
	const struct yaml_node *node;
	const char *file;
	const char *text; /* the source, for diagnostics that come later */
	size_t text_bytes;
	int version; /* 1 */
	const char *deployment;
	struct doc_service *services; /* sorted by name */
	size_t services_count;
	struct doc_external *externals; /* sorted by name */
	size_t externals_count;
	struct doc_route *routes;
	size_t routes_count;
	struct doc_tunnel *tunnels; /* sorted by name */
	size_t tunnels_count;
	struct doc_service **start_order; /* services_count: dependencies come first */
};

/* Parses and checks everything that can be known without a node. libyaml must be loaded
 * (dl_load_yaml of spec/yaml.h). The text is copied; `file` is the name that messages show.
 * 0, or -1 with at least one diagnostic, or diags->no_memory. */
int doc_parse(const char *text, size_t bytes, const char *file, struct doc **out,
	      struct diag_list *diags) MUST_CHECK;
void doc_free(struct doc *doc); /* NULL is fine */

/* What the document asks for and this version of the program cannot do: each is a diagnostic with
 * its place. 0 when there is nothing, -1 otherwise. */
int doc_check_available(const struct doc *doc, struct diag_list *diags) MUST_CHECK;

/* The defaults of the node's own configuration take the place of the built-in ones, where a service
 * does not say. */
void doc_set_update_defaults(struct doc *doc, const struct doc_update *defaults);
void doc_set_log_defaults(struct doc *doc, uint64_t max_size_bytes, uint32_t max_files);

/* The canonical form: defaults filled in, maps sorted, block style. The same document gives the
 * same bytes, and parsing them gives the same dump again. Check buf_ok(). */
void doc_dump_yaml(const struct doc *doc, struct buf *out);
void doc_dump_json(const struct doc *doc, struct buf *out);
/* One service alone, as it stands below its name (for a digest that tells what changed). */
void doc_dump_service(const struct doc_service *service, struct buf *out);

/* Look-up by name; NULL when absent. */
const struct doc_service *doc_service_find(const struct doc *doc, const char *name);
const struct doc_external *doc_external_find(const struct doc *doc, const char *name);
const struct doc_endpoint *doc_endpoint_find(const struct doc_service *s, const char *name);

/* Every endpoint of every service (external: NULL) and external (service: NULL), in order:
 *   struct doc_endpoint_iter it = {0};
 *   while (doc_endpoint_next(doc, &it)) use(it.service, it.external, it.endpoint); */
struct doc_endpoint_iter {
	size_t owner;
	size_t index;
	const struct doc_service *service;
	const struct doc_external *external;
	const struct doc_endpoint *endpoint;
};
bool doc_endpoint_next(const struct doc *doc, struct doc_endpoint_iter *it);

/* Place of the value of `key` in a section; with key NULL, or when the key is not there, of the
 * section itself. */
struct diag_pos doc_where(const struct yaml_node *section, const char *key);
/* Whether the document itself says it (and it is not a default). Aliases count as their key. */
bool doc_given(const struct yaml_node *section, const char *key);
/* Adds a diagnostic at that place, with the path of the key. fix may be NULL. */
void doc_diag(const struct doc *doc, struct diag_list *diags, const struct yaml_node *section,
	      const char *key, const char *code, const char *fix, const char *fmt, ...)
	__attribute__((format(printf, 7, 8)));

/* The words of the document for an enum value. */
const char *doc_protocol_name(enum doc_protocol v);

#endif
