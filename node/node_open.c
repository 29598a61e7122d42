/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node's start and end. Order of a start: configuration, privileges, instance (locks, folders,
 * uids), cgroup, fabric, node's own segment with the counters of the last run, proxies of a killed
 * node, listeners, roles. Everything that is here already is adopted, so that a start after
 * kill -9, an upgrade and a first start take the same path.
 *
 * A clean stop leaves containers running: the monitors own them. Only when no container is left,
 * what the instance has outside its data folder is removed.
 */
#include "node/node_private.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "node/collect.h"
#include "node/fabric.h"
#include "node/folder.h"
#include "node/kernel.h"
#include "node/login_program.h"
#include "node/publish.h"
#include "node/retired.h"
#include "node/stale.h"
#include "node/upgrade.h"

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
	    kernel_check_running(err) < 0 || instance_privileged(err) < 0)
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
	node_config_begin(n);
	usage_up(ring_writer_metrics(n->own), role_name(ROLE_NODE), true);
	n->usage.pid = getpid();
	publish_node(n->own, &n->inst, &n->config, n->cgroup.mode);
	n->hub = hub_new(&n->loop, n->own, generation, &node_hub_events, n);
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
	if (node_config_seal(n, &n->config, err) < 0)
		return -1;
	n->supervise = supervise_new(&n->env, roles, count, &node_supervise_events, n);
	if (!n->supervise)
		return err_set(err, ERR_NO_MEMORY, "no memory to serve");
	n->certs = certs_new(&n->loop, n->config.tls.certificates, node_certificates_changed, n);
	n->outside = outside_new(&n->loop, n->own, n->hub, &n->inst, n->fabric);
	n->wgdev = wgdev_new(n->own, n->hub, &n->inst, n->fabric);
	n->edge = edge_new(&n->loop, n->own, n->hub, &n->inst);
	n->logins = login_program_new(&n->loop);
	if (!n->outside || !n->wgdev || !n->edge || !n->logins)
		return err_set(err, ERR_NO_MEMORY, "no memory to serve");
	return etcd_new(&n->loop, n->own, n->hub, &n->inst, &n->cgroup, &n->etcd, err);
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
	for (uint32_t i = 0; i < up->sockets_count; i++) {
		const struct upgrade_socket *s = &up->sockets[i];

		if (wgdev_adopt(n->wgdev, &n->config, s->name, s->fd))
			continue;
		/* It was in a cluster; whether it is the scheduler will say. */
		if (text_equal(s->name, "overlay") && !n->listeners.sealed) {
			n->listeners.sealed = true;
			listeners_plan(&n->listeners, &n->config);
		}
		listeners_adopt(&n->listeners, ROLE_NODE, s->name, s->fd);
	}
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

int
node_open(struct node *n, const unsigned *roles, size_t count, struct err *err)
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
		node_open_listeners(n);
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

void
node_close(struct node *n)
{
	bool stay = containers_left(n);
	struct err outside = {0}, edge = {0};

	/* The loop runs once more, for handles that close: nothing may come to what is gone. */
	uv_timer_stop(&n->tick);
	uv_timer_stop(&n->soon);
	for (int i = 0; i < NODE_SIGNALS; i++)
		uv_signal_stop(&n->signals[i]);
	if (!stay && n->edge && edge_remove(n->edge, &edge) < 0)
		log_err(LOG_WARN, "an interface is not left", &edge);
	if (!stay && outside_remove(n->outside, &outside) < 0)
		log_err(LOG_WARN, "the uplink is not removed", &outside);
	outside_free(n->outside);
	wgdev_free(n->wgdev);
	login_program_free(n->logins);
	edge_free(n->edge);
	etcd_free(n->etcd);
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
		etcd_remove(&n->inst);
		instance_remove(&n->inst);
		log_event(LOG_INFO, "stopped; nothing is left running", LOG_END);
	}
	ring_writer_free(n->own);
}
