/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All images are asked for at once, so that a registry that does not answer costs its time once.
 * Services of one image and policy share a question; more questions than QUESTIONS_MAX are not
 * asked (those images are found when they are pulled).
 */
#include "api/pins.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "api/server.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"

enum { QUESTIONS_MAX = 32, RESOLVE_MS = 25000, APPLY_MS = 30000 };

struct question {
	struct pins *pins;
	struct msg_pull op;
	char digest[MSG_DIGEST]; /* "" not known */
};

struct pins {
	struct call *call;
	struct msg_apply op;
	call_answer_fn applied;
	int document;
	size_t waiting;
	struct question questions[QUESTIONS_MAX];
	size_t questions_count;
	struct {
		char service[MSG_NAME];
		uint8_t question;
	} * services;
	size_t services_count;
};

static void
pins_free(struct pins *p)
{
	fd_close(&p->document);
	mem_free(p->services);
	call_unref(p->call);
	mem_free(p);
}

/* ---- the answers ---- */

static int
seal_pins(const struct pins *p)
{
	struct buf b;

	buf_init(&b, MEM_API, 1 << 20);
	for (size_t i = 0; i < p->services_count; i++) {
		struct msg_apply_pin pin = {0};

		text_copy(pin.service, sizeof(pin.service), p->services[i].service);
		text_copy(pin.digest, sizeof(pin.digest),
			  p->questions[p->services[i].question].digest);
		if (pin.digest[0])
			buf_put(&b, &pin, sizeof(pin));
	}
	int fd = buf_ok(&b) ? fd_memfd_sealed("pins", b.data, b.length) : -1;
	buf_fini(&b);
	return fd;
}

static void
ask_scheduler(struct pins *p)
{
	struct err err = {0};
	defer_close int pins = seal_pins(p);
	int fds[] = {p->document, pins};

	if (p->call->conn && pins < 0) {
		err_set(&err, ERR_NO_MEMORY, "no memory for this document");
		call_problem(p->call, &err);
	} else if (p->call->conn) {
		call_ask(p->call, ROLE_SCHEDULER, MSG_OP_APPLY, &p->op, sizeof(p->op), fds, 2,
			 APPLY_MS, p->applied);
	}
	pins_free(p);
}

static void
resolved(void *arg, int status, const struct err *err, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	struct question *q = arg;
	struct pins *p = q->pins;
	const struct msg_resolved *answer = body;

	(void)err, (void)fds, (void)count;
	if (status == 0 && bytes == sizeof(*answer) && MSG_OK(answer->digest))
		text_copy(q->digest, sizeof(q->digest), answer->digest);
	if (--p->waiting == 0)
		ask_scheduler(p);
}

/* ---- the questions ---- */

static uint32_t
policy_of(const struct doc_service *s)
{
	switch (s->image.pull_policy) {
	case DOC_PULL_ALWAYS:
		return MSG_PULL_ALWAYS;
	case DOC_PULL_NEWER:
		return MSG_PULL_NEWER;
	case DOC_PULL_NEVER:
		return MSG_PULL_NEVER;
	case DOC_PULL_IF_NOT_PRESENT:
		break;
	}
	return MSG_PULL_IF_NOT_PRESENT;
}

static void
add_service(struct pins *p, const struct doc_service *s)
{
	struct msg_pull op = {.policy = policy_of(s)};
	char name[IMAGE_REF_TEXT_BYTES];
	size_t i = 0;

	image_ref_put(&s->image.ref, name, sizeof(name));
	if (s->image.ref.digest[0] || !text_copy(op.name, sizeof(op.name), name))
		return;
	while (i < p->questions_count && memcmp(&p->questions[i].op, &op, sizeof(op)) != 0)
		i++;
	if (i == QUESTIONS_MAX)
		return;
	if (i == p->questions_count) {
		p->questions[i].pins = p;
		p->questions[i].op = op;
		p->questions_count++;
	}
	text_copy(p->services[p->services_count].service, MSG_NAME, s->name);
	p->services[p->services_count++].question = (uint8_t)i;
}

static struct pins *
pins_new(struct call *call, const struct doc *doc, int document)
{
	struct pins *p = mem_zalloc(MEM_API, sizeof(*p));

	if (!p)
		return NULL;
	p->services = mem_array(MEM_API, doc->services_count + 1, sizeof(*p->services));
	p->document = fcntl(document, F_DUPFD_CLOEXEC, 0);
	if (!p->services || p->document < 0) {
		fd_close(&p->document);
		mem_free(p->services);
		mem_free(p);
		return NULL;
	}
	p->call = call;
	call_ref(call);
	return p;
}

void
pins_resolve(struct call *call, const struct doc *doc, const struct msg_apply *op, int document,
	     call_answer_fn applied)
{
	struct pins *p = pins_new(call, doc, document);
	struct err err = {0};

	if (!p) {
		err_set(&err, ERR_NO_MEMORY, "no memory for this document");
		call_problem(call, &err);
		return;
	}
	p->op = *op;
	p->applied = applied;
	for (size_t i = 0; i < doc->services_count; i++)
		add_service(p, &doc->services[i]);
	/* One more, so that the last answer cannot come before the last question. */
	p->waiting = 1;
	for (size_t i = 0; i < p->questions_count; i++) {
		struct question *q = &p->questions[i];

		p->waiting += station_ask(call->server->station, ROLE_RUNTIME, 0,
					  MSG_OP_IMAGE_RESOLVE, &q->op, sizeof(q->op), NULL, 0,
					  RESOLVE_MS, resolved, q, &err) == 0;
	}
	if (--p->waiting == 0)
		ask_scheduler(p);
}
