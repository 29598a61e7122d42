/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From symptoms to a cause. The order matters: a process that ended explains refused connections,
 * and being ended for want of memory explains that it ended. What cannot be named for certain is
 * told as seen.
 */
#include "scheduler/cause.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include "base/text.h"

enum { BODY_CHARS = 200, SHORT = 32 };

const char *
cause_signal(uint32_t signal, char *out, size_t cap)
{
	const char *name = signal < NSIG ? sigabbrev_np((int)signal) : NULL;

	if (name)
		text_copy(out, cap, name);
	else
		text_format(out, cap, "signal %" PRIu32, signal);
	return out;
}

static int
start(const struct cause_input *in, struct err *err, enum err_kind kind, const char *did)
{
	err_set(err, kind, "%s.%" PRIu32 " on %s %s", in->service, in->index, in->node, did);
	return err_where(err, "%s/%s", in->deployment, in->service);
}

static void
see_logs(const struct cause_input *in, struct err *err)
{
	err_fix(err, "zlayer logs %s/%s --previous", in->deployment, in->service);
}

static void
why_again(const struct cause_input *in, struct err *err)
{
	if (in->restarts > 0)
		err_why(err, "it was started again %" PRIu32 " time%s", in->restarts,
			in->restarts == 1 ? "" : "s");
}

/* ---- it ended, or never began ---- */

static void
not_started(const struct cause_input *in, const struct msg_container *c, struct err *err)
{
	const struct msg_reason *r = &c->reason;
	enum err_kind kind = r->kind > 0 && r->kind < ERR_KINDS_ ? r->kind : ERR_SYSTEM;

	start(in, err, kind, "could not be started");
	if (r->what[0])
		err_why(err, "%s", r->what);
	else
		err_why(err, "the runtime gave no reason");
	if (r->why[0])
		err_why(err, "%s", r->why);
	if (r->why2[0])
		err_why(err, "%s", r->why2);
	if (r->fix[0])
		err_fix(err, "%s", r->fix);
}

static void
more_memory(const struct cause_input *in, uint64_t limit, struct err *err)
{
	char raw[SHORT];

	text_put_size(limit, raw, sizeof(raw));
	if (limit)
		err_fix(err, "raise resources.memory of %s above %s, or make the program use less",
			in->service, raw);
	else
		err_fix(err, "give %s a limit (resources.memory), or the machine more memory",
			in->service);
}

void
cause_oom_inside(const struct cause_input *in, uint32_t processes, struct err *err)
{
	start(in, err, ERR_LIMIT, "runs, but not all of its processes have memory");
	err_why(err, "the kernel ended %" PRIu32 " of them for want of memory; process 1 lives",
		processes);
	more_memory(in, in->container->memory_limit, err);
}

static void
out_of_memory(const struct cause_input *in, const struct msg_container *c, struct err *err)
{
	uint64_t limit = c->memory_limit ? c->memory_limit : in->memory_bytes;
	char peak[SHORT], most[SHORT];

	text_human_bytes(c->memory_peak, peak, sizeof(peak));
	text_human_bytes(limit, most, sizeof(most));
	start(in, err, ERR_LIMIT, "ran out of memory");
	if (limit && c->memory_peak)
		err_why(err, "the kernel ended it at its limit of %s (peak %s)", most, peak);
	else if (limit)
		err_why(err, "the kernel ended it at its limit of %s", most);
	else
		err_why(err, "the kernel ended it: the machine has no memory left");
	why_again(in, err);
	more_memory(in, limit, err);
}

static void
seccomp(const struct cause_input *in, struct err *err)
{
	start(in, err, ERR_DENIED, "was ended by the seccomp filter");
	err_why(err, "it made a system call that the profile does not allow");
	why_again(in, err);
	err_fix(err, "if the program needs that call: seccomp: unconfined for %s", in->service);
}

static void
why_status(int32_t status, struct err *err)
{
	switch (status) {
	case 0:
		err_why(err, "the process exited with status 0; a service is to go on running");
		break;
	case 126:
		err_why(err, "the process exited with status 126: the command is not executable");
		break;
	case 127:
		err_why(err, "the process exited with status 127: the command was not found");
		break;
	default:
		err_why(err, "the process exited with status %" PRId32, status);
		break;
	}
}

static void
ended(const struct cause_input *in, const struct msg_container *c, struct err *err)
{
	int64_t ran_ns;
	char name[SHORT], after[SHORT];

	if (c->state == MSG_CONTAINER_FAILED) {
		not_started(in, c, err);
		return;
	}
	if (c->oom_killed) {
		out_of_memory(in, c, err);
		return;
	}
	if (c->seccomp_killed) {
		seccomp(in, err);
		return;
	}
	start(in, err, ERR_SYSTEM, in->relapsed ? "ended after it had been healthy" : "ended");
	if (c->exit_signal)
		err_why(err, "the process was ended by signal %" PRIu32 " (%s)", c->exit_signal,
			cause_signal(c->exit_signal, name, sizeof(name)));
	else
		why_status(c->exit_status, err);
	/* Times are another process's word, and clocks are set. */
	if (c->started_wall_ns > 0 &&
	    !__builtin_sub_overflow(c->exited_wall_ns, c->started_wall_ns, &ran_ns) &&
	    ran_ns >= 0) {
		text_human_duration((uint64_t)ran_ns / 1000000, after, sizeof(after));
		err_why(err, "it ran for %s", after);
	}
	why_again(in, err);
	see_logs(in, err);
}

void
cause_isolated(const struct cause_input *in, struct err *err)
{
	const struct msg_container *c = in->ended;
	char did[96], name[SHORT];

	if (c->oom_killed)
		text_copy(did, sizeof(did), "is isolated after it ran out of memory");
	else if (c->exit_signal)
		text_format(did, sizeof(did), "is isolated after signal %" PRIu32 " (%s)",
			    c->exit_signal, cause_signal(c->exit_signal, name, sizeof(name)));
	else
		text_format(did, sizeof(did), "is isolated after exit status %" PRId32,
			    c->exit_status);
	start(in, err, ERR_SYSTEM, did);
	err_why(err, "errors.on_panic is isolate: it gets no requests, and its files are kept");
	err_fix(err,
		"zlayer exec %s/%s.%" PRIu32 " -- sh, and logs --previous; then: zlayer restart "
		"%s/%s",
		in->deployment, in->service, in->index, in->deployment, in->service);
}

/* ---- it runs, and its checks fail ---- */

static void
needs(const struct cause_result *r, char *out, size_t cap)
{
	if (r->endpoint)
		text_format(out, cap, "the endpoint \"%s\" needs port %u", r->endpoint, r->port);
	else
		text_format(out, cap, "the health check needs port %u", r->port);
}

/* The TCP ports that it listens on, as a list; loopback: only those on loopback, or only others. */
static size_t
list_ports(const struct msg_container *c, bool loopback, char *out, size_t cap)
{
	uint32_t count = c->listening_count < 8 ? c->listening_count : 8;
	size_t listed = 0;

	text_copy(out, cap, "");
	for (uint32_t i = 0; i < count; i++) {
		size_t length = strlen(out);

		if ((c->listening_loopback[i] != 0) != loopback)
			continue;
		text_format(out + length, cap - length, "%s%s%u", listed ? ", " : "",
			    loopback ? "127.0.0.1:" : "", c->listening_ports[i]);
		listed++;
	}
	return listed;
}

static bool
listens(const struct msg_container *c, uint16_t port, bool loopback)
{
	uint32_t count = c->listening_count < 8 ? c->listening_count : 8;

	for (uint32_t i = 0; i < count; i++) {
		if (c->listening_ports[i] == port && (c->listening_loopback[i] != 0) == loopback)
			return true;
	}
	return false;
}

static void
other_port(const struct cause_input *in, const struct cause_result *r, struct err *err)
{
	const struct msg_container *c = in->container;
	char need[ERR_TEXT_BYTES / 2], ports[160], local_ports[160];
	size_t open = list_ports(c, false, ports, sizeof(ports));
	size_t local = list_ports(c, true, local_ports, sizeof(local_ports));

	needs(r, need, sizeof(need));
	if (open > 0) {
		err_why(err, "the process listens on port %s; %s", ports, need);
		err_fix(err,
			"set target_port of the endpoint to what the program listens on, or "
			"make the program listen on %u",
			r->port);
	} else if (local > 0) {
		err_why(err, "the process listens on %s; %s on all addresses", local_ports, need);
		err_fix(err, "make the program listen on 0.0.0.0:%u, then: zlayer deploy", r->port);
	} else {
		err_why(err, "nothing listens in the container; %s", need);
		err_fix(err,
			"make the program listen on 0.0.0.0:%u, or give it more time "
			"(health.start_grace; deploy.health_timeout in node.yaml)",
			r->port);
	}
}

static void
refused(const struct cause_input *in, const struct cause_result *r, struct err *err)
{
	char need[ERR_TEXT_BYTES];

	if (!in->container)
		return;
	if (r->check == CAUSE_UDP) {
		err_why(err, "nothing receives on UDP port %u of the container", r->port);
		err_fix(err,
			"make the program receive on 0.0.0.0:%u, or set target_port of the "
			"endpoint",
			r->port);
		return;
	}
	if (!listens(in->container, r->port, true)) {
		other_port(in, r, err);
		return;
	}
	needs(r, need, sizeof(need));
	err_why(err, "the process listens on 127.0.0.1:%u; %s on all addresses", r->port, need);
	err_fix(err,
		"make the program listen on 0.0.0.0 (often HOST=0.0.0.0), then: zlayer deploy");
}

static void
body(const struct msg_result *m, struct err *err)
{
	char text[BODY_CHARS + 1];

	if (!m->detail[0])
		return;
	size_t length = strnlen(m->detail, sizeof(m->detail));
	while (length > 0 && (unsigned char)m->detail[length - 1] <= ' ')
		length--;
	if (length == 0)
		return;
	text_ncopy(text, sizeof(text), m->detail, length);
	err_why(err, "it said: %s", text);
}

static void
explain(const struct cause_input *in, const struct cause_result *r, struct err *err)
{
	const struct msg_result *m = r->result;

	switch ((enum msg_result_failure)m->failure) {
	case MSG_FAILURE_REFUSED:
		refused(in, r, err);
		break;
	case MSG_FAILURE_STATUS:
		err_why(err, "GET %s answered %" PRIu32 ", expected %" PRIu32, r->path,
			m->http_status, r->expect_status);
		body(m, err);
		err_fix(err,
			"see why in the program's log: zlayer logs %s/%s, or set "
			"health.check.expect_status",
			in->deployment, in->service);
		break;
	case MSG_FAILURE_PROTOCOL:
		if (r->check == CAUSE_UDP) {
			err_why(err,
				"what UDP port %u answers is not what stream.health_check expects",
				r->port);
			body(m, err);
			break;
		}
		if (m->tls_seen) {
			err_why(err,
				"port %u of the container speaks TLS; the edge and the health "
				"check speak plain HTTP to it",
				r->port);
			err_fix(err, "let the program serve plain HTTP: TLS ends at the edge "
				     "(protocol: https)");
			break;
		}
		err_why(err, "what port %u answers is not HTTP", r->port);
		body(m, err);
		err_fix(err, "use health.check of type tcp, or the port that serves HTTP");
		break;
	case MSG_FAILURE_EXIT:
		err_why(err, "the health command exited with status %" PRIu32, m->http_status);
		body(m, err);
		err_fix(err, "try it: zlayer exec %s/%s -- COMMAND", in->deployment, in->service);
		break;
	default:
		break;
	}
}

static const char *
failure_text(uint32_t failure)
{
	switch ((enum msg_result_failure)failure) {
	case MSG_FAILURE_REFUSED:
		return "connection refused";
	case MSG_FAILURE_TIMEOUT:
		return "no answer in time";
	case MSG_FAILURE_RESET:
		return "connection reset";
	case MSG_FAILURE_UNREACHABLE:
		return "not reachable";
	case MSG_FAILURE_STATUS:
		return "another status than expected";
	case MSG_FAILURE_PROTOCOL:
		return "another protocol than expected";
	case MSG_FAILURE_EXIT:
		return "the command failed";
	case MSG_FAILURE_NONE:
	case MSG_FAILURE_OTHER:
		break;
	}
	return "failed";
}

static void
tried(const struct cause_input *in, const struct cause_result *r, struct err *err)
{
	const struct msg_result *m = r->result;
	char name[MSG_PATH + SHORT], waited[SHORT], timeout[SHORT];

	if (r->check == CAUSE_HTTP)
		text_format(name, sizeof(name), "GET %s", r->path);
	else if (r->check == CAUSE_TCP)
		text_format(name, sizeof(name), "TCP port %u", r->port);
	else if (r->check == CAUSE_UDP)
		text_format(name, sizeof(name), "UDP port %u", r->port);
	else
		text_copy(name, sizeof(name), "health command");
	text_human_duration(in->waited_ms, waited, sizeof(waited));
	text_human_duration(r->timeout_ms, timeout, sizeof(timeout));
	if (m->failure == MSG_FAILURE_TIMEOUT)
		err_why(err,
			"health check %s: no answer within %s, %" PRIu64 " tries in %s; the "
			"process is alive",
			name, timeout, m->total, waited);
	else
		err_why(err, "health check %s: %s, %" PRIu64 " tries in %s; the process is alive",
			name, failure_text(m->failure), m->total, waited);
}

static const struct cause_result *
failing(const struct cause_input *in)
{
	for (size_t i = 0; i < in->results_count; i++) {
		const struct msg_result *m = in->results[i].result;

		if (m && m->total > 0 && !m->ok)
			return &in->results[i];
	}
	return NULL;
}

static void
unhealthy(const struct cause_input *in, struct err *err)
{
	const struct cause_result *r = failing(in);
	char waited[SHORT];

	start(in, err, in->relapsed ? ERR_SYSTEM : ERR_TIMEOUT,
	      in->relapsed ? "became unhealthy after it had been healthy"
			   : "did not become healthy");
	if (r) {
		explain(in, r, err);
		tried(in, r, err);
		if (!err->fix[0])
			see_logs(in, err);
		return;
	}
	text_human_duration(in->waited_ms, waited, sizeof(waited));
	if (!in->container)
		err_why(err, "the runtime has not taken it over in %s", waited);
	else if (in->container->state == MSG_CONTAINER_PREPARING)
		err_why(err,
			"it was still being prepared after %s (image, network, root file "
			"system)",
			waited);
	else
		err_why(err, "no check had an answer in %s", waited);
	why_again(in, err);
	see_logs(in, err);
}

void
cause_name(const struct cause_input *in, struct err *err)
{
	const struct msg_container *c = in->container;
	bool over = c && (c->state == MSG_CONTAINER_EXITED || c->state == MSG_CONTAINER_FAILED);
	bool runs = c && c->state == MSG_CONTAINER_RUNNING;

	if (over)
		ended(in, c, err);
	else if (in->ended && !(in->relapsed && runs && failing(in)))
		ended(in, in->ended, err);
	else
		unhealthy(in, err);
}
