/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node: puts the parts together and reacts to signals. Order of a start: configuration,
 * privileges, instance (locks, folders, uids), cgroup, fabric, node's own segment with the counters
 * of the last run, proxies of a killed node, listeners, roles. Everything that is here already is
 * adopted, so that a start after kill -9, an upgrade and a first start take the same path.
 *
 * A clean stop leaves containers running: the monitors own them. Only when no container is left,
 * what the instance has outside its data folder is removed.
 */
#include "node/node.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "node/certs.h"
#include "node/cgroup.h"
#include "node/collect.h"
#include "node/desk.h"
#include "node/edge.h"
#include "node/fabric.h"
#include "node/notify.h"
#include "node/options.h"
#include "node/outside.h"
#include "node/publish.h"
#include "node/resolver.h"
#include "node/retired.h"
#include "node/stale.h"
#include "node/streams.h"
#include "node/supervise.h"
#include "node/folder.h"
#include "node/upgrade.h"
#include "ring/metrics.h"

enum { TICK_MS = 1000, CERTS_TICKS = 10, USAGE_TICKS = 5, LISTEN_TICKS_MAX = 30, SIGNALS = 4 };

struct node {
	uv_loop_t loop;
	int argc;
	char **argv;
	struct options options;
	struct config config;
	int config_fd;
	struct instance inst;
	struct cgroup cgroup;
	int fabric;
	struct ring_writer *own;
	struct hub *hub;
	struct listeners listeners;
	struct streams streams;
	struct resolver resolver;
	struct unit_env env;
	struct supervise *supervise;
	struct certs *certs;
	struct outside *outside;
	struct login_program *logins;
	struct edge *edge;
	uv_signal_t signals[SIGNALS];
	uv_timer_t tick;
	struct usage usage;
	uint64_t ticks;
	uint64_t listen_due, listen_wait; /* in ticks */
	bool stopping;
	bool announced;     /* READY=1 was sent */
	bool upgrade_waits; /* asked for while another one was under way */
};

static const int signal_numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};

/* ---- what roles ask for ---- */

static void
certificates_changed(void *arg)
{
	struct node *n = arg;
	struct list *it, *tmp;

	list_each (it, tmp, supervise_units(n->supervise)) {
		struct unit *u = container_of(it, struct unit, link);

		if (u->role->role == ROLE_SIGNER && u->member)
			desk_certificates(u->member, n->certs);
	}
}

static void
resolvers_changed(struct node *n)
{
	struct list *it, *tmp;

	list_each (it, tmp, supervise_units(n->supervise)) {
		struct unit *u = container_of(it, struct unit, link);

		if (u->role->role == ROLE_OVERLAY && u->member)
			resolver_send_file(u->member);
	}
}

static void
role_asked(void *arg, struct hub_member *m, const struct leash_message *message, int *fds,
	   size_t count)
{
	struct node *n = arg;

	(void)count;
	desk_asked(&(struct desk){n->inst.data_fd, n->config.runtime.registries, n->logins}, m,
		   message, fds);
}

static void
role_ready(void *arg, struct hub_member *m, uint64_t landlock_abi)
{
	(void)arg;
	unit_ready(hub_owner(m), landlock_abi);
}

static void
role_broken(void *arg, struct hub_member *m, const char *why)
{
	struct node *n = arg;

	supervise_broken(n->supervise, hub_owner(m), why);
}

static void
open_listeners(struct node *n)
{
	bool changed = listeners_open(&n->listeners);

	n->listen_wait = n->listen_wait ? n->listen_wait * 2 : 1;
	if (n->listen_wait > LISTEN_TICKS_MAX)
		n->listen_wait = LISTEN_TICKS_MAX;
	n->listen_due = listeners_all_up(&n->listeners) ? 0 : n->ticks + n->listen_wait;
	if (!changed)
		return;
	publish_listeners(n->own, &n->listeners);
	if (n->supervise)
		supervise_listeners(n->supervise);
	hub_kick(n->hub);
}

/* ---- ports of endpoints ---- */

static void
port_gone(void *arg, const char *name, const struct addr *addr)
{
	struct node *n = arg;
	struct leash_message message;
	struct list *it, *tmp;

	leash_init(&message, LEASH_UNLISTEN);
	message.from_role = ROLE_NODE;
	message.addr = *addr;
	text_copy(message.name, sizeof(message.name), name);
	list_each (it, tmp, supervise_units(n->supervise)) {
		struct unit *u = container_of(it, struct unit, link);

		if (u->role->role == ROLE_PROXY && u->member)
			hub_send(u->member, &message, NULL, 0);
	}
}

static void
plan_streams(struct node *n)
{
	if (!n->streams.known)
		return;
	listeners_streams(&n->listeners, &n->config, n->streams.ports, n->streams.count, port_gone,
			  n);
	n->listen_wait = 0;
	open_listeners(n);
	publish_listeners(n->own, &n->listeners);
	hub_kick(n->hub);
}

static void
scheduler_stirred(void *arg, struct ring_reader *scheduler)
{
	struct node *n = arg;

	if (!n->stopping && streams_sync(&n->streams, scheduler))
		plan_streams(n);
}

static const struct hub_events hub_events = {role_ready, role_broken, role_asked,
					     scheduler_stirred};

/* ---- what the supervisor tells ---- */

static void
process_spawned(void *arg, struct unit *u)
{
	struct node *n = arg;

	if (u->role->role == ROLE_SIGNER)
		desk_signer(n->inst.data_fd, u->member, n->certs);
	if (u->role->role == ROLE_OVERLAY) {
		resolver_send_sockets(u->member);
		resolver_send_file(u->member);
	}
}

static void
all_settled(void *arg)
{
	struct node *n = arg;

	log_event(LOG_INFO, "the node is up", log_s("instance", n->inst.name),
		  log_s("data", n->inst.data_path), LOG_END);
	notify_send("READY=1\nSTATUS=all processes are up");
	n->announced = true;
}

static void
all_stopped(void *arg)
{
	struct node *n = arg;

	uv_stop(&n->loop);
}

static const struct supervise_events supervise_events = {
	.settled = all_settled,
	.spawned = process_spawned,
	.stopped = all_stopped,
};

/* ---- configuration ---- */

static int
seal_config(struct node *n, const struct config *config, struct err *err)
{
	int fd = fd_memfd_sealed("config", config, sizeof(*config));

	if (fd < 0)
		return err_sys(err, errno, "cannot pass the configuration on");
	fd_close(&n->config_fd);
	n->config_fd = fd;
	n->env.config_fd = fd;
	return 0;
}

static void
setup_log(const struct node *n)
{
	struct log_config config = {
		.level = n->config.logs.level,
		.format = n->config.logs.format,
		.fd = STDERR_FILENO,
		.component = "node",
	};

	publish_name(&n->config, config.node, sizeof(config.node));
	log_setup(&config);
}

static void
add_reloads(struct node *n, bool ok, uint64_t count)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "result", ok ? "success" : "failure");
	metric_add(metrics_get(ring_writer_metrics(n->own), METRICS_CONFIG_RELOADS, &labels),
		   count);
}

static void
took_config(struct node *n)
{
	metric_set(metrics_get(ring_writer_metrics(n->own), METRICS_CONFIG_LAST_RELOAD, NULL),
		   world_wall_ns() / 1000000000);
}

/* The start reads the configuration too. */
static void
begin_reloads(struct node *n)
{
	add_reloads(n, true, 0);
	add_reloads(n, false, 0);
	took_config(n);
}

static void
count_reload(struct node *n, bool ok)
{
	add_reloads(n, ok, 1);
	if (ok)
		took_config(n);
}

static int
take_over(struct node *n, const struct config *config, struct err *err)
{
	struct leash_message message;
	bool folder = !text_equal(config->tls.certificates, n->config.tls.certificates);

	if (seal_config(n, config, err) < 0)
		return -1;
	n->config = *config;
	setup_log(n);
	leash_init(&message, LEASH_CONFIG);
	message.from_role = ROLE_NODE;
	message.a = (uint64_t)config->logs.level + 1;
	message.b = (uint64_t)config->logs.format;
	hub_send_all(n->hub, &message, &n->config_fd, 1);
	listeners_plan(&n->listeners, &n->config);
	n->listen_wait = 0;
	open_listeners(n);
	plan_streams(n);
	publish_listeners(n->own, &n->listeners);
	publish_node(n->own, &n->inst, &n->config, n->cgroup.mode);
	hub_kick(n->hub);
	if (folder) {
		certs_free(n->certs);
		n->certs = certs_new(&n->loop, n->config.tls.certificates, certificates_changed, n);
		certificates_changed(n);
	}
	return 0;
}

static int
read_config(struct node *n, struct config **out, struct err *err)
{
	struct config *config = mem_alloc(MEM_NODE, sizeof(*config));

	if (!config)
		return err_set(err, ERR_NO_MEMORY, "no memory to read the configuration");
	if (options_config(&n->options, config, err) < 0) {
		mem_free(config);
		return -1;
	}
	*out = config;
	return 0;
}

static void
keep_config(struct node *n, const struct err *err)
{
	log_err(LOG_ERROR, "the configuration is wrong; the old one stays", err);
	notify_send("READY=1\nSTATUS=the configuration is wrong; the old one stays");
	publish_config_error(n->own, err);
	hub_kick(n->hub);
	count_reload(n, false);
}

static void
reload(struct node *n)
{
	struct err err = {0};
	struct config *config = NULL;

	if (n->stopping)
		return;
	notify_reloading();
	if (read_config(n, &config, &err) < 0 || take_over(n, config, &err) < 0) {
		keep_config(n, &err);
	} else {
		log_event(LOG_INFO, "the configuration was read again", LOG_END);
		notify_send("READY=1\nSTATUS=the configuration was read again");
		count_reload(n, true);
	}
	mem_free(config);
}

/* ---- signals and time ---- */

static void
stop(struct node *n)
{
	if (!n->stopping)
		notify_send("STOPPING=1");
	n->stopping = true;
	supervise_stop(n->supervise);
}

/* The next program begins by reading the configuration: with a wrong one there would be no node. */
static bool
may_upgrade(struct node *n)
{
	struct err err = {0};
	struct config *config = NULL;

	n->upgrade_waits = supervise_in_between(n->supervise);
	if (n->stopping || n->upgrade_waits)
		return false;
	if (read_config(n, &config, &err) == 0) {
		mem_free(config);
		return true;
	}
	log_event(LOG_ERROR, "no upgrade: the running program goes on", LOG_END);
	keep_config(n, &err);
	return false;
}

static void
upgrade(struct node *n)
{
	struct err err = {0};

	if (!may_upgrade(n))
		return;
	struct upgrade *up = mem_alloc(MEM_NODE, sizeof(*up));
	if (!up)
		goto out;
	notify_reloading();
	if (retired_save(n->inst.run_fd, ring_writer_metrics(n->own), &err) < 0)
		log_err(LOG_WARN, "counters of node are lost in this upgrade", &err);
	upgrade_fill(up, &n->inst, &n->env, supervise_units(n->supervise));
	log_event(LOG_INFO, "running the program again", LOG_END);
	if (upgrade_exec(up, n->argc, n->argv, &err) < 0)
		log_err(LOG_ERROR, "no upgrade: the running program goes on", &err);
	notify_send("READY=1");
out:
	mem_free(up);
}

static void
signal_event(uv_signal_t *handle, int number)
{
	struct node *n = handle->data;

	switch (number) {
	case SIGHUP:
		reload(n);
		break;
	case SIGUSR2:
		upgrade(n);
		break;
	default:
		stop(n);
		break;
	}
}

/* Row 1 of a table of a role; NULL while it says nothing. */
static const void *
find_row(struct node *n, unsigned role, uint16_t table, uint32_t row_bytes)
{
	struct list *it, *tmp;

	list_each (it, tmp, supervise_units(n->supervise)) {
		struct unit *u = container_of(it, struct unit, link);
		struct ring_reader *reader = u->member ? hub_reader(u->member) : NULL;

		if ((unsigned)u->role->role != role || !reader)
			continue;
		ring_table_sync(reader, table, row_bytes, NULL, NULL);
		return ring_table_get(reader, table, 1);
	}
	return NULL;
}

/* What overlay says of this node's addresses. */
static const struct msg_prefix *
find_prefix(struct node *n)
{
	return find_row(n, ROLE_OVERLAY, MSG_TABLE_PREFIX, sizeof(struct msg_prefix));
}

static const struct msg_datapath *
find_datapath(struct node *n)
{
	return find_row(n, ROLE_DATAPLANE, MSG_TABLE_DATAPATH, sizeof(struct msg_datapath));
}

static void
tick_event(uv_timer_t *timer)
{
	struct node *n = timer->data;

	n->ticks++;
	ring_writer_heartbeat(n->own, world_mono_ns());
	bool usage = n->ticks % USAGE_TICKS == 1;
	supervise_tick(n->supervise, usage);
	if (n->listen_due && n->ticks >= n->listen_due && !n->stopping)
		open_listeners(n);
	if (n->upgrade_waits)
		upgrade(n);
	if (n->outside && !n->stopping)
		outside_tick(n->outside, &n->config, find_prefix(n));
	if (n->edge && !n->stopping)
		edge_tick(n->edge, &n->config, find_datapath(n));
	if (n->certs && n->ticks % CERTS_TICKS == 0)
		certs_tick(n->certs);
	if (resolver_changed(&n->resolver))
		resolvers_changed(n);
	if (usage)
		usage_update(ring_writer_metrics(n->own), role_name(ROLE_NODE), &n->usage);
	if (notify_watchdog_ms())
		notify_send("WATCHDOG=1");
}

static void
attend(struct node *n)
{
	sigset_t all;

	for (int i = 0; i < SIGNALS; i++) {
		uv_signal_init(&n->loop, &n->signals[i]);
		n->signals[i].data = n;
		uv_signal_start(&n->signals[i], signal_event, signal_numbers[i]);
	}
	/* An upgrade comes here with them blocked. */
	sigfillset(&all);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	uv_timer_init(&n->loop, &n->tick);
	n->tick.data = n;
	uv_timer_start(&n->tick, tick_event, TICK_MS, TICK_MS);
}

/* ---- start ---- */

static unsigned
count_workers(const struct config *config)
{
	cpu_set_t cpus;
	int count = 1;

	if (config->proxy.workers)
		return config->proxy.workers > ROLE_PROXIES_MAX / 2 ? ROLE_PROXIES_MAX / 2
								    : config->proxy.workers;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		count = CPU_COUNT(&cpus);
	return count < 1                      ? 1
	       : count > ROLE_PROXIES_MAX / 2 ? ROLE_PROXIES_MAX / 2
					      : (unsigned)count;
}

static int
open_instance(struct node *n, const struct upgrade *up, struct err *err)
{
	char data[INSTANCE_PATH];
	struct instance_locks held;

	if (options_data(&n->options, &n->config, data, sizeof(data), err) < 0 ||
	    instance_privileged(err) < 0)
		return -1;
	if (up)
		held = (struct instance_locks){up->data_lock, up->run_lock, up->slot_lock, up->slot,
					       up->uid_base};
	return instance_open(n->options.instance, data, n->config.node.uid_base, up ? &held : NULL,
			     &n->inst, err);
}

static int
open_place(struct node *n, struct err *err)
{
	if (cgroup_open(n->config.runtime.cgroup_parent, n->inst.name, &n->cgroup, err) < 0)
		return -1;
	return fabric_open(n->inst.run_fd, &n->fabric, err);
}

static int
open_segment(struct node *n, struct err *err)
{
	uint32_t generation;
	struct err damaged = {0};

	if (instance_reserve(&n->inst, 1, &generation, err) < 0 ||
	    publish_new(generation, &n->own, err) < 0)
		return -1;
	if (retired_load(n->inst.run_fd, ring_writer_metrics(n->own), &damaged) < 0)
		log_err(LOG_WARN, "counters of the last run are lost", &damaged);
	ring_writer_heartbeat(n->own, world_mono_ns());
	begin_reloads(n);
	usage_up(ring_writer_metrics(n->own), role_name(ROLE_NODE), true);
	n->usage.pid = getpid();
	publish_node(n->own, &n->inst, &n->config, n->cgroup.mode);
	n->hub = hub_new(&n->loop, n->own, generation, &hub_events, n);
	if (!n->hub)
		return err_set(err, ERR_NO_MEMORY, "no memory to serve");
	return 0;
}

static int
open_supervisor(struct node *n, const unsigned *roles, size_t count, struct err *err)
{
	n->env.loop = &n->loop;
	n->env.inst = &n->inst;
	n->env.config = &n->config;
	n->env.own = n->own;
	n->env.hub = n->hub;
	n->env.listeners = &n->listeners;
	n->env.fabric = n->fabric;
	n->env.cgroup_procs = n->cgroup.roles_fd;
	n->env.workers = count_workers(&n->config);
	if (seal_config(n, &n->config, err) < 0)
		return -1;
	n->supervise = supervise_new(&n->env, roles, count, &supervise_events, n);
	if (!n->supervise)
		return err_set(err, ERR_NO_MEMORY, "no memory to serve");
	n->certs = certs_new(&n->loop, n->config.tls.certificates, certificates_changed, n);
	n->outside = outside_new(&n->loop, n->own, n->hub, &n->inst, n->fabric);
	n->edge = edge_new(&n->loop, n->own, n->hub, &n->inst);
	n->logins = login_program_new(&n->loop);
	if (!n->outside || !n->edge || !n->logins)
		return err_set(err, ERR_NO_MEMORY, "no memory to serve");
	return 0;
}

/* ---- what runs already ---- */

static void
take_collected(void *arg, struct collect_found *found)
{
	struct node *n = arg;

	log_event(LOG_INFO, "a proxy of the last run hands over its sockets",
		  log_u("index", found->index), log_u("pid", (uint64_t)found->pid),
		  log_u("sockets", found->listeners), LOG_END);
	for (size_t i = 0; i < found->listeners; i++)
		listeners_adopt(&n->listeners, ROLE_PROXY, found->names[i], found->fds[i]);
	supervise_collected(n->supervise, found);
}

static void
take_unit(struct node *n, const struct upgrade_unit *from)
{
	struct err err = {0};
	struct unit *u = unit_new(&n->env, roles_get(from->role), from->index, from->worker);

	if (!u)
		return;
	u->generation = from->generation;
	u->restarts = from->restarts;
	u->landlock_abi = from->landlock_abi;
	u->state = (enum msg_process_state)from->state;
	u->pid = (pid_t)from->pid;
	u->conn = from->conn;
	u->started_wall_ns = from->started_wall_ns;
	if (u->state == MSG_PROCESS_UP)
		u->up_ms = uv_now(&n->loop);
	supervise_add(n->supervise, u);
	if (unit_adopt(u, from->pidfd, from->leash, from->segment, &err) < 0) {
		(void)err_where(&err, "process %s", u->component);
		log_err(LOG_ERROR, "a process was lost in the upgrade", &err);
		unit_free(u);
	}
}

static void
take_upgrade(struct node *n, const struct upgrade *up)
{
	n->env.generation_next = up->generation_next;
	n->env.generation_end = up->generation_end;
	hub_set_tickets(n->hub, up->tickets);
	for (uint32_t i = 0; i < up->sockets_count; i++)
		listeners_adopt(&n->listeners, ROLE_NODE, up->sockets[i].name, up->sockets[i].fd);
	for (uint32_t i = 0; i < up->units_count; i++)
		take_unit(n, &up->units[i]);
}

/* After kill -9: proxies with their sockets come to us, the other roles go. */
static void
take_rest(struct node *n)
{
	pid_t keep[ROLE_PROXIES_MAX];
	size_t count = 0;
	struct list *it, *tmp;

	collect_proxies(&n->inst, take_collected, n);
	list_each (it, tmp, supervise_units(n->supervise)) {
		if (count < ROLE_PROXIES_MAX)
			keep[count++] = container_of(it, struct unit, link)->pid;
	}
	(void)stale_end(&n->inst, keep, count);
}

static int
open_node(struct node *n, const unsigned *roles, size_t count, struct err *err)
{
	struct upgrade *up = mem_alloc(MEM_NODE, sizeof(*up));

	if (!up)
		return err_set(err, ERR_NO_MEMORY, "no memory to serve");
	bool upgraded = upgrade_take(up);
	int rc = open_instance(n, upgraded ? up : NULL, err);
	if (rc == 0)
		rc = open_place(n, err);
	if (rc == 0)
		rc = open_segment(n, err);
	if (rc == 0) {
		listeners_init(&n->listeners, &n->inst, count_workers(&n->config));
		n->listeners.fabric = n->fabric;
		listeners_plan(&n->listeners, &n->config);
		rc = open_supervisor(n, roles, count, err);
	}
	if (rc == 0 && upgraded)
		take_upgrade(n, up);
	else if (rc == 0)
		take_rest(n);
	if (rc == 0) {
		open_listeners(n);
		listeners_settle(&n->listeners);
		if (upgraded)
			supervise_replace(n->supervise);
		supervise_start(n->supervise);
	}
	mem_free(up);
	return rc;
}

/* ---- end ---- */

static bool
containers_left(const struct node *n)
{
	return folder_holds_something(n->inst.run_fd, "containers") || cgroup_busy(&n->cgroup);
}

static void
close_node(struct node *n)
{
	bool stay = containers_left(n);
	struct err outside = {0}, edge = {0};

	/* The loop runs once more, for handles that close: nothing may come to what is gone. */
	uv_timer_stop(&n->tick);
	for (int i = 0; i < SIGNALS; i++)
		uv_signal_stop(&n->signals[i]);
	if (!stay && n->edge && edge_remove(n->edge, &edge) < 0)
		log_err(LOG_WARN, "an interface is not left", &edge);
	if (!stay && outside_remove(n->outside, &outside) < 0)
		log_err(LOG_WARN, "the uplink is not removed", &outside);
	outside_free(n->outside);
	login_program_free(n->logins);
	edge_free(n->edge);
	certs_free(n->certs);
	supervise_free(n->supervise);
	listeners_fini(&n->listeners);
	hub_free(n->hub);
	unit_env_fini(&n->env);
	fd_close(&n->config_fd);
	fd_close(&n->fabric);
	if (stay) {
		struct err err = {0};

		log_event(LOG_INFO, "stopped; containers run on", LOG_END);
		if (retired_save(n->inst.run_fd, ring_writer_metrics(n->own), &err) < 0)
			log_err(LOG_WARN, "the counters are lost", &err);
		cgroup_close(&n->cgroup);
		instance_close(&n->inst);
	} else {
		if (fabric_remove(n->inst.run_fd) < 0)
			log_event(LOG_WARN, "cannot remove the fabric", log_i("errno", errno),
				  LOG_END);
		cgroup_remove(&n->cgroup);
		instance_remove(&n->inst);
		log_event(LOG_INFO, "stopped; nothing is left running", LOG_END);
	}
	ring_writer_free(n->own);
}

/* Listeners, leashes, segments: more than the usual soft limit. */
static void
raise_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

int
node_serve(int argc, char **argv, const unsigned *roles, size_t count)
{
	static struct node n = {.config_fd = -1, .fabric = -1};
	struct err err = {0};

	upgrade_remember();
	raise_limit();
	signal(SIGPIPE, SIG_IGN);
	n.argc = argc;
	n.argv = argv;
	if (options_parse(argc, argv, &n.options, &err) < 0)
		goto fail;
	if (n.options.help) {
		options_usage();
		return 0;
	}
	if (options_config(&n.options, &n.config, &err) < 0)
		goto fail;
	setup_log(&n);
	uv_loop_init(&n.loop);
	attend(&n);
	if (open_node(&n, roles, count, &err) < 0)
		goto fail;
	uv_run(&n.loop, UV_RUN_DEFAULT);
	close_node(&n);
	uv_run(&n.loop, UV_RUN_NOWAIT);
	return 0;
fail:
	err_print(&err, "zlayer", stderr);
	return err_kind_exit(err.kind);
}
