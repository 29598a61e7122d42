/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The proxy role. What it does with the world: listeners, ticket keys and the order to leave come
 * over the leash; routes and backends are scheduler's tables, certificates signer's. Signatures are
 * asked for over the ring. Everything that needs a file is opened before confinement.
 *
 * It accepts when it has the routes and the certificates for them, so that a successor refuses
 * nobody. When node dies the worker goes on serving with what it has, over a socket that the next
 * node finds (ring/handover.h) hands it the listeners, and drains when it is told to.
 */

#include "proxy/proxy.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/downstream.h"
#include "proxy/listener.h"
#include "proxy/sign_provider.h"
#include "proxy/tables.h"
#include "proxy/worker_turn.h"
#include "ring/handover.h"
#include "spec/config.h"

enum {
	LOG_BYTES = 4 << 20,
	DRAIN_ROWS = 1024,
	SERIES = 4096,
	SIGN_TIMEOUT_MS = 5000,
};

static struct worker *worker; /* one per process */
static struct handover *handover;

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->log_bytes = LOG_BYTES;
	out->tables[0] = (struct ring_table_layout){
		.table = MSG_TABLE_APPLIED,
		.version = 1,
		.row_bytes = sizeof(struct msg_applied),
		.rows_max = 1,
	};
	out->tables[1] = (struct ring_table_layout){
		.table = MSG_TABLE_DRAIN,
		.version = 1,
		.row_bytes = sizeof(struct msg_drain),
		.rows_max = DRAIN_ROWS,
	};
	out->tables[2] = (struct ring_table_layout){
		.table = MSG_TABLE_DEMAND,
		.version = 1,
		.row_bytes = sizeof(struct msg_demand),
		.rows_max = DEMAND_SERVICES_MAX,
	};
	out->tables_count = 3;
	out->request_slots = MSG_SLOTS;
	out->request_body_bytes = sizeof(struct msg_sign);
	out->metric_series = SERIES;
}

/* ---- signatures ---- */

static void
on_signature(void *arg, int status, const struct err *err, const void *body, size_t bytes, int *fds,
	     size_t count)
{
	struct downstream *c;

	(void)fds;
	(void)count;
	if (status != 0)
		log_err(LOG_WARN, "no signature for a handshake", err);
	c = sign_provider_answer(arg, body, status == 0 ? bytes : 0);
	if (c)
		downstream_signed(c);
}

/* A sign_ask_fn. */
static int
ask_signer(void *arg, const struct msg_sign *question, struct sign_wait *wait)
{
	struct err err = {0};

	(void)arg;
	if (station_ask(worker->st, ROLE_SIGNER, 0, MSG_OP_SIGN, question, sizeof(*question), NULL,
			0, SIGN_TIMEOUT_MS, on_signature, wait, &err) == 0)
		return 0;
	log_err(LOG_WARN, "signer could not be asked", &err);
	return -1;
}

/* ---- beginning ---- */

static int
open_libraries(struct station *st, struct err *err)
{
	struct tls_server_config tls = {
		.select = sni_select,
		.h2 = true,
		.async = true,
	};
	size_t bytes;
	const struct config *config = station_config(st, &bytes);

	worker = mem_zalloc(MEM_PROXY, sizeof(*worker));
	if (!worker)
		return err_set(err, ERR_NO_MEMORY, "cannot start the worker");
	worker_init(worker, st);
	tls.select_arg = &worker->sni;
	tls.tls13_only = bytes >= sizeof(*config) && config->tls.minimum_version == CONFIG_TLS_1_3;
	if (h2_engine_new(&worker->h2, err) || sign_provider_init(ask_signer, NULL, err) ||
	    tls_server_new(&tls, &worker->tls, err))
		return -1;
	worker->sni.tls = worker->tls;
	return 0;
}

static int
start(struct station *st, struct err *err)
{
	(void)st;
	return worker_start(worker, err);
}

/* ---- tables and messages ---- */

static void
wake(struct station *st, struct ring_reader *reader)
{
	(void)st;
	tables_sync(worker, reader);
	if (!worker->accepting && !worker->orphan && tables_complete(worker))
		worker_accept(worker);
}

/* ---- to the next node ---- */

static bool
give_listener(void *arg, size_t i, int *fd_out, const char **name_out)
{
	(void)arg;
	return listener_get(worker, i, fd_out, name_out);
}

static void
drain(void *arg, uint64_t grace_ms)
{
	(void)arg;
	worker_drain(worker, grace_ms);
}

static const struct handover_events handover_events = {give_listener, drain};

static void
take_handover(struct station *st, int *fd)
{
	struct err err = {0};

	if (handover)
		return;
	if (handover_new(st, fd_take(fd), &handover_events, NULL, &handover, &err) < 0)
		log_err(LOG_ERROR, "this worker cannot be found after a crash of node", &err);
}

static void
take_listener(const struct leash_message *m, int *fd)
{
	struct err err = {0};

	if (!listener_known(m->name))
		return;
	if (worker->draining)
		return;
	if (listener_add(worker, fd_take(fd), m->name, &err))
		log_err(LOG_ERROR, "a listener is not served", &err);
	else if (worker->accepting)
		listener_accept_all(worker);
}

static void
take_config(struct station *st)
{
	size_t bytes;
	const struct config *config = station_config(st, &bytes);

	if (bytes >= sizeof(*config))
		listener_keep(worker, &config->listen);
}

static void
take_tickets(int fd)
{
	struct tls_ticket_key keys[TLS_TICKET_KEYS_MAX];
	struct msg_tickets copy;
	struct stat sb;
	void *p;

	if (!fd_is_sealed(fd) || fstat(fd, &sb) < 0 || sb.st_size < (off_t)sizeof(copy))
		return;
	p = mmap(NULL, sizeof(copy), PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return;
	memcpy(&copy, p, sizeof(copy));
	(void)munmap(p, sizeof(copy));
	if (copy.magic == MSG_TICKETS_MAGIC && copy.count > 0 &&
	    copy.count <= TLS_TICKET_KEYS_MAX) {
		for (uint32_t i = 0; i < copy.count; i++) {
			memcpy(keys[i].name, copy.keys[i].name, sizeof(keys[i].name));
			memcpy(keys[i].aes, copy.keys[i].cipher, sizeof(keys[i].aes));
			memcpy(keys[i].hmac, copy.keys[i].mac, sizeof(keys[i].hmac));
		}
		tls_server_set_tickets(worker->tls, keys, copy.count);
	}
	mem_wipe(&copy, sizeof(copy));
	mem_wipe(keys, sizeof(keys));
}

static void
message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	if (m->kind == LEASH_LISTENER && count == 1 && MSG_OK(m->name) &&
	    strcmp(m->name, "handover") == 0)
		take_handover(st, &fds[0]);
	else if (m->kind == LEASH_LISTENER && count == 1 && MSG_OK(m->name))
		take_listener(m, &fds[0]);
	else if (m->kind == LEASH_CONFIG)
		take_config(st);
	else if (m->kind == LEASH_UNLISTEN && MSG_OK(m->name))
		listener_unlisten(worker, m->name, &m->addr);
	else if (m->kind == LEASH_TICKETS && count == 1)
		take_tickets(fds[0]);
}

static void
stop(struct station *st, uint64_t grace_ms)
{
	(void)st;
	worker_drain(worker, grace_ms);
}

static void
orphaned(struct station *st)
{
	(void)st;
	/* signer leaves too: a handshake could not be finished, but waits for the next worker. */
	worker->accepting = false;
	worker->orphan = true; /* also when a last word of another process comes */
	listener_hold_secure(worker);
	log_event(LOG_WARN, "node is gone: going on with the routes as they are", LOG_END);
}

const struct station_role proxy_role = {
	.role = ROLE_PROXY,
	.layout = layout,
	.open = open_libraries,
	.start = start,
	.peer = wake,
	.wake = wake,
	.message = message,
	.stop = stop,
	.orphaned = orphaned,
};
