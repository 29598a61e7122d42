/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which image an attempt runs, and that it is here and stays. A digest that is pinned is exactly
 * that image; otherwise the pull policy says whether the registry is asked. An image in use is held
 * in the store until the plan changes or the container goes.
 */
#include "runtime/container_image.h"

#include "base/text.h"

void
container_image_release(struct container *c)
{
	if (c->held[0] == '\0')
		return;
	image_store_release(c->host->images, c->held);
	c->held[0] = '\0';
	image_ops_publish(c->host->ops);
}

static void
show_progress(struct container *c, const struct pull_progress *progress, bool under_way)
{
	c->row.pulling = under_way;
	c->row.pull_bytes = progress->bytes;
	c->row.pull_total_bytes = progress->total_bytes;
	c->row.pull_layers = progress->layers;
	c->row.pull_layers_here = progress->layers_here;
}

static void
pull_moved(void *arg, uint64_t replica, const struct pull_progress *progress)
{
	struct container *c = container_find(arg, replica);

	if (c == NULL || !c->pulling)
		return;
	show_progress(c, progress, true);
	container_publish(c);
}

static void
pull_done(void *arg, uint64_t replica, const struct err *err, const struct msg_imported *imported,
	  const struct pull_progress *progress)
{
	struct container_host *host = arg;
	struct container *c = container_find(host, replica);

	image_ops_publish(host->ops);
	if (c == NULL || !c->pulling)
		return;
	c->pulling = false;
	show_progress(c, progress, false);
	bool newer = c->plan != NULL && c->plan->pull == PLAN_PULL_NEWER;
	if (err == NULL)
		text_copy(c->pulled, sizeof(c->pulled), imported->digest);
	else if (newer && image_store_digest(host->images, c->plan->image)[0] != '\0')
		/* The registry cannot be asked: what is here will do. */
		text_copy(c->pulled, sizeof(c->pulled),
			  image_store_digest(host->images, c->plan->image));
	else {
		container_fail(c, err);
		return;
	}
	container_step(c);
}

static const struct pull_calls pull_calls = {.done = pull_done, .moved = pull_moved};

void
container_image_stop(struct container *c)
{
	if (!c->pulling)
		return;
	c->pulling = false;
	c->row.pulling = 0;
	image_pull_forget(c->host->pulls, c->host, c->replica);
}

/* Which image is meant: a pinned digest is exactly that one, whatever its name means by now. NULL:
 * the registry has to be asked. */
static const char *
wanted_image(const struct container *c)
{
	const struct plan *p = c->plan;

	if (p->image_digest != NULL)
		return p->image_digest;
	if (c->pulled[0] != '\0')
		return c->pulled;
	return p->pull == PLAN_PULL_ALWAYS || p->pull == PLAN_PULL_NEWER ? NULL : p->image;
}

static int
start_pull(struct container *c, struct err *err)
{
	char name[MSG_IMAGE], digest[MSG_DIGEST];
	const struct pull_progress nothing = {0};

	if (image_ask_name(c->plan->image, name, digest, err) < 0)
		return -1;
	if (c->plan->image_digest != NULL &&
	    !text_copy(digest, sizeof(digest), c->plan->image_digest))
		return err_set(err, ERR_UNSUPPORTED, "only sha256 digests can be checked");
	if (image_pull_want(c->host->pulls, name, digest, &pull_calls, c->host, c->replica, err) <
	    0)
		return -1;
	c->pulling = true;
	show_progress(c, &nothing, true);
	container_publish(c);
	return 0;
}

static void
hold_image(struct container *c)
{
	if (c->held[0] == '\0') {
		text_copy(c->held, sizeof(c->held), c->image->digest);
		image_store_hold(c->host->images, c->held);
		image_ops_publish(c->host->ops);
	}
	text_copy(c->row.image_digest, sizeof(c->row.image_digest), c->image->digest);
	c->row.conditions |= MSG_IMAGE_READY;
}

/* 1: it is there; 0: it is being pulled; -1: it cannot be had. */
int
container_image_find(struct container *c, struct err *err)
{
	if (c->pulling)
		return 0;
	const char *reference = c->image == NULL ? wanted_image(c) : NULL;
	int rc = -1;
	if (c->image != NULL)
		rc = 0;
	else if (reference != NULL)
		rc = image_store_find(c->host->images, reference, &c->arena, &c->image, err);
	if (rc < 0 && reference != NULL && err->kind != ERR_NOT_FOUND)
		return err_where(err, "image %s", c->plan->image);
	if (rc < 0 && c->plan->pull == PLAN_PULL_NEVER) {
		/* In one line: what is told further on has few. */
		text_format(err->what, sizeof(err->what),
			    "the image %s is not on this node, and its pull_policy is never",
			    c->plan->image);
		return err_where(err, "image %s", c->plan->image);
	}
	if (rc < 0) {
		err_clear(err);
		return start_pull(c, err);
	}
	hold_image(c);
	return 1;
}

/* After a restart: what a container that was there runs is not asked for again. */
int
container_image_again(struct container *c, struct err *err)
{
	const char *reference =
		c->plan->image_digest != NULL ? c->plan->image_digest : c->plan->image;
	if (image_store_find(c->host->images, reference, &c->arena, &c->image, err) < 0)
		return -1;
	hold_image(c);
	return 0;
}
