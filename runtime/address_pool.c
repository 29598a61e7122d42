/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool as two hash tables over the same entries. The search goes round the prefix from where
 * the last one ended, so that an address comes back as late as possible. Host numbers 0, 1, the
 * last one and the node's own are never given. Only the v4 prefix decides how many there are; the
 * v6 address is the v6 prefix with the same host number.
 */
#include "runtime/address_pool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"

enum { HOST_BITS_MAX = 16 };

static uint64_t
key_of(const struct addr *a)
{
	/* Never 0: a v4 address of a container is not 0.0.0.0. */
	return (uint64_t)addr_v4_be(a) | UINT64_C(1) << 32;
}

void
address_pool_init(struct address_pool *p)
{
	*p = (struct address_pool){.next = 2};
	map_init(&p->entries, MEM_RUNTIME);
	map_init(&p->hosts, MEM_RUNTIME);
}

void
address_pool_fini(struct address_pool *p)
{
	struct map_iter it = {0};
	while (map_next(&p->entries, &it))
		mem_free(it.value);
	map_fini(&p->entries);
	map_fini(&p->hosts);
}

void
address_pool_set_prefix(struct address_pool *p, const struct addr_prefix *v4,
			const struct addr_prefix *v6, const struct addr *reserved)
{
	p->v4 = *v4;
	p->v6 = *v6;
	p->reserved = *reserved;
}

static void
forget(struct address_pool *p, struct address_pool_entry *e)
{
	map_remove_u64(&p->entries, e->replica);
	map_remove_u64(&p->hosts, key_of(&e->addr4));
	mem_free(e);
}

static int
remember(struct address_pool *p, const struct address_pool_entry *from,
	 struct address_pool_entry **out)
{
	struct address_pool_entry *e = mem_dup(MEM_RUNTIME, from, sizeof(*from));
	if (e == NULL)
		return -1;
	if (map_put_u64(&p->entries, e->replica, e) < 0) {
		mem_free(e);
		return -1;
	}
	if (map_put_u64(&p->hosts, key_of(&e->addr4), e) < 0) {
		map_remove_u64(&p->entries, e->replica);
		mem_free(e);
		return -1;
	}
	*out = e;
	return 0;
}

/* ---- text ---- */

static bool
parse_line(const char *line, struct address_pool_entry *out)
{
	char v4[ADDR_TEXT_BYTES], v6[ADDR_TEXT_BYTES];
	*out = (struct address_pool_entry){0};
	if (sscanf(line, "%" SCNu64 " %55s %55s %" SCNd64, &out->replica, v4, v6,
		   &out->freed_wall_ns) != 4)
		return false;
	if (strcmp(v6, "-") != 0 && !addr_parse_ip(v6, &out->addr6))
		return false;
	return out->replica != 0 && addr_parse_ip(v4, &out->addr4) && addr_is_v4(&out->addr4) &&
	       !addr_is_zero(&out->addr4);
}

int
address_pool_load(struct address_pool *p, const char *text, struct err *err)
{
	char line[256];
	struct address_pool_entry e, *kept;
	while (*text != '\0') {
		size_t length = strcspn(text, "\n");
		bool whole = text_ncopy(line, sizeof(line), text, length);
		text += length + (text[length] == '\n');
		if (!whole || !parse_line(line, &e))
			continue;
		/* The first one of two that claim the same stays. */
		if (map_get_u64(&p->entries, e.replica) != NULL ||
		    map_get_u64(&p->hosts, key_of(&e.addr4)) != NULL)
			continue;
		if (remember(p, &e, &kept) < 0)
			return err_set(err, ERR_NO_MEMORY, "no memory for the addresses");
	}
	return 0;
}

void
address_pool_save(const struct address_pool *p, struct buf *out)
{
	struct map_iter it = {0};
	while (map_next(&p->entries, &it)) {
		const struct address_pool_entry *e = it.value;
		char v4[ADDR_TEXT_BYTES], v6[ADDR_TEXT_BYTES] = "-";
		addr_put_ip(&e->addr4, v4, sizeof(v4));
		if (!addr_is_zero(&e->addr6))
			addr_put_ip(&e->addr6, v6, sizeof(v6));
		buf_printf(out, "%" PRIu64 " %s %s %" PRId64 "\n", e->replica, v4, v6,
			   e->freed_wall_ns);
	}
}

/* ---- giving ---- */

static void
put_host(struct addr *a, uint32_t host)
{
	for (int i = 0; i < 4; i++)
		a->ip[15 - i] = (uint8_t)(a->ip[15 - i] | (uint8_t)(host >> (8 * i)));
}

static bool
usable(const struct address_pool *p, uint32_t host, uint32_t hosts, struct addr *out)
{
	*out = p->v4.base;
	put_host(out, host);
	return host >= 2 && host < hosts - 1 && !addr_equal_ip(out, &p->reserved);
}

/* For how long, in seconds; a clock that was set back has rested enough. -1: it is in use. */
static int64_t
rested_s(const struct address_pool_entry *e, int64_t now)
{
	if (e->freed_wall_ns == 0)
		return -1;
	return now < e->freed_wall_ns ? INT64_MAX : (now - e->freed_wall_ns) / 1000000000;
}

/* The first one from where the last search ended that is nobody's or has rested; if there is none,
 * the one that has rested longest. */
static bool
choose(const struct address_pool *p, int64_t now, uint32_t hosts, uint32_t *host_out)
{
	int64_t longest = ADDRESS_POOL_REST_LEAST_S;
	bool found = false;
	struct addr a;

	for (uint32_t i = 0; i < hosts; i++) {
		uint32_t host = (p->next + i) % hosts;

		if (!usable(p, host, hosts, &a))
			continue;
		const struct address_pool_entry *e = map_get_u64(&p->hosts, key_of(&a));
		int64_t rested = e != NULL ? rested_s(e, now) : INT64_MAX;
		if (rested > longest) {
			longest = rested;
			*host_out = host;
			found = true;
		}
		if (rested > ADDRESS_POOL_REST_S)
			break;
	}
	return found;
}

static bool
find_free(struct address_pool *p, int64_t now, struct addr *out, uint32_t *host_out)
{
	unsigned bits = 128U - p->v4.bits;
	uint32_t hosts = 1U << (bits > HOST_BITS_MAX ? HOST_BITS_MAX : bits);

	if (!choose(p, now, hosts, host_out))
		return false;
	(void)usable(p, *host_out, hosts, out);
	struct address_pool_entry *e = map_get_u64(&p->hosts, key_of(out));
	if (e != NULL)
		forget(p, e);
	p->next = *host_out + 1;
	return true;
}

int
address_pool_take(struct address_pool *p, uint64_t replica, int64_t now_wall_ns,
		  const struct address_pool_entry **out, bool *fresh_out, struct err *err)
{
	struct address_pool_entry fresh = {.replica = replica}, *e;
	uint32_t host;
	*fresh_out = false;
	e = map_get_u64(&p->entries, replica);
	if (e != NULL && e->freed_wall_ns == 0 &&
	    (p->v4.bits == 0 || addr_in_prefix(&e->addr4, &p->v4))) {
		*out = e;
		return 0;
	}
	if (p->v4.bits == 0)
		return err_set(err, ERR_UNREACHABLE, "the node has no address prefix yet");
	if (e != NULL)
		forget(p, e);
	if (!find_free(p, now_wall_ns, &fresh.addr4, &host)) {
		err_set(err, ERR_LIMIT, "no container address is free on this node");
		return err_fix(err, "run fewer containers here: a node has about 250 addresses");
	}
	if (p->v6.bits != 0) {
		fresh.addr6 = p->v6.base;
		put_host(&fresh.addr6, host);
	}
	if (remember(p, &fresh, &e) < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for an address");
	*out = e;
	*fresh_out = true;
	return 0;
}

bool
address_pool_release(struct address_pool *p, uint64_t replica, int64_t now_wall_ns)
{
	struct address_pool_entry *e = map_get_u64(&p->entries, replica);
	if (e == NULL || e->freed_wall_ns != 0)
		return false;
	e->freed_wall_ns = now_wall_ns;
	return true;
}

const struct address_pool_entry *
address_pool_find(const struct address_pool *p, uint64_t replica)
{
	const struct address_pool_entry *e = map_get_u64(&p->entries, replica);
	return e != NULL && e->freed_wall_ns == 0 ? e : NULL;
}

void
address_pool_each(const struct address_pool *p, void (*visit)(void *arg, uint64_t replica),
		  void *arg)
{
	struct map_iter it = {0};
	while (map_next(&p->entries, &it)) {
		const struct address_pool_entry *e = it.value;
		if (e->freed_wall_ns == 0)
			visit(arg, e->replica);
	}
}
