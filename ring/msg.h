/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_H
#define RING_MSG_H

/*
 * What the processes of a node say to each other: every table row, log record, request and answer.
 * All are fixed-size structs of naturally aligned fixed-width integers and NUL-terminated text, in
 * host order (one machine). A row that grows gets new fields at its end; readers zero-pad the rows
 * of an older producer (ring/ring.h), so that one version back is readable.
 *
 * Everything read from another process is untrusted: call msg_text_ok() (or text_copy from a field
 * with a bounded length) before treating a char array as a string, and check every index and enum.
 *
 * Who writes what:
 *   node           process, listener, node, uplink, underlay, edge
 *   scheduler      deployment, service, replica, operation, claim, probe, route, backend, stream,
 *                  pin; events
 *   runtime        container, veth, image, result (command checks)
 *   fetch          transfer
 *   dataplane      attached, datapath, applied (when it balances), drain
 *   probe          result
 *   overlay        prefix, peer
 *   signer         certificate
 *   proxy          applied, drain; access records
 *
 * Keys are u64, never 0; what the key is stands at each row.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"
#include "ring/role.h"

enum msg_table {
	MSG_TABLE_PROCESS = 1,
	MSG_TABLE_LISTENER,
	MSG_TABLE_NODE,
	MSG_TABLE_DEPLOYMENT,
	MSG_TABLE_SERVICE,
	MSG_TABLE_REPLICA,
	MSG_TABLE_OPERATION,
	MSG_TABLE_CLAIM,
	MSG_TABLE_PROBE,
	MSG_TABLE_ROUTE,
	MSG_TABLE_BACKEND,
	MSG_TABLE_CONTAINER,
	MSG_TABLE_VETH,
	MSG_TABLE_IMAGE,
	MSG_TABLE_RESULT,
	MSG_TABLE_ATTACHED,
	MSG_TABLE_DATAPATH,
	MSG_TABLE_PREFIX,
	MSG_TABLE_CERTIFICATE,
	MSG_TABLE_APPLIED,
	MSG_TABLE_DRAIN,
	MSG_TABLE_STREAM,
	MSG_TABLE_UPLINK,
	MSG_TABLE_PIN,
	MSG_TABLE_TRANSFER,
	MSG_TABLE_UNDERLAY,
	MSG_TABLE_PEER,
	MSG_TABLE_EDGE,
	MSG_TABLES_,
};

enum {
	MSG_STREAM_PORTS_MAX = 64, /* public tcp and udp ports of a node */
	MSG_NAME = 64,             /* a DNS label and NUL */
	MSG_TARGET = 160,          /* "deployment/service.N" */
	MSG_HOST = 256,
	MSG_PATH = 256,
	MSG_IMAGE = 256,
	MSG_TEXT = 256,
	MSG_DIGEST = 72,        /* "sha256:" and 64 hex digits, NUL */
	MSG_ENDPOINTS_MAX = 16, /* per service */
	MSG_SLOTS = 256, /* request slots of every role that asks, and of the answers for it */
};

/* True when the array holds a NUL: then it is safe to read as a string. */
bool msg_text_ok(const char *text, size_t bytes);
#define MSG_OK(field) msg_text_ok((field), sizeof(field))

/* Why something is as it is, in the four words of struct err, shortened. */
struct msg_reason {
	uint32_t kind; /* enum err_kind; 0: no reason */
	uint32_t code;
	char what[MSG_TEXT];
	char why[MSG_TEXT];
	char why2[MSG_TEXT];
	char fix[MSG_TEXT];
};
void msg_reason_from(const struct err *err, struct msg_reason *out);
/* Into an empty err; a reason that does not hold becomes ERR_CORRUPT. */
void msg_reason_to(const struct msg_reason *reason, struct err *err);

/* ---- node ---- */

enum msg_process_state {
	MSG_PROCESS_STARTING = 1,
	MSG_PROCESS_UP,
	MSG_PROCESS_BACKOFF,
	MSG_PROCESS_LEAVING
};

struct msg_process { /* key: role << 16 | index + 1 */
	uint16_t role;
	uint16_t index;
	uint32_t generation;
	uint32_t state;
	uint32_t pid;
	uint32_t uid;
	uint32_t restarts;
	uint32_t landlock_abi; /* 0: the kernel has none */
	uint32_t pad_;
	int64_t started_wall_ns;
	char exit_text[MSG_TEXT]; /* how the last one ended, "" when none has */
};

struct msg_listener {     /* key: 1 .. */
	char name[32];    /* http, https, api, metrics, admin; tcp, udp: of a public endpoint */
	struct addr addr; /* zero for a unix socket */
	uint32_t sockets; /* SO_REUSEPORT group size */
	uint32_t up;
	struct msg_reason reason; /* when not up */
};

struct msg_node { /* key: 1 */
	char instance[MSG_NAME];
	char name[MSG_NAME];
	char zone[MSG_NAME];
	char version[32];
	char kernel[64];
	int64_t started_wall_ns;
	uint32_t cpus;
	uint32_t cgroup_mode; /* 1 v1, 2 v2, 3 hybrid */
	uint64_t memory_bytes;
	uint32_t addresses_count; /* of the host's interfaces, without link-local ones */
	uint32_t pad_;
	struct addr addresses[16];
	int64_t configured_wall_ns;     /* when the configuration in force was read */
	struct msg_reason config_error; /* why the last reload was refused; kind 0: it was not */
};

enum msg_uplink_state {
	MSG_UPLINK_OFF = 1,
	MSG_UPLINK_WAITS, /* the machine has no default route yet */
	MSG_UPLINK_UP,
	MSG_UPLINK_FAILED,
};

/* The veth pair between the fabric and the machine's network namespace. */
struct msg_uplink { /* key: 1 */
	uint32_t state;
	uint32_t ifindex;        /* of the outer end, in node's namespace; 0: there is none */
	uint32_t fabric_ifindex; /* of the inner end */
	uint32_t pad_;
	char name[16]; /* of the outer end; the inner one is "uplink" */
	struct msg_reason reason;
};

enum msg_underlay_state {
	MSG_UNDERLAY_OFF = 1, /* no peers, or listen.vxlan is off */
	MSG_UNDERLAY_UP,
	MSG_UNDERLAY_FAILED,
};

/* The VXLAN device, whose socket is in the machine's network namespace. */
struct msg_underlay { /* key: 1 */
	uint32_t state;
	uint32_t ifindex; /* in the fabric; 0: there is none */
	uint32_t vni;
	uint32_t pad_;
	struct addr listen; /* an address that is not zero: nothing else is sent from */
	struct msg_reason reason;
};

enum msg_xdp { MSG_XDP_NATIVE = 1, MSG_XDP_GENERIC };
enum { MSG_EDGE_LINKS = 16, MSG_EDGE_ADDRESSES = 16 };

/* Where dataplane's programs stand on the machine's interfaces. */
struct msg_edge {            /* key: 1 */
	uint32_t generation; /* of msg_datapath: whose wishes these are */
	uint32_t links_count;
	struct {
		char name[16];
		uint32_t ifindex;
		uint16_t mode;   /* enum msg_xdp */
		uint16_t shared; /* with programs of others, through libxdp's dispatcher */
	} links[MSG_EDGE_LINKS];
	uint32_t addresses_count; /* of the machine, without loopback and link-local ones; those
				     of the interfaces above come first */
	uint32_t pad_;
	struct addr addresses[MSG_EDGE_ADDRESSES];
	struct msg_reason reason; /* the last interface that could not be had */
};

/* ---- scheduler ---- */

enum msg_deployment_state {
	MSG_DEPLOYMENT_STABLE = 1,
	MSG_DEPLOYMENT_DEPLOYING,
	MSG_DEPLOYMENT_DEGRADED,
	MSG_DEPLOYMENT_STOPPED,
	MSG_DEPLOYMENT_REMOVING,
	MSG_DEPLOYMENT_FAILED, /* the first revision never came up */
	MSG_DEPLOYMENT_PAUSED, /* a roll-out stands still: on_failure, or by hand */
};

struct msg_deployment { /* key: id from the store */
	uint64_t id;
	char name[MSG_NAME];
	uint32_t state;
	uint32_t revision;        /* that serves; 0: none yet */
	uint32_t target_revision; /* being rolled out; equal to revision when none */
	uint32_t services;
	uint64_t operation; /* last or running */
	int64_t created_wall_ns;
	int64_t updated_wall_ns;
	struct msg_reason reason;
};

enum msg_scale_mode { MSG_SCALE_FIXED = 1, MSG_SCALE_ADAPTIVE, MSG_SCALE_MANUAL };
enum msg_service_state {
	MSG_SERVICE_STARTING = 1,
	MSG_SERVICE_READY,
	MSG_SERVICE_DEGRADED,
	MSG_SERVICE_STOPPED,
	MSG_SERVICE_FAILED,
};

struct msg_service_endpoint {
	char name[MSG_NAME];
	uint32_t protocol; /* of the transport: IPPROTO_TCP, IPPROTO_UDP */
};

struct msg_service { /* key: id from the store */
	uint64_t id;
	uint64_t deployment;
	char deployment_name[MSG_NAME];
	char name[MSG_NAME];
	uint32_t state;
	uint32_t revision;
	uint32_t scale_mode;
	uint32_t scale_min, scale_max;
	uint32_t desired, running, ready;
	uint32_t weak_gate; /* no health block: the weaker gate is used */
	uint32_t waits;     /* for a dependency (reason): its replicas are not made yet */
	char image[MSG_IMAGE];
	char url[MSG_HOST + MSG_PATH]; /* of the first public endpoint, http before tcp and udp; ""
					  when none */
	struct msg_reason reason;
	uint32_t endpoints_count;
	uint32_t pad2_;
	struct msg_service_endpoint endpoints[MSG_ENDPOINTS_MAX]; /* order of msg_backend.ports */
};

enum msg_replica_state {
	MSG_REPLICA_PENDING = 1, /* not yet with the runtime */
	MSG_REPLICA_CREATING,
	MSG_REPLICA_STARTING, /* runs, gate not passed */
	MSG_REPLICA_READY,    /* in balancing */
	MSG_REPLICA_UNHEALTHY,
	MSG_REPLICA_DRAINING,
	MSG_REPLICA_STOPPING,
	MSG_REPLICA_STOPPED,
	MSG_REPLICA_BACKOFF, /* ended, waits before the next try */
	MSG_REPLICA_FAILED,
	MSG_REPLICA_ISOLATED, /* its program has ended; open to exec, no requests */
};

enum msg_condition { /* bits of msg_replica.conditions */
		     MSG_SCHEDULED = 1 << 0,
		     MSG_IMAGE_READY = 1 << 1,
		     MSG_VOLUME_READY = 1 << 2,
		     MSG_NETWORK_READY = 1 << 3,
		     MSG_STARTED = 1 << 4,
		     MSG_READY = 1 << 5,
};

struct msg_replica { /* key: id from the store, below 2^56, never reused */
	uint64_t id;
	uint64_t service;
	char deployment_name[MSG_NAME];
	char service_name[MSG_NAME];
	uint32_t index; /* N of "web.N": 1 .. */
	uint32_t revision;
	uint32_t state;
	uint32_t conditions;
	uint32_t restarts;
	uint32_t attempt;
	int64_t since_wall_ns;
	int64_t created_wall_ns;
	char node[MSG_NAME];
	struct msg_reason reason;
	uint32_t job; /* a run of a job */
	uint32_t pad_;
};

enum msg_operation_kind {
	MSG_OPERATION_DEPLOY = 1,
	MSG_OPERATION_SCALE,
	MSG_OPERATION_STOP,
	MSG_OPERATION_START,
	MSG_OPERATION_REMOVE,
	MSG_OPERATION_RESTART,
};
enum msg_operation_state {
	MSG_OPERATION_RUNNING = 1,
	MSG_OPERATION_DONE,
	MSG_OPERATION_FAILED,
	MSG_OPERATION_ROLLED_BACK,
};

struct msg_operation { /* key: id from the store */
	uint64_t id;
	uint64_t deployment;
	char deployment_name[MSG_NAME];
	uint32_t kind;
	uint32_t state;
	uint32_t revision;
	uint32_t previous_revision;
	uint32_t steps_done, steps_total; /* replicas */
	int64_t started_wall_ns;
	int64_t ended_wall_ns; /* 0 while it runs */
	uint32_t who_uid;
	uint32_t pad_;
	struct msg_reason reason;
};

enum msg_desired { MSG_RUN = 1, MSG_STOP, MSG_REMOVE, MSG_HOLD };

/* What the runtime is to make true. The plan itself (image, command, mounts ...) is asked for by
 * replica with MSG_OP_PLAN; its digest stands here so that a kept copy can be checked.
 * MSG_RUN: attempt n runs; when attempt n has ended it stays ended until the scheduler asks for
 * n + 1. MSG_HOLD: as MSG_RUN, on what the attempt before left in the root file system, and with a
 * process that only sleeps in the place of the program. MSG_STOP: stopped gracefully, network and
 * logs kept. MSG_REMOVE: stopped and everything of it removed; the row leaves when the runtime's
 * container row has left. */
struct msg_claim { /* key: replica */
	uint64_t replica;
	uint64_t service;
	char deployment_name[MSG_NAME];
	char service_name[MSG_NAME];
	uint32_t index;
	uint32_t revision;
	uint32_t attempt; /* 1 .. */
	uint32_t desired;
	uint32_t stop_grace_ms;
	uint32_t stop_signal;
	uint8_t plan_sha256[32];
	uint32_t remove_volumes; /* MSG_REMOVE: its named volumes too */
	uint32_t held;           /* MSG_RUN, MSG_HOLD: what does not run yet is not started yet */
};

enum msg_check { MSG_CHECK_TCP = 1, MSG_CHECK_HTTP, MSG_CHECK_UDP };

struct msg_probe { /* key: replica << 8 | n */
	uint64_t replica;
	uint32_t attempt; /* results of another attempt do not count */
	uint32_t check;
	struct addr addr;
	uint32_t expect_status;
	uint32_t interval_ms;
	uint32_t timeout_ms;
	uint32_t pad_;
	char host[MSG_HOST]; /* Host header */
	char path[MSG_PATH];
	char service_label[MSG_TARGET]; /* "deployment/service" for metrics */
	char request[MSG_TEXT];         /* udp: what is sent */
	char expect[MSG_TEXT];          /* udp: how the answer begins; "" any */
};

enum msg_result_failure {
	MSG_FAILURE_NONE,
	MSG_FAILURE_REFUSED,
	MSG_FAILURE_TIMEOUT,
	MSG_FAILURE_RESET,
	MSG_FAILURE_UNREACHABLE,
	MSG_FAILURE_STATUS,   /* http: another status */
	MSG_FAILURE_PROTOCOL, /* http: not HTTP (tls_seen: it speaks TLS); udp: another answer */
	MSG_FAILURE_EXIT,     /* command: non-zero */
	MSG_FAILURE_OTHER,
};

/* By probe for tcp and http, by runtime for command checks (n = 255). */
struct msg_result { /* key: as msg_probe */
	uint64_t replica;
	uint32_t attempt;
	uint32_t ok;        /* the last one */
	uint32_t successes; /* in a row */
	uint32_t failures;  /* in a row */
	uint64_t total;
	uint64_t total_failures;
	int64_t last_wall_ns;
	uint64_t latency_ns;
	uint32_t failure;
	uint32_t http_status; /* or exit status of a command */
	uint32_t tls_seen;
	uint32_t pad_;
	char detail[MSG_TEXT]; /* first bytes of the answer or output, printable */
};

enum msg_route_flags {
	MSG_ROUTE_TLS = 1 << 0,   /* served on the https listeners */
	MSG_ROUTE_PLAIN = 1 << 1, /* served on the http listeners */
	MSG_ROUTE_WEBSOCKET =
		1 << 2, /* only for upgrades: preferred for them over a same-path route */
	MSG_ROUTE_STRIP_PATH = 1 << 3,
	MSG_ROUTE_PUBLIC = 1 << 4,
};
enum msg_balance { MSG_BALANCE_P2C = 1, MSG_BALANCE_ROUND_ROBIN };

struct msg_route { /* key: id from the store (service, endpoint) */
	uint64_t id;
	uint64_t service;
	char service_label[MSG_TARGET]; /* "deployment/service" for logs and metrics */
	char endpoint[MSG_NAME];
	uint32_t endpoint_index; /* into msg_backend.ports */
	uint32_t flags;
	uint32_t balance;
	uint32_t prefixes_allow, prefixes_deny;
	uint32_t pad_;
	uint64_t body_bytes_max;   /* 0: unlimited */
	uint64_t header_bytes_max; /* 0: the default */
	char host[MSG_HOST];       /* lower case; "" any; "*.suffix" */
	char path[MSG_PATH];       /* "/" or "/a/b" */
	struct addr_prefix allow[8];
	struct addr_prefix deny[8];
};

enum msg_stream_protocol { MSG_STREAM_TCP = 6, MSG_STREAM_UDP = 17 }; /* IPPROTO_ numbers */
enum msg_stream_flags {
	MSG_STREAM_PUBLIC = 1 << 0,         /* on the edge; otherwise from the overlay only */
	MSG_STREAM_TLS = 1 << 1,            /* tcp: TLS ends at the edge (relay only) */
	MSG_STREAM_PROXY_PROTOCOL = 1 << 2, /* PROXY v2 to the replica (relay only) */
};

/* A tcp or udp endpoint: what the kernel's balancer and the proxy's relay serve. Its backends are
 * the rows of msg_backend of the same service, ports[endpoint_index]. */
struct msg_stream { /* key: id from the store (service, endpoint) */
	uint64_t id;
	uint64_t service;
	char service_label[MSG_TARGET]; /* "deployment/service" for logs and metrics */
	char endpoint[MSG_NAME];
	uint32_t endpoint_index; /* into msg_backend.ports */
	uint32_t protocol;
	uint32_t flags;
	uint16_t port; /* at the edge */
	uint16_t pad2_;
	uint32_t session_timeout_ms; /* udp: a flow without packets for so long is over */
	uint32_t prefixes_allow, prefixes_deny;
	uint32_t balance;    /* enum msg_balance */
	char host[MSG_HOST]; /* tls: the certificate's name; "" any */
	struct addr_prefix allow[8];
	struct addr_prefix deny[8];
};

enum msg_backend_state { MSG_BACKEND_ACTIVE = 1, MSG_BACKEND_DRAINING };

struct msg_backend { /* key: replica */
	uint64_t replica;
	uint64_t service;
	char name[MSG_TARGET]; /* "deployment/service.N" */
	uint32_t state;
	uint32_t ports_count;
	struct addr addr; /* of the container; port unused */
	uint16_t ports[MSG_ENDPOINTS_MAX];
};

/* ---- runtime ---- */

enum msg_container_state {
	MSG_CONTAINER_PREPARING = 1, /* image, network, root file system */
	MSG_CONTAINER_RUNNING,
	MSG_CONTAINER_STOPPING,
	MSG_CONTAINER_EXITED,
	MSG_CONTAINER_FAILED, /* could not be started; reason says why */
};

struct msg_container { /* key: replica */
	uint64_t replica;
	uint32_t attempt;
	uint32_t state;
	uint32_t conditions; /* MSG_IMAGE_READY .. MSG_STARTED */
	uint32_t pid;        /* in the host's pid namespace; 0 when none */
	struct addr addr4;
	struct addr addr6;
	int64_t created_wall_ns;
	int64_t started_wall_ns;
	int64_t exited_wall_ns;
	int32_t exit_status; /* 0..255, or -1 when ended by a signal */
	uint32_t exit_signal;
	uint32_t oom_killed; /* running: how many of its processes; ended: 1 if that was its end */
	uint32_t seccomp_killed;
	uint64_t memory_bytes; /* working set, 0 unknown */
	uint64_t memory_peak;
	uint64_t memory_limit; /* 0 none */
	uint64_t cpu_ns;
	uint32_t pids;
	uint32_t listening_count; /* listening TCP sockets seen in its namespace when a check failed
				   */
	uint16_t listening_ports[8];
	uint8_t listening_loopback[8]; /* 1: on a loopback address only */
	char image_digest[MSG_DIGEST];
	struct msg_reason reason;
	/* Of the image, while it is pulled and after it was: 0 when it was here. */
	uint64_t pull_bytes;       /* fetched so far */
	uint64_t pull_total_bytes; /* to fetch */
	uint32_t pull_layers;      /* of the image; 0 not known yet, or nothing was pulled */
	uint32_t pull_layers_here; /* that need not be fetched */
	uint32_t pulling;          /* it is under way */
	uint32_t hold; /* no program runs: while this does, exit_* and hold_oom are its end */
	/* Init steps of this attempt. */
	uint32_t init_count;
	uint32_t init_done;
	uint32_t init_failed; /* one of them is why it could not be started */
	uint32_t hold_oom;
	uint64_t init_warned;     /* bit per step: failed and was passed over */
	char init_step[MSG_NAME]; /* that runs, or has failed; "" none */
};

struct msg_veth { /* key: replica */
	uint64_t replica;
	uint32_t ifindex; /* host end, in the fabric */
	uint32_t pad_;
	uint8_t mac[6];      /* of the container's end */
	uint8_t host_mac[6]; /* of the host's end */
	uint8_t pad2_[4];
	struct addr addr4;
	struct addr addr6;
};

struct msg_image {            /* key: first 8 bytes of the digest of (digest, name), never 0 */
	char name[MSG_IMAGE]; /* normalised reference */
	char digest[MSG_DIGEST];
	char architecture[32];
	uint64_t bytes; /* unpacked */
	uint32_t layers;
	uint32_t in_use; /* by containers */
	int64_t imported_wall_ns;
	uint32_t kept; /* a revision that can be rolled back to has it */
	uint32_t pad_;
};

/* ---- fetch ---- */

struct msg_transfer {   /* key: of struct msg_fetch_blob */
	uint64_t bytes; /* passed on so far */
};

/* ---- scheduler: images ---- */

/* What no revision that is kept can do without. Key: first 8 bytes of the digest's hex as a number,
 * never 0. Key 1 stands for "there are more than fit": then nothing may be removed. */
struct msg_pin {
	char digest[MSG_DIGEST];
};
enum { MSG_PINS_MAX = 4096, MSG_PIN_MORE = 1 };

/* ---- dataplane ---- */

enum msg_hook { MSG_HOOK_TCX = 1, MSG_HOOK_CLSACT };

struct msg_attached { /* key: replica */
	uint64_t replica;
	uint32_t ifindex;
	uint32_t hook; /* 0: not attached, reason says why */
	struct msg_reason reason;
};

struct msg_datapath {  /* key: 1 */
	uint32_t bpf;  /* programs are in force */
	uint32_t hook; /* enum msg_hook for veths */
	uint32_t generation;
	uint32_t pad_;
	char pin[MSG_PATH];
	struct msg_reason reason; /* when bpf is 0 */
	uint32_t edge;            /* the balancer's programs are loaded: node is to attach them */
	uint32_t xdp;             /* enum msg_xdp, the lesser one of all interfaces; 0: off */
	uint32_t links_count;
	uint32_t pad2_;
	char links[MSG_EDGE_LINKS][16];
	uint8_t modes[MSG_EDGE_LINKS];  /* enum msg_xdp, of each */
	uint8_t shared[MSG_EDGE_LINKS]; /* with programs of others */
	struct msg_reason edge_reason;  /* why the balancer is off, or an interface is without it */
};

/* ---- overlay ---- */

struct msg_prefix {            /* key: 1 */
	struct addr_prefix v4; /* /24 of 10.200.0.0/16 */
	struct addr_prefix v6; /* /64 */
	struct addr gateway4;  /* 169.254.1.1, what containers route through */
	struct addr gateway6;  /* fe80::1 */
	struct addr service4;  /* the node's own address in the prefix: DNS */
	struct addr service6;
	uint32_t mtu;
	uint32_t pad_;
};

struct msg_peer { /* key: id, the same for the same name */
	uint64_t id;
	char name[MSG_NAME];
	struct addr address; /* port 0; what its packets come from and go to */
	struct addr_prefix v4;
	struct addr_prefix v6;
};

/* ---- signer ---- */

/* MSG_CERT_AUTHORITY: the local authority itself, so that people can trust it: no names, not
 * served. */
enum msg_certificate_source { MSG_CERT_FILE = 1, MSG_CERT_LOCAL, MSG_CERT_AUTHORITY };
enum msg_key_type { MSG_KEY_RSA = 1, MSG_KEY_EC };
enum { MSG_CHAIN_BYTES = 12288, MSG_CERT_NAMES_BYTES = 3072 };

struct msg_certificate { /* key: id, stable for the same names and source */
	uint64_t id;
	uint64_t key_handle; /* for MSG_OP_SIGN */
	uint32_t source;
	uint32_t key_type;
	int64_t not_before_s;
	int64_t not_after_s;
	uint32_t names_count;
	uint32_t chain_bytes;
	uint32_t any_host; /* may serve clients without SNI */
	uint32_t pad_;
	char serial[48]; /* hex */
	/* names_count texts, each ended by a NUL: DNS names, lower case, may be "*.x"; addresses.
	 */
	char names[MSG_CERT_NAMES_BYTES];
	uint8_t chain[MSG_CHAIN_BYTES]; /* DER certificates, leaf first, each after a u32 length */
};

/* The session ticket keys that all workers share (RFC 5077), in the sealed memfd of LEASH_TICKETS:
 * the first one issues, all accept. Never on the ring. */
enum { MSG_TICKETS_MAGIC = 0x544b545a, MSG_TICKET_KEYS_MAX = 3, MSG_TICKET_ROTATE_S = 8 * 3600 };

struct msg_ticket_key {
	uint8_t name[16];
	uint8_t cipher[32]; /* AES-256-CBC */
	uint8_t mac[32];    /* HMAC-SHA-256 */
};

struct msg_tickets {
	uint32_t magic;
	uint32_t count;
	struct msg_ticket_key keys[MSG_TICKET_KEYS_MAX];
};

/* ---- proxy ---- */

struct msg_applied { /* key: 1 */
	uint32_t scheduler_generation;
	uint32_t draining;         /* this worker accepts no more */
	uint64_t routes_version;   /* ring_table_version of route */
	uint64_t backends_version; /* of backend: requests begun before may still be in flight */
	uint64_t connections;
	uint64_t requests;
};

struct msg_drain { /* key: replica; rows for draining backends only */
	uint64_t replica;
	uint32_t in_flight; /* requests, upgraded connections included */
	uint32_t upgraded;
};

/* ---- log records ---- */

enum msg_record { MSG_RECORD_EVENT = 1, MSG_RECORD_ACCESS };

struct msg_event {
	uint64_t id; /* of the store, grows by one */
	int64_t wall_ns;
	char type[48]; /* "replica.ready": docs/events.md */
	char deployment[MSG_NAME];
	char service[MSG_NAME]; /* "" when none */
	uint32_t index;         /* replica N, 0 when none */
	uint32_t revision;
	uint64_t replica;
	uint64_t operation;
	uint32_t severity; /* enum log_level */
	uint32_t pad_;
	char text[MSG_TEXT];
	struct msg_reason reason;
};

struct msg_access { /* followed by text_bytes: host, path, request id, user agent; each NUL-ended */
	int64_t wall_ns;
	uint64_t duration_ns;
	uint64_t upstream_ns;
	uint64_t request_bytes;
	uint64_t response_bytes;
	uint64_t replica; /* 0: none was chosen */
	uint64_t route;   /* 0: none matched */
	struct addr client;
	uint16_t status;
	uint8_t method;   /* enum of wire/header.h */
	uint8_t protocol; /* 10, 11, 20 */
	uint8_t tls;
	uint8_t cut; /* the client or the replica went away before the end */
	uint16_t text_bytes;
};

/* ---- requests ----
 * Answer status: 0, or an enum err_kind with a struct err as body (see msg_err_body).
 * MSG_OP_FD in op: a descriptor travels with the request; MSG_ANSWER_FD in status: with the answer.
 *
 * Every request can be given to its answerer twice: when that one dies before it has answered, its
 * successor is given what stands, and nobody knows how far the first one came. Hence:
 *   APPLY              the same text again is no change (`unchanged`); with has_expect the second
 *                      try finds its own revision and says conflict, which the asker must expect
 *   SCALE STOP START   state what is to be, not a step towards it; so do PAUSE RESUME ABORT
 *   RUN                runs the job a second time
 *   ROLLBACK RESTART   a second one meets the first (conflict), or does it once more
 *   REMOVE             of what is gone: ERR_NOT_FOUND
 *   IMAGE_*, UNPACK    content is found by its digest and kept once
 *   EXEC               runs the command again; the first run's stream has ended with its process
 *   FETCH_BLOB         passes records that say where they belong: what the reader has is dropped
 *   DOCUMENT REVISIONS EVENTS PLAN LOGS SIGN FETCH_IMAGE IMAGE_RESOLVE   only read
 */
enum {
	MSG_OP_FD = 0x8000,
	MSG_ANSWER_FD = 0x8000,
};

enum msg_op {
	/* api -> scheduler */
	MSG_OP_APPLY = 1, /* struct msg_apply, fds: the document's canonical text, and maybe an
			     array of msg_apply_pin; answer msg_apply_answer */
	MSG_OP_SCALE,     /* struct msg_target_op */
	MSG_OP_STOP,      /* struct msg_target_op */
	MSG_OP_START,     /* struct msg_target_op */
	MSG_OP_REMOVE,    /* struct msg_target_op */
	MSG_OP_DOCUMENT,  /* struct msg_document_op; answer fd: canonical YAML text of the revision
			   */
	MSG_OP_REVISIONS, /* struct msg_document_op; answer fd: JSON array */
	MSG_OP_EVENTS,    /* struct msg_events_op; answer fd: array of struct msg_event */
	/* runtime -> scheduler */
	MSG_OP_PLAN, /* struct msg_plan_op; answer fd: ring/plan.h encoding */
	/* api -> runtime */
	MSG_OP_IMAGE_IMPORT, /* struct msg_import, fd: tar archive of an OCI layout; answer
				msg_imported */
	MSG_OP_IMAGE_REMOVE, /* struct msg_import: name */
	MSG_OP_EXEC,         /* struct msg_exec, fds: stream, the command (ring/words.h) */
	MSG_OP_LOGS,         /* struct msg_logs, fd: stream */
	/* runtime -> unpack */
	MSG_OP_UNPACK, /* struct msg_import, fds: archive; answer fd: image record */
	/* proxy -> signer */
	MSG_OP_SIGN, /* struct msg_sign; answer: the signature's bytes */
	/* api -> runtime */
	MSG_OP_IMAGE_PULL,    /* struct msg_pull; answer msg_imported */
	MSG_OP_IMAGE_RESOLVE, /* struct msg_pull; answer msg_resolved */
	MSG_OP_IMAGE_PRUNE,   /* struct msg_prune; answer msg_pruned */
	/* runtime -> fetch */
	MSG_OP_FETCH_IMAGE, /* struct msg_fetch; answer msg_fetched, fd (unless head): the
			       documents, runtime/documents.h */
	MSG_OP_FETCH_BLOB, /* struct msg_fetch_blob, fd: SOCK_SEQPACKET; answer none. Each packet is
			      a u64 offset and bytes of the blob from there */
	/* runtime -> unpack */
	MSG_OP_UNPACK_LOOK,   /* struct msg_commit, fd: documents; answer fd: array of msg_layer */
	MSG_OP_UNPACK_LAYER,  /* struct msg_layer, fd: the packets; answer msg_unpacked */
	MSG_OP_UNPACK_COMMIT, /* struct msg_commit, fd: documents; answer msg_imported, fd: record
			       */
	MSG_OP_UNPACK_DROP,   /* struct msg_unpacked: a layer that nobody wants; answer none */
	/* api -> scheduler */
	MSG_OP_ROLLBACK, /* struct msg_rollback; answer msg_apply_answer */
	MSG_OP_RESTART,  /* struct msg_target_op */
	MSG_OP_PAUSE,    /* struct msg_target_op: the roll-out of a deployment */
	MSG_OP_RESUME,   /* struct msg_target_op */
	MSG_OP_ABORT,    /* struct msg_target_op */
	MSG_OP_RUN,      /* struct msg_target_op: a job, maybe a fd: ring/words.h, more arguments;
			    answer msg_run_answer */
};

struct msg_apply {
	char name[MSG_NAME];
	uint32_t dry_run;
	uint32_t has_expect;
	uint32_t expect_revision; /* conflict when another revision is the newest */
	uint32_t no_rollback;
	uint32_t who_uid;
	uint32_t who_pid;
};

struct msg_apply_pin {
	char service[MSG_NAME];
	char digest[MSG_DIGEST]; /* what its image's name means now */
};

struct msg_apply_answer {
	uint64_t operation; /* 0: unchanged, or dry run */
	uint32_t revision;
	uint32_t previous_revision;
	uint32_t unchanged;
	uint32_t changes_bytes; /* text of the plan, one line each: "~ web image a -> b" */
	char changes[3072];
};

struct msg_rollback {
	char name[MSG_NAME];
	uint32_t revision; /* 0: the last good one before what serves */
	uint32_t dry_run;
	uint32_t who_uid;
	uint32_t pad_;
};

struct msg_target_op {
	char deployment[MSG_NAME];
	char service[MSG_NAME]; /* "" for the whole deployment */
	uint32_t index;         /* 0: all replicas */
	uint32_t replicas;      /* scale */
	uint32_t force;
	uint32_t grace_ms; /* 0: as the document says */
	uint32_t volumes;  /* remove: named volumes too */
	uint32_t who_uid;
};

struct msg_target_answer {
	uint64_t operation; /* 0: nothing to do */
	uint32_t unchanged;
	uint32_t pad_;
};

struct msg_run_answer {
	uint64_t replica;
	uint32_t index;
	uint32_t pad_;
};

struct msg_document_op {
	char deployment[MSG_NAME];
	uint32_t revision; /* 0: the one that serves (or the newest) */
	uint32_t pad_;
};

struct msg_events_op {
	uint64_t since; /* ids above this */
	uint32_t limit; /* at most, newest kept: 1 .. 1000 */
	uint32_t pad_;
};

struct msg_plan_op {
	uint64_t replica;
};

struct msg_import {
	char name[MSG_IMAGE]; /* reference to give it; "": the layout's own annotation */
};

struct msg_imported {
	char name[MSG_IMAGE];
	char digest[MSG_DIGEST];
	uint64_t bytes;
	uint32_t layers;
	uint32_t layers_new;
};

enum msg_pull_policy {
	MSG_PULL_IF_NOT_PRESENT = 1,
	MSG_PULL_NEVER,
	MSG_PULL_ALWAYS,
	MSG_PULL_NEWER,
};

struct msg_pull {
	char name[MSG_IMAGE]; /* reference */
	uint32_t policy;      /* enum msg_pull_policy */
	uint32_t pad_;
};

struct msg_resolved {
	char digest[MSG_DIGEST];
	uint32_t present; /* it is on this node */
	uint32_t pad_;
};

struct msg_prune {
	uint32_t dry_run;
	uint32_t pad_;
};

struct msg_pruned {
	uint32_t images;
	uint32_t layers;
	uint64_t bytes;
};

struct msg_fetch {
	char name[MSG_IMAGE];    /* full reference, without digest */
	char digest[MSG_DIGEST]; /* wanted; "" what the tag says */
	uint32_t head;           /* only what the tag's digest is */
	uint32_t quick;          /* somebody waits: no second tries */
};

struct msg_fetched {
	char digest[MSG_DIGEST]; /* of the outermost document */
	uint32_t endpoint;       /* that gave it: for msg_fetch_blob */
	uint32_t pad_;
};

struct msg_fetch_blob {
	char name[MSG_IMAGE];
	char digest[MSG_DIGEST];
	uint64_t bytes;
	uint64_t key; /* for msg_transfer */
	uint32_t endpoint;
	uint32_t pad_;
};

struct msg_layer {
	char digest[MSG_DIGEST];  /* of the blob */
	char diff_id[MSG_DIGEST]; /* hex of the tar's */
	char folder[MSG_DIGEST];  /* hex of its chain id: the name of its folder */
	uint64_t bytes;           /* of the blob */
	uint32_t here;            /* need not be fetched */
	uint32_t pad_;
};

struct msg_unpacked {
	uint64_t folder; /* number of its folder below tmp/; 0 none */
	uint64_t bytes;
};

enum { MSG_COMMIT_LAYERS_MAX = 128 };

struct msg_commit {
	char name[MSG_IMAGE];
	char digest[MSG_DIGEST];
	uint64_t folders[MSG_COMMIT_LAYERS_MAX]; /* of each layer, bottom first; 0: it was here */
};

struct msg_exec {
	uint64_t replica;
	uint32_t tty;
	uint32_t rows, columns;
	uint32_t argc;
	char user[MSG_NAME];
	char workdir[MSG_PATH];
};

struct msg_logs {
	uint64_t replica;
	int64_t since_wall_ns; /* 0: from the beginning */
	int64_t until_wall_ns; /* 0: no end */
	uint32_t tail;         /* last N lines; UINT32_MAX: all */
	uint32_t follow;
	uint32_t attempt; /* 0: all, else only of this attempt */
	uint32_t pad_;
};

enum msg_sign_scheme { MSG_SIGN_ECDSA = 1, MSG_SIGN_RSA_PKCS1, MSG_SIGN_RSA_PSS };

struct msg_sign {
	uint64_t key_handle;
	uint32_t scheme;
	uint32_t digest;     /* bits: 256, 384, 512 (SHA-2) or 160 is refused */
	uint32_t salt_bytes; /* PSS */
	uint32_t digest_bytes;
	uint8_t value[64];
};

/* The next name of a certificate's row: *at starts at 0; NULL at the end, or when the row lies. */
const char *msg_certificate_name(const struct msg_certificate *row, size_t *at);

/* An error as the body of an answer, and back (checked: text ended, counts in range). */
size_t msg_err_body(const struct err *err, void *out, size_t cap);
void msg_err_from_body(uint16_t status, const void *body, size_t bytes, struct err *err);

/* ---- streams (exec and logs): frames over a SOCK_STREAM socketpair, little-endian ----
 * u8 type, u8 flags 0, u16 0, u32 length, then the bytes. */
enum msg_frame {
	MSG_FRAME_STDIN = 1, /* length 0: end of input */
	MSG_FRAME_STDOUT,
	MSG_FRAME_STDERR,
	MSG_FRAME_RESIZE, /* u16 rows, u16 columns */
	MSG_FRAME_SIGNAL, /* u32 number */
	MSG_FRAME_EXIT,   /* u32 status 0..255 (128+n on a signal); the last one */
	MSG_FRAME_ERROR,  /* text: could not be started (exit 125..127 follows) */
	MSG_FRAME_LINE,   /* logs: i64 wall_ns, u32 attempt, u8 stream (1 out, 2 err), u8 flags
			   * (1: line was cut), u16 0, then the line without its end */
};
enum { MSG_FRAME_MAX = 65536, MSG_FRAME_HEAD = 8 };

#endif
