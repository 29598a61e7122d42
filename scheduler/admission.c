/* SPDX-License-Identifier: Apache-2.0 */
/* The judge of admissions. Reasons are written for whoever holds the ticket: they say what to do,
 * and nothing of the cluster's inside beyond what the ticket's holder knows anyway. */

#include "scheduler/admission.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>
#include "base/text.h"

bool
admission_name_fits(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	size_t length = strlen(name);

	return length > 0 && length < IDENTITY_NAME_BYTES && strspn(name, letters) == length &&
	       name[0] != '-' && name[length - 1] != '-';
}

/* ---- rows ---- */

static const struct admission_node *
node_by_key(const struct admission_state *s, const uint8_t key[IDENTITY_KEY])
{
	for (size_t i = 0; i < s->nodes_count; i++)
		if (memcmp(s->nodes[i].sign_public, key, IDENTITY_KEY) == 0)
			return &s->nodes[i];
	return NULL;
}

static const struct admission_node *
node_by_name(const struct admission_state *s, const char *name)
{
	for (size_t i = 0; i < s->nodes_count; i++)
		if (!s->nodes[i].removed && strcmp(s->nodes[i].name, name) == 0)
			return &s->nodes[i];
	return NULL;
}

/* 0: there is none left. */
static uint32_t
next_id(const struct admission_state *s)
{
	uint32_t most = 0;

	for (size_t i = 0; i < s->nodes_count; i++)
		if (s->nodes[i].id > most)
			most = s->nodes[i].id;
	return most < ADMISSION_ID_MAX ? most + 1 : 0;
}

/* ---- tickets ---- */

static int
refuse_ticket(struct err *err, const char *why)
{
	err_set(err, ERR_DENIED, "the ticket is refused");
	err_why(err, "%s", why);
	return err_fix(err, "make a new one on a node of the cluster: zlayer invite");
}

static const struct admission_ticket *
find_ticket(const struct admission_state *s, const struct admission_question *q, size_t *at)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256(q->secret, sizeof(q->secret), digest);
	for (size_t i = 0; i < s->tickets_count; i++)
		if (s->tickets[i].id == q->ticket &&
		    CRYPTO_memcmp(s->tickets[i].secret_sha256, digest, sizeof(digest)) == 0) {
			*at = i;
			return &s->tickets[i];
		}
	return NULL;
}

static int
judge_ticket(const struct admission_state *s, const struct admission_question *q, int64_t wall_s,
	     struct admission_verdict *out, struct err *err)
{
	const struct admission_ticket *t = find_ticket(s, q, &out->ticket);

	if (s->mode == ADMISSION_CLOSED) {
		err_set(err, ERR_DENIED, "the cluster takes no nodes in");
		return err_fix(err, "on a node of it: zlayer cluster admission token");
	}
	if (!t)
		return refuse_ticket(err, "the cluster does not know it: it was withdrawn, or has "
					  "ended long ago");
	if (s->mode == ADMISSION_OPEN)
		return 0;
	if (wall_s >= t->expires_s)
		return refuse_ticket(err, "its time is over");
	if (t->uses_left == 0)
		return refuse_ticket(err, "it was used as often as it may be");
	out->take_use = true;
	return 0;
}

/* ---- verdicts ---- */

static int
refuse_name(struct err *err, const char *name, const char *why)
{
	err_set(err, ERR_CONFLICT, "no node can be called \"%s\"", name);
	err_why(err, "%s", why);
	return err_fix(err, "zlayer join --name NAME, or set another `node.name` in node.yaml");
}

static void
fill_node(struct admission_node *n, const struct admission_question *q, const struct addr *from)
{
	n->address = q->address.port != 0 ? q->address : *from;
	if (addr_is_zero(&n->address)) { /* "every address": the one that it came from */
		n->address = *from;
		n->address.port = q->address.port;
	}
}

static int
check_room(const struct admission_state *s, struct err *err)
{
	size_t members = 0;

	for (size_t i = 0; i < s->nodes_count; i++)
		members += !s->nodes[i].removed;
	if (members >= ADMISSION_MEMBERS_MAX) {
		err_set(err, ERR_LIMIT, "the cluster is full");
		err_why(err, "it has %zu nodes, the most that there may be at a time", members);
		return err_fix(err, "remove those that do not come back: zlayer node rm NAME");
	}
	if (s->nodes_count < ADMISSION_NODES_MAX)
		return 0;
	err_set(err, ERR_LIMIT, "the cluster is full");
	return err_why(err, "it has had %d nodes, the most that there may be", ADMISSION_NODES_MAX);
}

static int
judge_join(const struct admission_state *s, const struct admission_question *q,
	   const struct identity *peer, const struct addr *from, int64_t wall_s,
	   struct admission_verdict *out, struct err *err)
{
	const struct admission_node *known = node_by_key(s, peer->sign_public);

	if (!admission_name_fits(q->name))
		return refuse_name(err, q->name,
				   "a name is 1 to 63 of a-z, 0-9 and hyphens within");
	if (known && known->removed) {
		err_set(err, ERR_DENIED, "this node was removed from the cluster");
		return err_fix(err, "let it leave there first: it joins with a new key then");
	}
	/* Even the answer to a repeated question needs the ticket: the key alone is public. */
	if (judge_ticket(s, q, wall_s, out, err) < 0 &&
	    !(known && s->mode == ADMISSION_TOKEN && find_ticket(s, q, &out->ticket)))
		return -1;
	if (known) {
		err_clear(err);
		out->take_use = false;
		out->node = *known;
		return 0;
	}
	if (node_by_name(s, q->name))
		return refuse_name(err, q->name, "another node of the cluster has that name");
	if (check_room(s, err) < 0)
		return -1;
	out->node.id = next_id(s);
	if (out->node.id == 0)
		return err_set(err, ERR_LIMIT, "the cluster has no number left for a node");
	out->add = true;
	text_copy(out->node.name, sizeof(out->node.name), q->name);
	memcpy(out->node.sign_public, peer->sign_public, IDENTITY_KEY);
	memcpy(out->node.gossip_public, q->gossip_public, IDENTITY_KEY);
	fill_node(&out->node, q, from);
	return 0;
}

static int
judge_renewal(const struct admission_state *s, const struct admission_question *q,
	      const struct identity *peer, const struct addr *from, struct admission_verdict *out,
	      struct err *err)
{
	const struct admission_node *known = node_by_key(s, peer->sign_public);

	if (!known || known->removed || known->id != peer->node) {
		err_set(err, ERR_DENIED, "this node is no member of the cluster any more");
		return err_fix(err, "let it leave, and join with a new ticket");
	}
	out->node = *known;
	fill_node(&out->node, q, from);
	return 0;
}

static int
judge_key(const struct admission_state *s, const struct admission_verdict *v, struct err *err)
{
	size_t keepers = 0;

	for (size_t i = 0; i < s->nodes_count; i++)
		keepers += s->nodes[i].keeper && !s->nodes[i].removed;
	if (!v->node.keeper)
		return err_set(err, ERR_DENIED, "this node is not to have the authority's key");
	if (keepers <= ADMISSION_KEEPERS_MAX)
		return 0;
	err_set(err, ERR_DENIED, "nobody is given the authority's key now");
	return err_why(err, "%zu nodes are to have it, more than the %d that there may be", keepers,
		       ADMISSION_KEEPERS_MAX);
}

int
admission_judge(const struct admission_state *s, const struct admission_question *q,
		const struct identity *peer, const struct addr *from, int64_t wall_s,
		struct admission_verdict *out, struct err *err)
{
	int rc;

	memset(out, 0, sizeof(*out));
	if (q->what == ADMISSION_JOIN)
		rc = judge_join(s, q, peer, from, wall_s, out, err);
	else
		rc = judge_renewal(s, q, peer, from, out, err);
	if (rc == 0 && q->what == ADMISSION_KEY)
		rc = judge_key(s, out, err);
	if (rc == 0)
		return 0;
	memset(out, 0, sizeof(*out));
	return -1;
}

/* ---- messages ---- */

enum { RESULT_ADMITTED = 0, RESULT_REFUSED = 1, LENGTH_BYTES = 4 };

static void
put_address(const struct addr *a, struct buf *out)
{
	buf_put(out, a->ip, sizeof(a->ip));
	buf_u16(out, a->port);
}

static void
take_address(struct cursor *c, struct addr *out)
{
	const void *ip = cursor_take(c, sizeof(out->ip));

	memset(out, 0, sizeof(*out));
	if (ip)
		memcpy(out->ip, ip, sizeof(out->ip));
	out->port = cursor_u16(c);
}

static void
take_key(struct cursor *c, uint8_t key[IDENTITY_KEY])
{
	const void *at = cursor_take(c, IDENTITY_KEY);

	if (at)
		memcpy(key, at, IDENTITY_KEY);
}

/* False when it does not fit, or is no text that can be printed. */
static bool
take_text(struct cursor *c, char *out, size_t cap)
{
	size_t bytes;
	const char *at = cursor_blob(c, cap - 1, &bytes);

	out[0] = '\0';
	if (!at || !text_is_printable((const char *)at, bytes))
		return false;
	memcpy(out, at, bytes);
	out[bytes] = '\0';
	return true;
}

/* Where the length of a message goes. */
static size_t
begin(struct buf *out)
{
	size_t at = out->length;

	buf_u32(out, 0);
	buf_u8(out, ADMISSION_VERSION);
	return at;
}

static void
finish(struct buf *out, size_t at)
{
	if (!buf_ok(out))
		return;
	uint32_t bytes = (uint32_t)(out->length - at - LENGTH_BYTES);
	for (unsigned i = 0; i < LENGTH_BYTES; i++)
		out->data[at + i] = (uint8_t)(bytes >> (8 * i));
}

void
admission_put_question(const struct admission_question *q, struct buf *out)
{
	size_t at = begin(out);

	buf_u8(out, (uint8_t)q->what);
	if (q->what == ADMISSION_JOIN) {
		buf_u64(out, q->ticket);
		buf_put(out, q->secret, sizeof(q->secret));
		buf_put(out, q->gossip_public, sizeof(q->gossip_public));
		buf_text(out, q->name);
	}
	put_address(&q->address, out);
	finish(out, at);
}

static int
malformed(struct err *err, const char *what)
{
	return err_set(err, ERR_INVALID, "%s of the other node is malformed", what);
}

static int
check_version(struct cursor *c, struct err *err)
{
	uint8_t version = cursor_u8(c);

	if (version == ADMISSION_VERSION)
		return 0;
	err_set(err, ERR_UNSUPPORTED, "the other node speaks version %u of admission", version);
	err_why(err, "this one speaks version %d", ADMISSION_VERSION);
	return err_fix(err, "bring both to the same version of zlayer");
}

int
admission_take_question(const void *data, size_t bytes, struct admission_question *out,
			struct err *err)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	cursor_init(&c, data, bytes);
	if (check_version(&c, err) < 0)
		return -1;
	uint8_t what = cursor_u8(&c);
	if (what == ADMISSION_JOIN) {
		out->ticket = cursor_u64(&c);
		const void *secret = cursor_take(&c, TICKET_SECRET);
		if (secret)
			memcpy(out->secret, secret, TICKET_SECRET);
		take_key(&c, out->gossip_public);
		if (!take_text(&c, out->name, sizeof(out->name)))
			return malformed(err, "the question");
	} else if (what < ADMISSION_RENEW || what > ADMISSION_KEY) {
		return malformed(err, "the question");
	}
	out->what = (enum admission_what)what;
	take_address(&c, &out->address);
	return cursor_done(&c) ? 0 : malformed(err, "the question");
}

void
admission_put_refusal(const struct err *why, struct buf *out)
{
	size_t at = begin(out);

	buf_u8(out, RESULT_REFUSED);
	buf_text(out, why->what);
	buf_text(out, why->whys > 0 ? why->why[0] : "");
	buf_text(out, why->fix);
	finish(out, at);
}

void
admission_put_answer(uint32_t node, const void *chain, size_t chain_bytes, const void *authority,
		     size_t authority_bytes, const struct admission_node *nodes, size_t count,
		     struct buf *out)
{
	uint32_t listed = 0;
	size_t at = begin(out);

	buf_u8(out, RESULT_ADMITTED);
	buf_u32(out, node);
	buf_blob(out, chain, chain_bytes);
	buf_blob(out, authority, authority_bytes);
	for (size_t i = 0; i < count; i++)
		listed += !nodes[i].removed;
	buf_u32(out, listed);
	for (size_t i = 0; i < count; i++) {
		if (nodes[i].removed)
			continue;
		buf_u32(out, nodes[i].id);
		buf_put(out, nodes[i].gossip_public, IDENTITY_KEY);
		buf_put(out, nodes[i].sign_public, IDENTITY_KEY);
		buf_text(out, nodes[i].name);
		put_address(&nodes[i].address, out);
	}
	finish(out, at);
}

static int
take_refusal(struct cursor *c, struct admission_answer *out, struct err *err)
{
	char what[ERR_TEXT_BYTES], why[ERR_TEXT_BYTES], fix[ERR_TEXT_BYTES];

	if (!take_text(c, what, sizeof(what)) || !take_text(c, why, sizeof(why)) ||
	    !take_text(c, fix, sizeof(fix)) || !cursor_done(c))
		return malformed(err, "the answer");
	err_set(&out->refused, ERR_DENIED, "%s", what);
	if (why[0])
		err_why(&out->refused, "%s", why);
	if (fix[0])
		err_fix(&out->refused, "%s", fix);
	return 0;
}

static bool
take_node(struct cursor *c, struct admission_node *out)
{
	out->id = cursor_u32(c);
	take_key(c, out->gossip_public);
	take_key(c, out->sign_public);
	bool ok = take_text(c, out->name, sizeof(out->name)) && admission_name_fits(out->name);
	take_address(c, &out->address);
	return ok && cursor_ok(c) && out->id != 0;
}

static int
take_nodes(struct cursor *c, struct admission_answer *out, struct err *err)
{
	enum { NODE_BYTES_MIN = 4 + 2 * IDENTITY_KEY + 4 + 1 + 18 };
	uint32_t count = cursor_u32(c);

	if (count > ADMISSION_NODES_MAX || count > cursor_left(c) / NODE_BYTES_MIN)
		return malformed(err, "the answer");
	if (count == 0)
		return 0;
	out->nodes = mem_array(MEM_SCHEDULER, count, sizeof(*out->nodes));
	if (!out->nodes)
		return err_set(err, ERR_NO_MEMORY, "cannot take the list of nodes in");
	for (; out->nodes_count < count; out->nodes_count++)
		if (!take_node(c, &out->nodes[out->nodes_count]))
			return malformed(err, "the answer");
	return 0;
}

int
admission_take_answer(const void *data, size_t bytes, struct admission_answer *out, struct err *err)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	cursor_init(&c, data, bytes);
	if (check_version(&c, err) < 0)
		return -1;
	uint8_t result = cursor_u8(&c);
	if (result == RESULT_REFUSED)
		return take_refusal(&c, out, err);
	out->admitted = result == RESULT_ADMITTED;
	out->node = cursor_u32(&c);
	out->chain = cursor_blob(&c, 2 * (IDENTITY_CERTIFICATE_MAX + 4), &out->chain_bytes);
	out->authority = cursor_blob(&c, IDENTITY_CERTIFICATE_MAX, &out->authority_bytes);
	if (!out->admitted || out->node == 0 || !out->chain || !out->authority)
		return malformed(err, "the answer");
	if (take_nodes(&c, out, err) < 0 || !cursor_done(&c)) {
		admission_answer_fini(out);
		return err->kind == ERR_NO_MEMORY ? -1 : malformed(err, "the answer");
	}
	return 0;
}

void
admission_answer_fini(struct admission_answer *a)
{
	mem_free(a->nodes);
	a->nodes = NULL;
	a->nodes_count = 0;
}
