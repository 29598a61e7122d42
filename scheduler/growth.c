/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What would only show when a replica is made, and then in every try anew: a value of the node's
 * environment that is gone, and a node that is full.
 */
#include "scheduler/growth.h"

#include "scheduler/capacity.h"
#include "scheduler/placing.h"
#include "scheduler/plan_make.h"

int
growth_makable(struct model *m, struct service *s, uint32_t revision, struct err *err)
{
	struct revision *r = model_document(m, s->deployment, revision, err);
	uint8_t make[32];

	if (!r)
		return -1;
	const struct store_pin *pin = model_pin(r, s->row.name);
	struct plan_make_input in = {
		.config = m->config,
		.deployment = s->deployment->row.name,
		.service = doc_service_find(r->doc, s->row.name),
		.image_digest = pin ? pin->image_digest : "",
		.service_id = s->row.id,
	};
	return in.service ? plan_make_digest(&in, make, err) : 0;
}

int
growth_makable_all(struct model *m, struct deployment *d, const struct service *only,
		   struct err *err)
{
	struct list *it, *next;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		if ((!only || s == only) && s->row.desired > 0 &&
		    growth_makable(m, s, d->row.revision, err) < 0)
			return -1;
	}
	return 0;
}

uint32_t
growth_possible(struct model *m, struct service *s, uint32_t size, struct err *err)
{
	const struct doc_service *spec = model_service_doc(m, s, s->deployment->row.revision);
	uint32_t now = s->row.desired;

	if (!spec || growth_makable(m, s, s->deployment->row.revision, err) < 0)
		return now;
	/* In a cluster each one finds its own place; none at all is known beforehand. */
	if (m->placing && size > now && !placing_has_room(m->placing, s)) {
		placing_cause(m, s, err);
		return now;
	}
	for (; size > now; size--) {
		struct capacity_want want = {spec, size - now};

		err_clear(err);
		if (capacity_check(m, NULL, s->deployment->row.name, &want, 1, err) == 0)
			break;
	}
	return size;
}
