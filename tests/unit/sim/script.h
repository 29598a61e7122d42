/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SIM_SCRIPT_H
#define TESTS_UNIT_SIM_SCRIPT_H

/* A core that does what a test says and keeps what it was given. Included after cmocka. */

#include <string.h>
#include "base/mem.h"
#include "tests/sim/sim.h"

enum { SCRIPT_INPUTS = 4096 };

struct script_input {
	uint32_t at; /* the node that got it */
	uint64_t true_ns;
	uint64_t boot;
	struct step_input in; /* its data is gone */
	uint8_t first;        /* byte of it */
};

struct script;
typedef void script_fn(struct script *s, const struct sim_core_config *config,
		       const struct step_input *in, struct step_actions *out);

struct script {
	script_fn *on;
	struct script_input inputs[SCRIPT_INPUTS];
	size_t count;
	struct sim *sim;
	uint8_t stream[1 << 18]; /* all stream data, in order */
	size_t stream_bytes;
	unsigned number; /* of the test's own */
};

static inline void *
script_start(const struct sim_core_config *config)
{
	return mem_dup(MEM_BASE, config, sizeof(*config));
}

static inline void
script_step(void *core, const struct step_input *in, struct step_actions *out)
{
	const struct sim_core_config *config = core;
	struct script *s = config->profile;

	assert_true(s->count < SCRIPT_INPUTS);
	s->inputs[s->count++] = (struct script_input){
		.at = config->node,
		.true_ns = s->sim->now_ns,
		.boot = config->boot,
		.in = *in,
		.first = in->bytes > 0 ? *(const uint8_t *)in->data : 0,
	};
	if (in->kind == STEP_STREAM_DATA) {
		assert_true(s->stream_bytes + in->bytes <= sizeof(s->stream));
		memcpy(s->stream + s->stream_bytes, in->data, in->bytes);
		s->stream_bytes += in->bytes;
	}
	s->on(s, config, in, out);
}

/* How many inputs of that kind the node got; *last_out is the last. */
static inline unsigned
script_count(const struct script *s, uint32_t node, enum step_input_kind kind,
	     const struct script_input **last_out)
{
	unsigned count = 0;

	for (size_t i = 0; i < s->count; i++)
		if (s->inputs[i].at == node && s->inputs[i].in.kind == kind) {
			count++;
			if (last_out)
				*last_out = &s->inputs[i];
		}
	return count;
}

static inline struct sim_profile
script_profile(struct script *s)
{
	static const struct sim_core_calls calls = {script_start, script_step, mem_free};

	return (struct sim_profile){.name = "script", .core = &calls, .data = s};
}

static inline struct plan
script_plan(uint32_t nodes)
{
	return (struct plan){
		.seed = 1,
		.nodes = nodes,
		.safety_ns = 100 * SIM_S,
		.bound_ns = SIM_S,
		.socket_bytes = 212992,
		.link = {.near_ns = SIM_MS, .zones = 1},
	};
}

#endif
