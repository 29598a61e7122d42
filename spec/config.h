/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_CONFIG_H
#define SPEC_CONFIG_H

/*
 * The node's own configuration (/etc/zlayer/node.yaml and conf.d): every key is optional, an
 * unknown key is an error. struct config is a fixed-size value without pointers, so that node can
 * hand it to the roles as a sealed memfd: config_check() is what a role calls on the bytes it got.
 * Texts are NUL-terminated; lists have a count; durations are milliseconds, sizes bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "spec/diag.h"
#include "spec/doc.h"

enum {
	CONFIG_MAGIC = 0x464e435a, /* "ZCNF" */
	CONFIG_ABI = 1,
	CONFIG_NAME_BYTES = 64,
	CONFIG_PATH_BYTES = 256,
	CONFIG_URL_BYTES = 256,
	CONFIG_VALUE_BYTES = 1024,
	CONFIG_LABELS_MAX = 32,
	CONFIG_LABELS_BYTES = 640, /* of all of them: each its key, its value and 2 */
	CONFIG_DEAD_AFTER_MAX_MS = 600000,
	CONFIG_ROTATE_MIN_MS = 600000, /* each new key is told to all nodes, which takes seconds */
	CONFIG_ENV_MAX = 64,
	CONFIG_LISTENERS_MAX = 16,
	CONFIG_VIPS_MAX = 16,
	CONFIG_INTERFACES_MAX = 16,
	CONFIG_JOIN_MAX = 16,
	CONFIG_MIRRORS_MAX = 8,
	CONFIG_MIRROR_URLS_MAX = 4,
	CONFIG_EXCLUDE_MAX = 16,
	CONFIG_FORWARD_MAX = 4,
	CONFIG_GITOPS_MAX = 8,
	CONFIG_WORKERS_MAX = 64,
	CONFIG_PEERS_MAX = 256,
	CONFIG_ENDPOINTS_MAX = 8,
	CONFIG_PREFIX_BYTES = 64,
	CONFIG_UIDS = 256, /* taken from node.uid_base on */
};

struct config_name {
	char text[CONFIG_NAME_BYTES];
};

struct config_url {
	char text[CONFIG_URL_BYTES];
};

/* What a variable of the node's environment holds: filled in by node, never read from the file. */
struct config_value {
	bool given;
	char text[CONFIG_VALUE_BYTES];
};

struct config_label {
	char key[CONFIG_NAME_BYTES];
	char value[CONFIG_NAME_BYTES];
};

struct config_listen {
	bool on; /* false: "off" */
	uint8_t pad_[7];
	struct addr addr;
};

struct config_reserve {
	uint32_t cpu_milli;
	uint32_t pad_;
	uint64_t memory_bytes;
};

struct config_node {
	char name[CONFIG_NAME_BYTES]; /* "": the host's name */
	char zone[CONFIG_NAME_BYTES];
	struct config_label labels[CONFIG_LABELS_MAX]; /* sorted by key */
	uint32_t labels_count;
	bool advertise_auto;
	bool advertise_none;   /* others cannot open a connection to it */
	struct addr advertise; /* port 0; when not auto */
	struct config_reserve reserve;
	uint32_t uid_base;
	uint32_t env_count;
	struct config_name env[CONFIG_ENV_MAX];         /* variables that $E: may name */
	struct config_value env_values[CONFIG_ENV_MAX]; /* of env[i] */
};

struct config_listeners {
	struct addr http[CONFIG_LISTENERS_MAX];
	uint32_t http_count;
	uint32_t https_count;
	struct addr https[CONFIG_LISTENERS_MAX];
	struct config_listen api;
	struct config_listen metrics;
	struct config_listen gossip;
	struct config_listen overlay;
	struct config_listen vxlan;
	struct config_listen store;
};

enum config_uplink { CONFIG_UPLINK_AUTO, CONFIG_UPLINK_OFF };
enum config_xdp { CONFIG_XDP_AUTO, CONFIG_XDP_NATIVE, CONFIG_XDP_GENERIC, CONFIG_XDP_OFF };

struct config_dataplane {
	struct addr_prefix vips[CONFIG_VIPS_MAX];
	uint32_t vips_count;
	enum config_uplink uplink;
	enum config_xdp mode;
	uint32_t interfaces_count; /* an empty list: none */
	bool interfaces_auto;
	struct config_name interfaces[CONFIG_INTERFACES_MAX];
	uint32_t max_flows;
};

/* Another node, written by hand. */
struct config_peer {
	char name[CONFIG_NAME_BYTES];
	struct addr address; /* port 0; what its packets come from and go to */
	struct addr_prefix prefix4;
	struct addr_prefix prefix6;
};

/* Who seals the traffic between nodes (docs/decisions/021). */
enum config_backend { CONFIG_BACKEND_AUTO, CONFIG_BACKEND_ENGINE, CONFIG_BACKEND_KERNEL };

struct config_overlay {
	struct addr_prefix prefix4; /* of this node's containers, /24; bits 0: auto */
	struct addr_prefix prefix6; /* /64 */
	struct addr_prefix network; /* config_network(); bits 0: not named */
	uint32_t mtu;               /* of the network between the nodes */
	uint32_t vni;
	uint64_t rotate_ms; /* how old a key of sealed traffic becomes; 0: as old as it likes */
	struct config_peer peers[CONFIG_PEERS_MAX];
	uint32_t peers_count;
	enum config_backend backend;
};

/* What nodes without a prefix4 of their own take a /24 of, if node.yaml names nothing else. */
#define CONFIG_NETWORK "10.200.0.0/16"
struct addr_prefix config_network(const struct config_overlay *o);
/* How many nodes can take one: the first and the last are nobody's. */
uint32_t config_network_places(const struct addr_prefix *network);
/* Whether it may be one: private IPv4, /8 to /22. */
bool config_network_fits(const struct addr_prefix *network);
/* nth: below that. */
void config_network_place(const struct addr_prefix *network, uint32_t nth, struct addr_prefix *out);

enum config_tls_version { CONFIG_TLS_1_2, CONFIG_TLS_1_3 };

struct config_acme {
	bool enabled;
	char directory[CONFIG_URL_BYTES];
	char email[CONFIG_URL_BYTES];
};

struct config_tls {
	enum config_tls_version minimum_version;
	char certificates[CONFIG_PATH_BYTES];
	struct config_acme acme;
	bool self_signed;
	uint64_t expiry_warning_ms;
};

struct config_cluster {
	struct config_url join[CONFIG_JOIN_MAX];
	uint32_t join_count;
	bool encrypt;
	uint64_t suspect_after_ms;
	uint64_t dead_after_ms;
	uint64_t reschedule_after_ms;
	uint64_t replace_after_ms;
};

/* An etcd that is not this cluster's own. */
struct config_store_etcd {
	struct config_url endpoints[CONFIG_ENDPOINTS_MAX];
	uint32_t endpoints_count; /* 0: none */
	/* files of root's; "" none */
	char ca[CONFIG_PATH_BYTES];
	char cert[CONFIG_PATH_BYTES];
	char key[CONFIG_PATH_BYTES];
	char user[CONFIG_NAME_BYTES];
	char password_file[CONFIG_PATH_BYTES];
	char prefix[CONFIG_PREFIX_BYTES]; /* "/zlayer/" */
};

struct config_store {
	struct config_store_etcd etcd;
};

struct config_deploy {
	enum doc_order order;
	uint32_t max_unavailable;
	uint32_t max_surge;
	enum doc_update_failure on_failure;
	uint64_t health_timeout_ms;
	uint64_t drain_timeout_ms;
	uint64_t monitor_ms;
	uint32_t keep_revisions;
	uint32_t pad_;
};

struct config_mirror {
	char registry[CONFIG_URL_BYTES];
	struct config_url urls[CONFIG_MIRROR_URLS_MAX];
	uint32_t urls_count;
};

struct config_gc {
	uint32_t disk_high_percent;
	uint32_t disk_low_percent;
	uint64_t keep_images_ms;
};

struct config_runtime {
	char state[CONFIG_PATH_BYTES];
	char cgroup_parent[CONFIG_PATH_BYTES]; /* "auto" or a path below the cgroup root */
	struct config_mirror mirrors[CONFIG_MIRRORS_MAX];
	uint32_t mirrors_count;
	char registries[CONFIG_PATH_BYTES]; /* folder of logins and certificates */
	char seccomp[CONFIG_PATH_BYTES];    /* "default", "unconfined" or a file */
	bool no_new_privileges;
	struct config_gc gc;
};

struct config_proxy {
	uint32_t workers; /* 0: auto, as many as cores */
};

struct config_access {
	bool enabled;
	uint32_t sample_ppm; /* of a million */
	struct config_url exclude_paths[CONFIG_EXCLUDE_MAX];
	uint32_t exclude_paths_count;
};

struct config_container_logs {
	uint64_t max_size_bytes;
	uint32_t max_files;
	uint32_t pad_;
};

enum config_forward_type { CONFIG_FORWARD_FLUENT, CONFIG_FORWARD_SYSLOG };

struct config_forward {
	enum config_forward_type type;
	char address[CONFIG_URL_BYTES];
};

struct config_logs {
	enum log_format format;
	enum log_level level;
	struct config_access access;
	struct config_container_logs containers;
	struct config_forward forward[CONFIG_FORWARD_MAX];
	uint32_t forward_count;
};

struct config_metrics {
	bool enabled;
	bool per_replica;
	bool exemplars;
	uint32_t max_series_per_service;
};

enum config_propagate { CONFIG_PROPAGATE_W3C, CONFIG_PROPAGATE_NONE };

struct config_tracing {
	char endpoint[CONFIG_URL_BYTES]; /* "": none */
	uint32_t sample_ppm;
	enum config_propagate propagate;
};

enum config_dashboard_auth { CONFIG_DASHBOARD_TOKEN, CONFIG_DASHBOARD_NONE };

struct config_dashboard {
	bool enabled;
	enum config_dashboard_auth auth;
};

enum config_gitops_mode { CONFIG_GITOPS_APPLY, CONFIG_GITOPS_REPORT };

struct config_gitops {
	char url[CONFIG_URL_BYTES];
	char ref[CONFIG_URL_BYTES];
	char path[CONFIG_PATH_BYTES];
	uint64_t interval_ms;
	enum config_gitops_mode mode;
	uint32_t pad_;
};

struct config {
	uint32_t magic;
	uint32_t abi;
	uint64_t bytes; /* sizeof(struct config) of the writer */
	struct config_node node;
	struct config_listeners listen;
	struct config_dataplane dataplane;
	struct config_overlay overlay;
	struct config_tls tls;
	struct config_cluster cluster;
	struct config_store store;
	struct config_deploy deploy;
	struct config_runtime runtime;
	struct config_proxy proxy;
	struct config_logs logs;
	struct config_metrics metrics;
	struct config_tracing tracing;
	struct config_dashboard dashboard;
	struct config_gitops gitops[CONFIG_GITOPS_MAX];
	uint32_t gitops_count;
	uint32_t pad_;
};

/* What an empty file means. */
void config_defaults(struct config *out);

/* Parses one file over what *out holds already (config_defaults, or the file before it): a key that
 * is given replaces, maps are merged key by key, lists are replaced. After the last file call
 * config_finish(). libyaml must be loaded. 0, or -1 with diagnostics (or diags->no_memory), and
 * then *out is not to be used. */
int config_parse(const char *text, size_t bytes, const char *file, struct config *out,
		 struct diag_list *diags) MUST_CHECK;
/* Checks what concerns several keys, and that nothing is asked for that this version cannot do. */
int config_finish(struct config *c, struct diag_list *diags) MUST_CHECK;

/* Reads path (a missing file is an empty one when `optional`), then the *.yaml of its sibling
 * folder conf.d in the order of their names, and finishes. -1 with diagnostics in *diags, or with
 * *err alone when a file cannot be read. */
int config_load(const char *path, bool optional, struct config *out, struct diag_list *diags,
		struct err *err) MUST_CHECK;

/* Bytes that came from another process: NULL unless size, magic, ABI, every count and every
 * terminator hold. */
const struct config *config_check(const void *data, size_t bytes);

/* At 0.0.0.0 or [::]. */
bool config_listens_everywhere(const struct config_listen *l);

/* Every key with its value; parsing it gives the same configuration. */
void config_dump_yaml(const struct config *c, struct buf *out);
void config_dump_json(const struct config *c, struct buf *out);

/* The `deploy` section as defaults for doc_set_update_defaults(). */
void config_update_defaults(const struct config *c, struct doc_update *out);

#endif
