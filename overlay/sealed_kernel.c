/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking is two jobs: reading, and changing if there is a difference. The pool's thread has the
 * job, the socket and `fresh`; all else is the loop's.
 *
 * A keepalive that is set where there was none is sent at once, and makes a handshake: that is how
 * a peer is spoken to.
 */
#include "overlay/sealed_kernel.h"

#include <sys/socket.h>
#include "base/mem.h"
#include "overlay/sealed_setup.h"
#include "overlay/wg/kernel.h"
#include "overlay/wg/setup_index.h"
#include "ring/msg.h"

static const char device[] = "sealed";

struct sealed_kernel {
	uv_work_t work; /* data: this */
	uv_loop_t *loop;
	struct sealed_kernel_user user;
	struct kernel kernel;
	struct setup is, fresh, change;
	bool changes; /* the job: to change, not to read */
	int rc;       /* of the job, with err */
	struct err err;
	bool busy, again, closing, stands;
};

struct sealed_kernel *
sealed_kernel_new(uv_loop_t *loop, const struct sealed_kernel_user *user, int door, uint16_t family,
		  struct err *err)
{
	struct kernel kernel;

	if (kernel_adopt(&kernel, door, family, err) < 0)
		return NULL;
	struct sealed_kernel *k = mem_zalloc(MEM_OVERLAY, sizeof(*k));
	if (!k) {
		kernel_close(&kernel);
		err_set(err, ERR_NO_MEMORY, "no memory for sealed traffic");
		return NULL;
	}
	k->loop = loop;
	k->user = *user;
	k->kernel = kernel;
	k->work.data = k;
	setup_init(&k->is);
	setup_init(&k->fresh);
	setup_init(&k->change);
	return k;
}

static void
end(struct sealed_kernel *k)
{
	kernel_close(&k->kernel);
	setup_fini(&k->is);
	setup_fini(&k->fresh);
	setup_fini(&k->change);
	mem_free(k);
}

void
sealed_kernel_close(struct sealed_kernel *k)
{
	if (!k)
		return;
	k->closing = true;
	if (k->busy)
		(void)shutdown(k->kernel.generic, SHUT_RDWR); /* nobody waits for an answer */
	else
		end(k);
}

bool
sealed_kernel_stands(const struct sealed_kernel *k)
{
	return k && k->stands;
}

int
sealed_kernel_state(const struct sealed_kernel *k, struct setup *out, struct err *err)
{
	if (setup_copy(&k->is, out) == SETUP_OK)
		return 0;
	return err_set(err, ERR_NO_MEMORY, "no memory for a state of sealed traffic");
}

/* ---- what is to change ---- */

static enum setup_rc
set_keepalive(struct setup *out, const uint8_t key[SETUP_KEY], uint16_t keepalive_s)
{
	struct setup_peer *peer;
	enum setup_rc rc = setup_add_peer(out, key, &peer);

	if (rc != SETUP_OK)
		return rc;
	peer->update_only = peer->has_keepalive = true;
	peer->keepalive_s = keepalive_s;
	return SETUP_OK;
}

static enum setup_rc
speak_to(struct setup *out, const struct setup_peer *peer)
{
	const uint16_t steps[] = {0, SEALED_SETUP_KEEPALIVE_S, peer->keepalive_s};
	enum setup_rc rc = SETUP_OK;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && rc == SETUP_OK; i++)
		rc = set_keepalive(out, peer->public_key, steps[i]);
	return rc;
}

static bool
is_to_be_spoken_to(const struct setup_index *is, const struct setup_peer *peer, bool new_key)
{
	const struct setup_peer *had = setup_index_find(is, peer->public_key);

	if (!had)
		return peer->has_endpoint;
	return new_key && peer->prefixes_count && (had->has_endpoint || peer->has_endpoint);
}

enum setup_rc
sealed_kernel_change(const struct setup *is, const struct setup *want, struct setup *out)
{
	enum setup_rc rc = setup_diff(is, want, out);
	struct setup_index had;

	if (setup_index_init(&had, is) < 0)
		rc = SETUP_NO_MEMORY;
	for (size_t i = 0; i < want->peers_count && rc == SETUP_OK; i++)
		if (is_to_be_spoken_to(&had, &want->peers[i], out->has_private_key))
			rc = speak_to(out, &want->peers[i]);
	setup_index_fini(&had);
	if (rc != SETUP_OK)
		setup_fini(out);
	return rc;
}

static int
find_change(struct sealed_kernel *k, struct err *err)
{
	struct setup want;

	setup_init(&want);
	setup_fini(&k->change);
	int rc = k->user.want(&k->is, &want, err);
	enum setup_rc made = rc == 0 ? sealed_kernel_change(&k->is, &want, &k->change) : SETUP_OK;
	setup_fini(&want);
	if (made == SETUP_OK)
		return rc;
	return err_set(err, made == SETUP_NO_MEMORY ? ERR_NO_MEMORY : ERR_LIMIT,
		       "the change of sealed traffic's peers is too large");
}

/* ---- jobs ---- */

/* In the pool. */
static void
work(uv_work_t *job)
{
	struct sealed_kernel *k = job->data;

	err_clear(&k->err);
	k->rc = k->changes ? kernel_set(&k->kernel, device, &k->change, &k->err)
			   : kernel_get(&k->kernel, device, &k->fresh, &k->err);
}

static void done(uv_work_t *job, int status);

static void
start(struct sealed_kernel *k, bool changes)
{
	k->changes = changes;
	k->busy = uv_queue_work(k->loop, &k->work, work, done) == 0;
}

static void
looked(struct sealed_kernel *k, const struct err *err)
{
	bool again = k->again;

	k->again = false;
	k->stands |= !err;
	if (again)
		start(k, false);
	k->user.looked(&k->is, err);
}

static void
take_fresh(struct sealed_kernel *k)
{
	struct err err = {0};

	setup_fini(&k->is);
	k->is = k->fresh;
	setup_init(&k->fresh);
	if (find_change(k, &err) < 0)
		looked(k, &err);
	else if (setup_says_nothing(&k->change))
		looked(k, NULL);
	else
		start(k, true);
}

static void
done(uv_work_t *job, int status)
{
	struct sealed_kernel *k = job->data;

	(void)status;
	k->busy = false;
	if (k->closing)
		end(k);
	else if (k->rc < 0)
		looked(k, &k->err);
	else if (k->changes)
		looked(k, NULL);
	else
		take_fresh(k);
}

void
sealed_kernel_look(struct sealed_kernel *k)
{
	if (k->busy)
		k->again = true;
	else
		start(k, false);
}
