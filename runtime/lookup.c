/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One name at a time: each try is a socket of its own (another port each time, connected, so that
 * only that server is heard and its absence is told at once), with the questions for both kinds of
 * addresses. A server that does not answer within 2 s, or cannot tell, is followed by the next; a
 * name that does not exist by the next candidate of the search list. All servers are asked twice.
 */
#include "runtime/lookup.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum { WAIT_MS = 2000, LINGER_MS = 300, ROUNDS = 2 };

struct
try {
	uv_udp_t udp;
	struct lookup *lookup; /* NULL: over */
	uint8_t input[2048];
};

struct lookup {
	uv_timer_t timer;
	lookup_fn done;
	void *arg;
	struct dns_stub_conf conf;
	char name[DNS_STUB_NAME_BYTES];
	char asked[DNS_STUB_NAME_BYTES]; /* the candidate under way */
	size_t candidate, turn;
	bool no_name;      /* some server said so */
	bool no_addresses; /* some server knows the name */
	struct try *try;
	uint16_t ids[2];
	bool answered[2];
	struct dns_stub_addrs addrs;
};

static const enum dns_stub_type types[2] = {DNS_STUB_A, DNS_STUB_AAAA};

static void next_try(struct lookup *l);

static void
try_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
end_try(struct lookup *l)
{
	if (!l->try)
		return;
	l->try->lookup = NULL;
	uv_close((uv_handle_t *)&l->try->udp, try_closed);
	l->try = NULL;
}

static void
timer_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

void
lookup_cancel(struct lookup *l)
{
	if (!l)
		return;
	end_try(l);
	uv_close((uv_handle_t *)&l->timer, timer_closed);
}

static void
finish(struct lookup *l)
{
	char why[DNS_STUB_NAME_BYTES + 160], server[ADDR_TEXT_BYTES];
	lookup_fn done = l->done;
	void *arg = l->arg;
	struct dns_stub_addrs addrs = l->addrs;

	addr_put(&l->conf.servers[0], server, sizeof(server));
	if (l->no_addresses)
		text_format(why, sizeof(why), "the name has no address (asked %s%s)", server,
			    l->conf.servers_count > 1 ? " and others" : "");
	else if (l->no_name)
		text_format(why, sizeof(why), "there is no such name (asked %s%s)", server,
			    l->conf.servers_count > 1 ? " and others" : "");
	else
		text_format(why, sizeof(why), "no name server answers (asked %s%s)", server,
			    l->conf.servers_count > 1 ? " and others" : "");
	lookup_cancel(l);
	done(arg, &addrs, addrs.count ? "" : why);
}

static void
next_candidate(struct lookup *l)
{
	l->candidate++;
	l->turn = 0;
	next_try(l);
}

static void
on_time(uv_timer_t *timer)
{
	struct lookup *l = timer->data;

	end_try(l);
	if (l->addrs.count) {
		finish(l);
		return;
	}
	l->turn++;
	next_try(l);
}

static void
take(struct lookup *l, const void *data, size_t bytes)
{
	for (size_t i = 0; i < 2; i++) {
		if (l->answered[i])
			continue;
		switch (dns_stub_answer(data, bytes, l->ids[i], l->asked, types[i], &l->addrs)) {
		case DNS_STUB_FOREIGN:
			continue;
		case DNS_STUB_OK:
			l->no_addresses |= l->addrs.count == 0;
			break;
		case DNS_STUB_NO_NAME:
			l->no_name = true;
			break;
		case DNS_STUB_FAILED:
			on_time(&l->timer);
			return;
		}
		l->answered[i] = true;
		break;
	}
	if (l->answered[0] && l->answered[1]) {
		end_try(l);
		if (l->addrs.count)
			finish(l);
		else
			next_candidate(l);
	} else if (l->addrs.count) {
		/* One kind of address is enough: the other one is not waited for long. */
		uv_timer_start(&l->timer, on_time, LINGER_MS, 0);
	}
}

static void
give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct try *t = handle->data;

	(void)suggested;
	*out = uv_buf_init((char *)t->input, sizeof(t->input));
}

static void
on_datagram(uv_udp_t *udp, ssize_t bytes, const uv_buf_t *buf, const struct sockaddr *from,
	    unsigned flags)
{
	struct try *t = udp->data;

	(void)flags;
	if (!t->lookup)
		return;
	if (bytes < 0)
		on_time(&t->lookup->timer);
	else if (bytes > 0 && from)
		take(t->lookup, buf->base, (size_t)bytes);
}

static bool
send_questions(struct lookup *l, struct try *t, const struct addr *server)
{
	struct sockaddr_storage sa;
	struct world w;
	uint8_t query[DNS_STUB_QUERY_BYTES];

	addr_to_sockaddr(server, &sa);
	if (uv_udp_connect(&t->udp, (const struct sockaddr *)&sa) < 0 ||
	    uv_udp_recv_start(&t->udp, give_buffer, on_datagram) < 0)
		return false;
	world_real(&w);
	for (size_t i = 0; i < 2; i++) {
		l->ids[i] = (uint16_t)world_random_u64(&w);
		l->answered[i] = false;
		size_t n = dns_stub_query(l->ids[i], l->asked, types[i], query);
		uv_buf_t b = uv_buf_init((char *)query, (unsigned)n);

		if (n == 0 || uv_udp_try_send(&t->udp, &b, 1, NULL) < 0)
			return false;
	}
	return true;
}

static void
next_try(struct lookup *l)
{
	size_t turns = l->conf.servers_count * ROUNDS;

	if (l->turn >= turns ||
	    !dns_stub_candidate(&l->conf, l->name, l->candidate, l->asked, sizeof(l->asked))) {
		finish(l);
		return;
	}
	struct try *t = mem_zalloc(MEM_RUNTIME, sizeof(*t));
	/* What cannot be tried now counts as a server that does not answer, a little later. */
	uint64_t wait = 1;
	if (t && uv_udp_init(l->timer.loop, &t->udp) == 0) {
		t->udp.data = t;
		t->lookup = l;
		l->try = t;
		if (send_questions(l, t, &l->conf.servers[l->turn % l->conf.servers_count]))
			wait = WAIT_MS;
	} else {
		mem_free(t);
	}
	uv_timer_start(&l->timer, on_time, wait, 0);
}

static void
begin(uv_timer_t *timer)
{
	struct lookup *l = timer->data;

	if (l->addrs.count)
		finish(l);
	else
		next_try(l);
}

struct lookup *
lookup_start(uv_loop_t *loop, const char *name, const char *resolv, size_t resolv_bytes,
	     const char *hosts, size_t hosts_bytes, lookup_fn done, void *arg)
{
	struct lookup *l = mem_zalloc(MEM_RUNTIME, sizeof(*l));
	struct addr a = {0};

	if (!l)
		return NULL;
	l->done = done;
	l->arg = arg;
	text_copy(l->name, sizeof(l->name), name);
	dns_stub_conf(resolv, resolv_bytes, &l->conf);
	dns_stub_hosts(hosts, hosts_bytes, name, &l->addrs);
	if (!l->addrs.count && !strcmp(name, "localhost")) {
		addr_parse_ip("127.0.0.1", &a);
		l->addrs.items[l->addrs.count++] = a;
	}
	uv_timer_init(loop, &l->timer);
	l->timer.data = l;
	uv_timer_start(&l->timer, begin, 0, 0);
	return l;
}
