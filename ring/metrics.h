/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_METRICS_H
#define RING_METRICS_H

/*
 * Every metric family: stable id, name (product.md §5 is the contract), kind, scale from the raw
 * integers of a page to the unit of the name, bounds of a histogram, help. Ids are never reused.
 * The labels that a family has are written by its producer, in the order of the help text.
 */

#include <stddef.h>
#include <stdint.h>
#include "base/metric.h"

enum metrics_scale {
	METRICS_ONE,
	METRICS_NANO,  /* raw nanoseconds, shown in seconds */
	METRICS_MILLI, /* raw thousandths, shown as a ratio */
};
enum metrics_bounds { METRICS_NO_BOUNDS, METRICS_SECONDS, METRICS_BYTES };

/* X(id, CONSTANT, name, kind, scale, bounds, help) */
#define METRICS_TABLE(X)                                                                          \
	X(1, BUILD_INFO, "zlayer_build_info", GAUGE, ONE, NO_BOUNDS,                              \
	  "Version of the running program, always 1.")                                            \
	X(2, NODE_INFO, "zlayer_node_info", GAUGE, ONE, NO_BOUNDS, "This node, always 1.")        \
	X(3, PROCESS_UP, "zlayer_process_up", GAUGE, ONE, NO_BOUNDS,                              \
	  "Whether a process of the node is at work.")                                            \
	X(4, PROCESS_RESTARTS, "zlayer_process_restarts_total", COUNTER, ONE, NO_BOUNDS,          \
	  "Restarts of a process of the node, by reason.")                                        \
	X(10, HTTP_REQUESTS, "zlayer_http_requests_total", COUNTER, ONE, NO_BOUNDS,               \
	  "Requests answered, by service, endpoint, method and status code.")                     \
	X(11, HTTP_REQUEST_DURATION, "zlayer_http_request_duration_seconds", HISTOGRAM, NANO,     \
	  SECONDS, "Time from the first byte of a request to the last of its answer.")            \
	X(12, HTTP_UPSTREAM_DURATION, "zlayer_http_upstream_duration_seconds", HISTOGRAM, NANO,   \
	  SECONDS, "Time until a replica's answer began.")                                        \
	X(13, HTTP_REQUEST_SIZE, "zlayer_http_request_size_bytes", HISTOGRAM, ONE, BYTES,         \
	  "Bytes of request bodies.")                                                             \
	X(14, HTTP_RESPONSE_SIZE, "zlayer_http_response_size_bytes", HISTOGRAM, ONE, BYTES,       \
	  "Bytes of answer bodies.")                                                              \
	X(15, HTTP_IN_FLIGHT, "zlayer_http_requests_in_flight", GAUGE, ONE, NO_BOUNDS,            \
	  "Requests being answered now.")                                                         \
	X(16, HTTP_RETRIES, "zlayer_http_retries_total", COUNTER, ONE, NO_BOUNDS,                 \
	  "Requests sent to a replica again, by reason.")                                         \
	X(17, HTTP_REJECTED, "zlayer_http_rejected_total", COUNTER, ONE, NO_BOUNDS,               \
	  "Requests refused by the edge, by reason.")                                             \
	X(18, HTTP_UNROUTED, "zlayer_http_unrouted_total", COUNTER, ONE, NO_BOUNDS,               \
	  "Requests for which no route matched, by reason.")                                      \
	X(20, CONNECTIONS_ACTIVE, "zlayer_connections_active", GAUGE, ONE, NO_BOUNDS,             \
	  "Client connections open now.")                                                         \
	X(21, CONNECTIONS_ACCEPTED, "zlayer_connections_accepted_total", COUNTER, ONE, NO_BOUNDS, \
	  "Client connections accepted.")                                                         \
	X(22, H2_STREAMS_ACTIVE, "zlayer_h2_streams_active", GAUGE, ONE, NO_BOUNDS,               \
	  "HTTP/2 streams open now.")                                                             \
	X(23, H2_RESETS, "zlayer_h2_resets_total", COUNTER, ONE, NO_BOUNDS,                       \
	  "HTTP/2 streams reset, by side and error code.")                                        \
	X(30, TLS_HANDSHAKES, "zlayer_tls_handshakes_total", COUNTER, ONE, NO_BOUNDS,             \
	  "TLS handshakes, by version, resumption and result.")                                   \
	X(31, TLS_HANDSHAKE_DURATION, "zlayer_tls_handshake_duration_seconds", HISTOGRAM, NANO,   \
	  SECONDS, "Time of TLS handshakes.")                                                     \
	X(32, TLS_CERTIFICATE_NOT_AFTER, "zlayer_tls_certificate_not_after_timestamp_seconds",    \
	  GAUGE, ONE, NO_BOUNDS, "When a certificate ends.")                                      \
	X(33, TLS_CERTIFICATE_RENEWALS, "zlayer_tls_certificate_renewals_total", COUNTER, ONE,    \
	  NO_BOUNDS, "Certificates that took another one's place, or failed to, by source.")      \
	X(40, UPSTREAM_UP, "zlayer_upstream_up", GAUGE, ONE, NO_BOUNDS,                           \
	  "Whether a replica is in balancing.")                                                   \
	X(41, UPSTREAM_CONNECTIONS, "zlayer_upstream_connections_active", GAUGE, ONE, NO_BOUNDS,  \
	  "Connections to a replica open now.")                                                   \
	X(42, UPSTREAM_EJECTIONS, "zlayer_upstream_ejections_total", COUNTER, ONE, NO_BOUNDS,     \
	  "Times a replica was taken out of balancing by its answers.")                           \
	X(50, SERVICE_REPLICAS, "zlayer_service_replicas", GAUGE, ONE, NO_BOUNDS,                 \
	  "Replicas of a service, by state.")                                                     \
	X(51, SCHEDULER_DECISIONS, "zlayer_scheduler_decisions_total", COUNTER, ONE, NO_BOUNDS,   \
	  "Decisions of the scheduler, by outcome.")                                              \
	X(52, DEPLOYS, "zlayer_deploys_total", COUNTER, ONE, NO_BOUNDS,                           \
	  "Deploys that ended, by result.")                                                       \
	X(53, DEPLOY_DURATION, "zlayer_deploy_duration_seconds", HISTOGRAM, NANO, SECONDS,        \
	  "Time of deploys, by result.")                                                          \
	X(54, DEPLOY_LAST_SUCCESS, "zlayer_deploy_last_success_timestamp_seconds", GAUGE, ONE,    \
	  NO_BOUNDS, "When the last successful deploy ended.")                                    \
	X(55, SCHEDULER_UNPLACEABLE, "zlayer_scheduler_unplaceable_replicas", GAUGE, ONE,         \
	  NO_BOUNDS, "Replicas that no node takes, by the reason.")                               \
	X(60, CONTAINER_STARTS, "zlayer_container_starts_total", COUNTER, ONE, NO_BOUNDS,         \
	  "Container starts, by result.")                                                         \
	X(61, CONTAINER_START_DURATION, "zlayer_container_start_duration_seconds", HISTOGRAM,     \
	  NANO, SECONDS, "Time of a container's start, by phase.")                                \
	X(62, CONTAINER_RESTARTS, "zlayer_container_restarts_total", COUNTER, ONE, NO_BOUNDS,     \
	  "Restarts of containers, by reason.")                                                   \
	X(63, CONTAINER_CPU, "zlayer_container_cpu_seconds_total", COUNTER, NANO, NO_BOUNDS,      \
	  "CPU time of a replica.")                                                               \
	X(64, CONTAINER_MEMORY, "zlayer_container_memory_working_set_bytes", GAUGE, ONE,          \
	  NO_BOUNDS, "Memory in use by a replica, without inactive file cache.")                  \
	X(65, CONTAINER_MEMORY_LIMIT, "zlayer_container_memory_limit_bytes", GAUGE, ONE,          \
	  NO_BOUNDS, "Memory limit of a replica.")                                                \
	X(66, CONTAINER_OOM_KILLS, "zlayer_container_oom_kills_total", COUNTER, ONE, NO_BOUNDS,   \
	  "Containers ended for want of memory.")                                                 \
	X(68, DATAPLANE_PACKETS, "zlayer_dataplane_packets_total", COUNTER, ONE, NO_BOUNDS,       \
	  "Packets seen by the data path's programs, by verdict.")                                \
	X(69, DATAPLANE_DROPS, "zlayer_dataplane_drops_total", COUNTER, ONE, NO_BOUNDS,           \
	  "Packets dropped by the data path's programs, by reason.")                              \
	X(140, OVERLAY_BYTES, "zlayer_overlay_bytes_total", COUNTER, ONE, NO_BOUNDS,              \
	  "Bytes of containers' packets to and from another node, by peer and direction.")        \
	X(141, OVERLAY_LAST_SEEN, "zlayer_overlay_peer_last_seen_timestamp_seconds", GAUGE, ONE,  \
	  NO_BOUNDS, "When packets last came from another node.")                                 \
	X(142, OVERLAY_RTT, "zlayer_overlay_peer_rtt_seconds", GAUGE, NANO, NO_BOUNDS,            \
	  "Round trip to another node and back, smoothed, by peer.")                              \
	X(143, OVERLAY_PACKETS, "zlayer_overlay_packets_total", COUNTER, ONE, NO_BOUNDS,          \
	  "Packets of containers that were sealed and opened, by direction.")                     \
	X(144, OVERLAY_DROPS, "zlayer_overlay_drops_total", COUNTER, ONE, NO_BOUNDS,              \
	  "Packets of sealed traffic that were dropped, by reason.")                              \
	X(145, OVERLAY_HANDSHAKES, "zlayer_overlay_handshakes_total", COUNTER, ONE, NO_BOUNDS,    \
	  "Handshakes of sealed traffic that were completed.")                                    \
	X(146, OVERLAY_COOKIES, "zlayer_overlay_cookies_total", COUNTER, ONE, NO_BOUNDS,          \
	  "Handshakes of sealed traffic that were put off under load.")                           \
	X(147, OVERLAY_RELAYED, "zlayer_overlay_relayed_total", COUNTER, ONE, NO_BOUNDS,          \
	  "Sealed datagrams that were passed on between nodes that only dial out.")               \
	X(148, OVERLAY_UNREACHED, "zlayer_overlay_peers_unreached", GAUGE, ONE, NO_BOUNDS,        \
	  "Nodes that live and from which no sealed packet comes.")                               \
	X(150, DATAPLANE_BYTES, "zlayer_dataplane_bytes_total", COUNTER, ONE, NO_BOUNDS,          \
	  "Bytes seen by the balancer's programs, by interface and verdict.")                     \
	X(151, DATAPLANE_MAP_ENTRIES, "zlayer_dataplane_map_entries", GAUGE, ONE, NO_BOUNDS,      \
	  "Entries of a map of the balancer.")                                                    \
	X(152, DATAPLANE_MAP_MAX_ENTRIES, "zlayer_dataplane_map_max_entries", GAUGE, ONE,         \
	  NO_BOUNDS, "Most entries that a map of the balancer can have.")                         \
	X(153, DATAPLANE_SERVICE_PACKETS, "zlayer_dataplane_service_packets_total", COUNTER, ONE, \
	  NO_BOUNDS, "Packets that the balancer sent to replicas, by service and endpoint.")      \
	X(154, DATAPLANE_SERVICE_BYTES, "zlayer_dataplane_service_bytes_total", COUNTER, ONE,     \
	  NO_BOUNDS, "Bytes that the balancer sent to replicas, by service and endpoint.")        \
	X(155, DATAPLANE_FLOWS, "zlayer_dataplane_flows", GAUGE, ONE, NO_BOUNDS,                  \
	  "Connections kept to their replicas in a table, while replicas change.")                \
	X(156, DATAPLANE_TIME, "zlayer_dataplane_program_runtime_seconds_total", COUNTER, NANO,   \
	  NO_BOUNDS, "Time in programs of the data path, while kernel.bpf_stats_enabled is 1.")   \
	X(160, CLUSTER_MEMBERS, "zlayer_cluster_members", GAUGE, ONE, NO_BOUNDS,                  \
	  "Nodes of the cluster, this one counted, by state.")                                    \
	X(172, CLUSTER_TWINS, "zlayer_cluster_twins", GAUGE, ONE, NO_BOUNDS,                      \
	  "Nodes that run in two places, from a copy of their state folder.")                     \
	X(171, CLUSTER_CLOCK, "zlayer_cluster_clock_skew_seconds", GAUGE, NANO, NO_BOUNDS,        \
	  "How far the wall clock of this node is ahead of those of the others.")                 \
	X(161, GOSSIP_MESSAGES, "zlayer_gossip_messages_total", COUNTER, ONE, NO_BOUNDS,          \
	  "Messages between nodes about nodes, by kind and direction.")                           \
	X(162, GOSSIP_CONVERGENCE, "zlayer_gossip_convergence_seconds", HISTOGRAM, NANO, SECONDS, \
	  "Age of what another node said of itself when it came here.")                           \
	X(163, GOSSIP_SUSPICIONS, "zlayer_gossip_suspicions_total", COUNTER, ONE, NO_BOUNDS,      \
	  "Suspicions that a node is dead, by outcome.")                                          \
	X(170, GOSSIP_PASSED, "zlayer_gossip_passed_total", COUNTER, ONE, NO_BOUNDS,              \
	  "Datagrams between two nodes that only dial out, passed on or refused, by outcome.")    \
	X(164, STORE_WRITABLE, "zlayer_store_writable", GAUGE, ONE, NO_BOUNDS,                    \
	  "Whether changes of what is wanted are taken now, by the node's store.")                \
	X(165, ETCD_HAS_LEADER, "zlayer_etcd_has_leader", GAUGE, ONE, NO_BOUNDS,                  \
	  "Whether this node's member of the store's etcd knows one that leads.")                 \
	X(166, ETCD_IS_LEADER, "zlayer_etcd_is_leader", GAUGE, ONE, NO_BOUNDS,                    \
	  "Whether it leads itself.")                                                             \
	X(167, ETCD_IS_LEARNER, "zlayer_etcd_is_learner", GAUGE, ONE, NO_BOUNDS,                  \
	  "Whether it has no vote yet.")                                                          \
	X(168, ETCD_BEHIND, "zlayer_etcd_behind_entries", GAUGE, ONE, NO_BOUNDS,                  \
	  "Entries that it knows to be decided and has not applied yet.")                         \
	X(169, ETCD_DATA, "zlayer_etcd_data_bytes", GAUGE, ONE, NO_BOUNDS,                        \
	  "Size of its data; etcd takes no change past its quota of 2 GiB.")                      \
	X(70, HEALTH_CHECKS, "zlayer_health_checks_total", COUNTER, ONE, NO_BOUNDS,               \
	  "Health checks made, by result.")                                                       \
	X(72, DNS_QUERIES, "zlayer_dns_queries_total", COUNTER, ONE, NO_BOUNDS,                   \
	  "Questions of containers to the node's name server, by protocol and result.")           \
	X(73, DNS_UPSTREAM_QUERIES, "zlayer_dns_upstream_queries_total", COUNTER, ONE, NO_BOUNDS, \
	  "Questions sent on to a resolver of the machine, by resolver and result.")              \
	X(74, DNS_UPSTREAM_DURATION, "zlayer_dns_upstream_duration_seconds", HISTOGRAM, NANO,     \
	  SECONDS, "Time until a resolver of the machine answered.")                              \
	X(75, DNS_OUTSTANDING, "zlayer_dns_outstanding", GAUGE, ONE, NO_BOUNDS,                   \
	  "Questions that wait for a resolver of the machine.")                                   \
	X(80, STORAGE_BYTES, "zlayer_storage_bytes", GAUGE, ONE, NO_BOUNDS,                       \
	  "Bytes kept on disk, by kind.")                                                         \
	X(81, IMAGE_PULL_BYTES, "zlayer_image_pull_bytes_total", COUNTER, ONE, NO_BOUNDS,         \
	  "Bytes of image layers fetched, by registry.")                                          \
	X(82, STORAGE_RECLAIMED, "zlayer_storage_reclaimed_bytes_total", COUNTER, ONE, NO_BOUNDS, \
	  "Bytes that were removed from the disk, by kind.")                                      \
	X(90, LOG_LINES, "zlayer_log_lines_total", COUNTER, ONE, NO_BOUNDS,                       \
	  "Lines that containers wrote, by stream.")                                              \
	X(91, LOG_LINES_DROPPED, "zlayer_log_lines_dropped_total", COUNTER, ONE, NO_BOUNDS,       \
	  "Lines that were lost, by sink and reason.")                                            \
	X(100, RING_MESSAGES, "zlayer_ring_messages_total", COUNTER, ONE, NO_BOUNDS,              \
	  "Log records put on or taken from a segment of the ring, by direction.")                \
	X(101, RING_FULL, "zlayer_ring_full_total", COUNTER, ONE, NO_BOUNDS,                      \
	  "Requests refused because a segment had no free slot.")                                 \
	X(102, RING_USED, "zlayer_ring_used_ratio", GAUGE, MILLI, NO_BOUNDS,                      \
	  "Share of a segment's request slots that is in use.")                                   \
	X(110, CONFIG_RELOADS, "zlayer_config_reloads_total", COUNTER, ONE, NO_BOUNDS,            \
	  "Reloads of the node's configuration, by result.")                                      \
	X(111, CONFIG_LAST_RELOAD, "zlayer_config_last_reload_success_timestamp_seconds", GAUGE,  \
	  ONE, NO_BOUNDS, "When the configuration was last taken over.")                          \
	X(120, SCRAPE_DURATION, "zlayer_scrape_duration_seconds", GAUGE, NANO, NO_BOUNDS,         \
	  "Time that the last scrape took.")                                                      \
	X(121, SERIES_FOLDED, "zlayer_metrics_series_folded_total", COUNTER, ONE, NO_BOUNDS,      \
	  "Label sets counted under \"other\" because a limit was reached, by service.")          \
	X(130, PROCESS_CPU, "process_cpu_seconds_total", COUNTER, NANO, NO_BOUNDS,                \
	  "CPU time of a process of the node.")                                                   \
	X(131, PROCESS_MEMORY, "process_resident_memory_bytes", GAUGE, ONE, NO_BOUNDS,            \
	  "Resident memory of a process of the node.")                                            \
	X(132, PROCESS_FDS, "process_open_fds", GAUGE, ONE, NO_BOUNDS,                            \
	  "Open descriptors of a process of the node.")                                           \
	X(133, PROCESS_FDS_MAX, "process_max_fds", GAUGE, ONE, NO_BOUNDS,                         \
	  "Limit of descriptors of a process of the node.")                                       \
	X(134, PROCESS_START, "process_start_time_seconds", GAUGE, NANO, NO_BOUNDS,               \
	  "When a process of the node started.")

enum metrics_id {
#define METRICS_ENUM_(id, constant, name, kind, scale, bounds, help) METRICS_##constant = (id),
	METRICS_TABLE(METRICS_ENUM_)
#undef METRICS_ENUM_
		METRICS_IDS_ = 256,
};

struct metrics_family {
	uint16_t id;
	enum metric_kind kind;
	enum metrics_scale scale;
	enum metrics_bounds bounds;
	const char *name;
	const char *help;
};

/* NULL when unknown. */
const struct metrics_family *metrics_family(unsigned id);
/* METRIC_BOUNDS ascending raw values (nanoseconds or bytes), unused ones UINT64_MAX (what falls
 * there belongs to +Inf); NULL for METRICS_NO_BOUNDS. */
const uint64_t *metrics_bounds_of(enum metrics_bounds bounds);

/* Short hand: the series of a family in a page. labels may be NULL. */
struct metric_series *metrics_get(struct metric_page *page, enum metrics_id id,
				  const struct metric_labels *labels);
void metrics_observe(struct metric_series *s, enum metrics_id id, uint64_t raw);

#endif
