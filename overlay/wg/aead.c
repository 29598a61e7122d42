/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table, and which row it is. A row of our own is only taken where it gives what OpenSSL gives,
 * on this CPU and as this compiler made it: aead_check() looks at each length up to more than a
 * packet has, in batches of unlike lengths, and at a forged packet in each batch.
 */
#include "overlay/wg/aead.h"

#include <assert.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

static const struct aead_way *const ways[] = {
#if defined(__x86_64__)
	&aead_avx512,
	&aead_avx2,
#endif
	&aead_evp,
};

enum {
	WAYS = sizeof(ways) / sizeof(ways[0]),
	CHECK_LENGTH_MAX = 2200,
	CHECK_JOBS = 31, /* groups that are full, and one that is not */
	CHECK_ROOM = CHECK_JOBS *
		     ((CHECK_LENGTH_MAX + 1) / 2 + CHECK_LENGTH_MAX / CHECK_JOBS + AEAD_TAG),
};

const struct aead_way *
aead_way(size_t i)
{
	return i < WAYS ? ways[i] : NULL;
}

int
aead_init(struct aead *a, const struct aead_way *way, struct err *err)
{
	*a = (struct aead){.way = way};
	if (!way->init || way->init(a))
		return 0;
	aead_fini(a);
	return err_set(err, ERR_NO_MEMORY, "the cryptographic library has no ChaCha20-Poly1305");
}

void
aead_fini(struct aead *a)
{
	if (a->way && a->way->fini)
		a->way->fini(a);
	*a = (struct aead){0};
}

static void
check_lengths(const struct aead_job *jobs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert(jobs[i].length <= AEAD_LENGTH_MAX);
}

void
aead_seal_batch(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	check_lengths(jobs, count);
	a->way->seal_batch(a, key, jobs, count);
}

void
aead_open_batch(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	check_lengths(jobs, count);
	a->way->open_batch(a, key, jobs, count);
}

/* ---- the self-test ---- */

struct check {
	struct aead way, evp;
	struct aead_job jobs[CHECK_JOBS], reference[CHECK_JOBS];
	uint8_t key[AEAD_KEY];
	uint8_t text[CHECK_ROOM];
	uint8_t a[CHECK_ROOM], b[CHECK_ROOM];
};

/* A batch's lengths lie far from each other: 2,201 is 31 * 71. Their sum is the room, at most. */
static void
prepare(struct check *c, unsigned batch)
{
	size_t at = 0;

	for (unsigned i = 0; i < CHECK_JOBS; i++) {
		uint32_t length = i * ((CHECK_LENGTH_MAX + 1) / CHECK_JOBS) + batch;

		c->jobs[i] = (struct aead_job){.data = c->a + at,
					       .length = length,
					       .counter = ((uint64_t)batch << 32) - i};
		c->reference[i] = c->jobs[i];
		c->reference[i].data = c->b + at;
		at += length + AEAD_TAG;
	}
	assert(at <= CHECK_ROOM);
	memcpy(c->a, c->text, sizeof(c->text));
	memcpy(c->b, c->text, sizeof(c->text));
	c->key[batch % AEAD_KEY]++;
}

static bool
same(const struct check *c)
{
	bool ok = true;

	for (size_t i = 0; i < CHECK_JOBS; i++)
		ok = ok && c->jobs[i].ok == c->reference[i].ok;
	return ok && memcmp(c->a, c->b, sizeof(c->a)) == 0;
}

/* What opening has to give: the text before a tag that stays, and nothing where it was forged. */
static void
expect_opened(struct check *c, size_t forged)
{
	for (size_t i = 0; i < CHECK_JOBS; i++) {
		struct aead_job *j = &c->reference[i];

		j->ok = i != forged;
		if (j->ok)
			memcpy(j->data, c->text + (j->data - c->b), j->length);
		else
			memset(j->data, 0, j->length + AEAD_TAG);
	}
}

static bool
check_batch(struct check *c, unsigned batch)
{
	size_t forged = batch % CHECK_JOBS;

	prepare(c, batch);
	aead_seal_batch(&c->way, c->key, c->jobs, CHECK_JOBS);
	aead_seal_batch(&c->evp, c->key, c->reference, CHECK_JOBS);
	if (!same(c))
		return false;
	c->jobs[forged].data[batch % (c->jobs[forged].length + AEAD_TAG)] ^= 1;
	aead_open_batch(&c->way, c->key, c->jobs, CHECK_JOBS);
	expect_opened(c, forged);
	return same(c);
}

static int
check_all(struct check *c, struct err *err)
{
	_Static_assert((CHECK_LENGTH_MAX + 1) % CHECK_JOBS == 0, "all lengths, each once");
	for (size_t i = 0; i < sizeof(c->text); i++)
		c->text[i] = (uint8_t)(i * 31 + (i >> 8));
	for (unsigned i = 0; i < AEAD_KEY; i++)
		c->key[i] = (uint8_t)(0xf0 - i);
	for (unsigned batch = 0; batch < (CHECK_LENGTH_MAX + 1) / CHECK_JOBS; batch++)
		if (!check_batch(c, batch))
			return err_set(err, ERR_INTERNAL,
				       "%s does not give what the cryptographic library gives",
				       c->way.way->name);
	return 0;
}

/* There is nothing to compare the reference with. */
static int
check_reference(struct err *err)
{
	struct aead a;
	int rc = aead_init(&a, &aead_evp, err);

	aead_fini(&a);
	return rc;
}

int
aead_check(const struct aead_way *way, struct err *err)
{
	struct check *c;
	int rc = -1;

	if (way == &aead_evp)
		return check_reference(err);
	if (!way->runs_here())
		return err_set(err, ERR_UNSUPPORTED, "this CPU cannot run %s", way->name);
	c = mem_zalloc(MEM_OVERLAY, sizeof(*c));
	if (!c)
		return err_set(err, ERR_NO_MEMORY, "no memory to check %s", way->name);
	if (aead_init(&c->way, way, err) == 0 && aead_init(&c->evp, &aead_evp, err) == 0)
		rc = check_all(c, err);
	aead_fini(&c->way);
	aead_fini(&c->evp);
	mem_free(c);
	return rc;
}

/* ---- the choice ---- */

const struct aead_way *
aead_choose_of(const struct aead_way *const *rows, size_t count, const char *name, struct err *err)
{
	err_set(err, ERR_NOT_FOUND, "there is no AEAD of the name %s", name ? name : "");
	for (size_t i = 0; i < count; i++) {
		if (name && !text_equal(rows[i]->name, name))
			continue;
		if (aead_check(rows[i], err) == 0) {
			log_event(LOG_INFO, "AEAD chosen", log_s("aead", rows[i]->name), LOG_END);
			err_clear(err);
			return rows[i];
		}
		err_where(err, "AEAD %s", rows[i]->name);
		log_err(err->kind == ERR_UNSUPPORTED ? LOG_DEBUG : LOG_WARN, "AEAD left out", err);
	}
	return NULL;
}

const struct aead_way *
aead_choose(const char *name, struct err *err)
{
	return aead_choose_of(ways, WAYS, name, err);
}
