/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to look, and the process that does. It is a child of a child, so that nobody has to reap it
 * (an upgrade of node may come between); its answer comes by a pipe, whose end without an answer is
 * its death. It keeps none of node's descriptors but those it needs, so that nobody waits for a
 * listener or a lock of a node that was killed meanwhile.
 *
 * A look is due when what is wanted has changed, while something is missing, and else rarely:
 * somebody may have flushed the machine's rules.
 */
#include "node/outside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "node/roles.h"
#include "node/underlay.h"
#include "node/uplink.h"
#include "node/watch.h"

enum { MISSING_S = 5, STANDING_S = 30, CHILD_S = 60 };

struct answer {
	struct uplink_found uplink;
	struct underlay_found underlay;
};

struct outside {
	uv_loop_t *loop;
	struct ring_writer *own;
	struct hub *hub;
	struct uplink_wanted wanted;
	struct underlay_wanted underlay;
	enum msg_uplink_state state; /* 0: not looked yet */
	bool underlay_missing;
	bool changed;
	bool refused; /* the prefix: that was said */
	unsigned waited_s;
	int answer; /* of the process at work; -1: none */
	struct watch *watch;
	struct answer found; /* as far as it was read */
	size_t found_bytes;
};

struct outside *
outside_new(uv_loop_t *loop, struct ring_writer *own, struct hub *hub, const struct instance *inst,
	    int fabric)
{
	struct outside *o = mem_zalloc(MEM_NODE, sizeof(*o));

	if (!o)
		return NULL;
	o->loop = loop;
	o->own = own;
	o->hub = hub;
	o->answer = -1;
	text_copy(o->wanted.instance, sizeof(o->wanted.instance), inst->name);
	o->wanted.fabric = o->underlay.fabric = fabric;
	o->wanted.runs_fd = inst->runs_fd;
	o->wanted.nft_uid = inst->uid_base + ROLES_UID_NFT;
	return o;
}

static void
let_go(struct outside *o)
{
	watch_free(o->watch);
	o->watch = NULL;
	fd_close(&o->answer);
}

void
outside_free(struct outside *o)
{
	if (!o)
		return;
	let_go(o);
	mem_free(o);
}

/* ---- the process ---- */

static void
reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Three descriptors to 3, 4 and 5; all others are closed. */
static int
keep(int fds[3])
{
	for (int i = 0; i < 3; i++)
		if ((fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 6)) < 0)
			return -1;
	for (int i = 0; i < 3; i++)
		if (dup3(fds[i], 3 + i, O_CLOEXEC) < 0)
			return -1;
	return close_range(6, ~0U, 0);
}

static _Noreturn void
work(struct outside *o, int answer, bool removes)
{
	static struct answer found;
	int fds[3] = {o->wanted.fabric, o->wanted.runs_fd, answer};

	setsid();
	reset_signals();
	alarm(CHILD_S);
	if (keep(fds) < 0)
		_exit(1);
	o->wanted.fabric = o->underlay.fabric = 3;
	o->wanted.runs_fd = 4;
	if (!removes) {
		uplink_apply(&o->wanted, &found.uplink);
	} else {
		o->underlay.listen.on = false;
		found.uplink.state = uplink_remove(&o->wanted, &found.uplink.err) < 0
					     ? MSG_UPLINK_FAILED
					     : MSG_UPLINK_OFF;
	}
	underlay_apply(&o->underlay, &found.underlay);
	struct err err = {0};
	_exit(fd_write_all(5, &found, sizeof(found), &err) < 0);
}

/* Gives where the answer comes; -1 with err. */
static int
send_out(struct outside *o, bool removes, struct err *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot look after the uplink");
	defer_close int ours = ends[0], theirs = ends[1];
	pid_t pid = fork();
	if (pid == 0) {
		pid = fork();
		if (pid == 0)
			work(o, theirs, removes);
		_exit(pid < 0);
	}
	int status = 0;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (pid < 0 || status != 0)
		return err_sys(err, pid < 0 ? errno : EAGAIN, "cannot look after the uplink");
	o->found_bytes = 0;
	return fd_take(&ours);
}

/* ---- the answer ---- */

static void
publish(struct outside *o, const struct uplink_found *found)
{
	struct msg_uplink row = {
		.state = found->state,
		.ifindex = found->ifindex,
		.fabric_ifindex = found->fabric_ifindex,
	};
	bool changed = false;

	text_copy(row.name, sizeof(row.name), found->name);
	if (found->state == MSG_UPLINK_FAILED)
		msg_reason_from(&found->err, &row.reason);
	(void)ring_table_set(o->own, MSG_TABLE_UPLINK, 1, &row, &changed);
	if (!changed)
		return;
	hub_kick(o->hub);
	if (found->state == MSG_UPLINK_FAILED)
		log_err(LOG_WARN, "containers do not reach the world", &found->err);
	else if (found->state == MSG_UPLINK_UP)
		log_event(LOG_INFO, "containers reach the world", log_s("link", found->name),
			  LOG_END);
}

static void
publish_underlay(struct outside *o, const struct underlay_found *found)
{
	struct msg_underlay row = {
		.state = found->state,
		.ifindex = found->ifindex,
		.vni = o->underlay.overlay.vni,
		.listen = o->underlay.listen.addr,
	};
	bool changed = false;

	if (found->state == MSG_UNDERLAY_FAILED)
		msg_reason_from(&found->err, &row.reason);
	(void)ring_table_set(o->own, MSG_TABLE_UNDERLAY, 1, &row, &changed);
	if (changed && found->state == MSG_UNDERLAY_FAILED)
		log_err(LOG_WARN, "containers do not reach those of other nodes", &found->err);
	if (changed)
		hub_kick(o->hub);
}

static void
take_found(struct outside *o, const struct answer *found)
{
	o->state = found->uplink.state;
	o->wanted.digest = found->uplink.digest;
	o->underlay_missing = found->underlay.state == MSG_UNDERLAY_FAILED;
	publish(o, &found->uplink);
	publish_underlay(o, &found->underlay);
}

static void
take_failure(struct outside *o, const struct err *err)
{
	o->found = (struct answer){.uplink = {.state = MSG_UPLINK_FAILED, .err = *err},
				   .underlay = {.state = MSG_UNDERLAY_FAILED, .err = *err}};
	take_found(o, &o->found);
}

static void
take_answer(struct outside *o)
{
	struct err err = {0};

	let_go(o);
	if (o->found_bytes == sizeof(o->found)) {
		take_found(o, &o->found);
		return;
	}
	err_set(&err, ERR_INTERNAL, "the process that makes the ways out of the fabric died");
	take_failure(o, &err);
}

/* False at the end, or when there is nothing more for now. */
static bool
read_some(struct outside *o, bool *ended)
{
	char *at = (char *)&o->found + o->found_bytes;
	char more;
	size_t left = sizeof(o->found) - o->found_bytes;
	ssize_t n = left ? read(o->answer, at, left) : read(o->answer, &more, 1);

	if (n > 0 && left)
		o->found_bytes += (size_t)n;
	*ended = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
	return n > 0 || (n < 0 && errno == EINTR);
}

static void
readable(void *arg, bool can_read, bool can_write)
{
	struct outside *o = arg;
	bool ended;

	(void)can_read;
	(void)can_write;
	while (read_some(o, &ended))
		continue;
	if (ended)
		take_answer(o);
}

static void
look(struct outside *o)
{
	struct err err = {0};

	o->changed = false;
	o->waited_s = 0;
	o->answer = send_out(o, false, &err);
	if (o->answer >= 0 && fd_nonblock(o->answer, true) == 0)
		o->watch = watch_new(o->loop, o->answer, readable, o);
	if (o->watch)
		return;
	if (o->answer >= 0)
		err_set(&err, ERR_NO_MEMORY, "no memory to look after the uplink");
	let_go(o);
	take_failure(o, &err);
}

/* ---- when ---- */

static void
want(struct outside *o, const struct config *config, const struct msg_prefix *prefix)
{
	struct uplink_wanted w = o->wanted;
	struct underlay_wanted u = {.fabric = o->underlay.fabric,
				    .listen = config->listen.vxlan,
				    .overlay = config->overlay};

	w.on = config->dataplane.uplink == CONFIG_UPLINK_AUTO;
	w.always = !config->dataplane.interfaces_auto && config->dataplane.interfaces_count > 0;
	w.v4 = prefix->v4;
	w.v6 = prefix->v6;
	if (memcmp(&w, &o->wanted, sizeof(w)) == 0 && !underlay_differs(&u, &o->underlay))
		return;
	o->wanted = w;
	o->underlay = u;
	o->changed = true;
}

static bool
is_due(const struct outside *o)
{
	if (o->underlay_missing && o->waited_s >= MISSING_S)
		return true;
	switch (o->state) {
	case MSG_UPLINK_OFF:
		return o->changed || (o->underlay.overlay.peers_count && o->waited_s >= STANDING_S);
	case MSG_UPLINK_UP:
		return o->changed || o->waited_s >= STANDING_S;
	default:
		return o->changed || !o->state || o->waited_s >= MISSING_S;
	}
}

/* The configuration's, or one that is nobody's outside of this site. */
static bool
may_be_ours(const struct addr_prefix *p, const struct addr_prefix *configured,
	    const char *const *ranges, size_t count)
{
	struct addr_prefix range;

	if (configured->bits && memcmp(p, configured, sizeof(*p)) == 0)
		return true;
	for (size_t i = 0; i < count; i++)
		if (addr_parse_prefix(ranges[i], &range) && addr_in_prefix(&p->base, &range))
			return true;
	return false;
}

bool
outside_prefix_holds(const struct config *config, const struct msg_prefix *prefix)
{
	static const char *const ranges4[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
					      "100.64.0.0/10"};
	static const char *const ranges6[] = {"fc00::/7"};

	return addr_is_v4(&prefix->v4.base) && prefix->v4.bits == 96 + 24 &&
	       !addr_is_v4(&prefix->v6.base) && prefix->v6.bits == 64 &&
	       may_be_ours(&prefix->v4, &config->overlay.prefix4, ranges4,
			   sizeof(ranges4) / sizeof(ranges4[0])) &&
	       may_be_ours(&prefix->v6, &config->overlay.prefix6, ranges6, 1);
}

void
outside_tick(struct outside *o, const struct config *config, const struct msg_prefix *prefix)
{
	o->waited_s++;
	if (!prefix)
		return;
	if (!outside_prefix_holds(config, prefix)) {
		if (!o->refused)
			log_event(LOG_ERROR,
				  "the prefix of this node's containers is not one that a node may "
				  "have: there is no uplink (name it: overlay.prefix4, prefix6)",
				  LOG_END);
		o->refused = true;
		return;
	}
	o->refused = false;
	want(o, config, prefix);
	if (o->answer < 0 && is_due(o))
		look(o);
}

static void
wait_for_answer(struct outside *o)
{
	struct pollfd wait = {.fd = o->answer, .events = POLLIN};
	bool ended = false;

	while (!ended) {
		if (poll(&wait, 1, CHILD_S * 1000) == 0)
			return;
		while (read_some(o, &ended))
			continue;
	}
}

int
outside_remove(struct outside *o, struct err *err)
{
	if (o->answer >= 0)
		wait_for_answer(o);
	let_go(o);
	o->answer = send_out(o, true, err);
	if (o->answer < 0)
		return -1;
	(void)fd_nonblock(o->answer, true);
	wait_for_answer(o);
	let_go(o);
	if (o->found_bytes == sizeof(o->found) && o->found.uplink.state == MSG_UPLINK_OFF)
		return 0;
	if (o->found_bytes != sizeof(o->found))
		return err_set(err, ERR_INTERNAL, "the process that removes the uplink died");
	*err = o->found.uplink.err;
	return -1;
}
