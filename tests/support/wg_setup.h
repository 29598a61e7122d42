/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_WG_SETUP_H
#define TESTS_SUPPORT_WG_SETUP_H

/*
 * A WireGuard device that is nothing but its setup: what a change makes of a state, said as plainly
 * as it can be, for comparing what the product says with it. And ways to write a setup down.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "overlay/wg/setup.h"

static inline void
wg_setup_must(enum setup_rc rc)
{
	if (rc != SETUP_OK) {
		fprintf(stderr, "a setup could not be made: %d\n", rc);
		abort();
	}
}

/* One of each number and kind. */
static inline void
wg_setup_key(uint8_t key[SETUP_KEY], uint32_t number, uint8_t kind)
{
	memset(key, 0, SETUP_KEY);
	key[0] = kind;
	memcpy(key + 1, &number, sizeof(number));
}

static inline struct setup_peer *
wg_setup_peer(struct setup *s, const uint8_t key[SETUP_KEY])
{
	struct setup_peer *p;

	wg_setup_must(setup_add_peer(s, key, &p));
	return p;
}

static inline void
wg_setup_prefix(struct setup *s, struct setup_peer *p, const char *text)
{
	struct addr_prefix at;

	if (!addr_parse_prefix(text, &at))
		abort();
	wg_setup_must(setup_add_prefix(s, p, &at, false));
}

static inline bool
wg_setup_same_prefix(const struct setup_prefix *a, const struct setup_prefix *b)
{
	return a->at.bits == b->at.bits && memcmp(a->at.base.ip, b->at.base.ip, 16) == 0;
}

static inline void
wg_setup_drop_prefix(struct setup *s, struct setup_peer *p, const struct setup_prefix *x)
{
	for (size_t i = 0; i < p->prefixes_count; i++)
		if (wg_setup_same_prefix(&p->prefixes[i], x)) {
			p->prefixes[i--] = p->prefixes[--p->prefixes_count];
			s->prefixes_count--;
		}
}

static inline void
wg_setup_drop_peer(struct setup *s, struct setup_peer *p)
{
	s->prefixes_count -= p->prefixes_count;
	mem_free(p->prefixes);
	memmove(p, p + 1, (size_t)(s->peers + s->peers_count - (p + 1)) * sizeof(*p));
	s->peers_count--;
	memset(&s->peers[s->peers_count], 0, sizeof(*p));
}

static inline void
wg_setup_apply_peer(struct setup *s, const struct setup_peer *c)
{
	struct setup_peer *p = setup_find(s, c->public_key);

	if (c->remove) {
		if (p)
			wg_setup_drop_peer(s, p);
		return;
	}
	if (!p && c->update_only)
		return;
	if (!p)
		p = wg_setup_peer(s, c->public_key);
	p->has_psk = p->has_keepalive = true;
	if (c->has_psk)
		memcpy(p->psk, c->psk, SETUP_KEY);
	if (c->has_endpoint) {
		p->has_endpoint = true;
		p->endpoint = c->endpoint;
	}
	if (c->has_keepalive)
		p->keepalive_s = c->keepalive_s;
	if (c->replace_prefixes) {
		s->prefixes_count -= p->prefixes_count;
		p->prefixes_count = 0;
	}
	for (size_t i = 0; i < c->prefixes_count; i++) {
		const struct setup_prefix *x = &c->prefixes[i];

		if (x->remove) {
			wg_setup_drop_prefix(s, p, x);
			continue;
		}
		for (size_t n = 0; n < s->peers_count; n++)
			wg_setup_drop_prefix(s, &s->peers[n], x);
		wg_setup_must(setup_add_prefix(s, p, &x->at, false));
	}
}

static inline void
wg_setup_apply(struct setup *s, const struct setup *c)
{
	s->has_private_key = s->has_port = s->has_fwmark = true;
	if (c->has_private_key)
		memcpy(s->private_key, c->private_key, SETUP_KEY);
	if (c->has_port)
		s->port = c->port;
	if (c->has_fwmark)
		s->fwmark = c->fwmark;
	while (c->replace_peers && s->peers_count > 0)
		wg_setup_drop_peer(s, &s->peers[0]);
	for (size_t i = 0; i < c->peers_count; i++)
		wg_setup_apply_peer(s, &c->peers[i]);
}

#endif
