/* SPDX-License-Identifier: Apache-2.0 */
/* The tables behind the names of flows: labels are part of the metrics and do not change. */
#include "ring/flow.h"

#include <stddef.h>

#define LENGTH(names) (sizeof(names) / sizeof((names)[0]))
#define LABEL(name, label, text) [FLOW_##name] = label,
#define TEXT(name, label, text) [FLOW_##name] = text,

static const char *
name_in(const char *const *names, size_t count, unsigned which)
{
	return which < count ? names[which] : NULL;
}

const char *
flow_reason_name(unsigned reason)
{
	static const char *const names[] = {[FLOW_PASSED] = "", FLOW_REASONS(LABEL)};

	return name_in(names, LENGTH(names), reason);
}

const char *
flow_reason_text(unsigned reason)
{
	static const char *const texts[] = {[FLOW_PASSED] = "", FLOW_REASONS(TEXT)};

	return name_in(texts, LENGTH(texts), reason);
}

const char *
flow_verdict_name(unsigned verdict)
{
	static const char *const names[] = {
		[MSG_FLOW_FORWARDED] = "forwarded", [MSG_FLOW_DROPPED] = "dropped"};

	return name_in(names, LENGTH(names), verdict);
}

const char *
flow_way_name(unsigned way)
{
	static const char *const names[] = {[MSG_FLOW_LOCAL] = "local",
					    [MSG_FLOW_PLAIN] = "plain",
					    [MSG_FLOW_SEALED] = "sealed",
					    [MSG_FLOW_STACK] = "stack"};

	return name_in(names, LENGTH(names), way);
}

const char *
flow_place_name(unsigned place)
{
	static const char *const names[] = {
		[MSG_FLOW_VETH] = "veth",     [MSG_FLOW_VXLAN] = "vxlan",
		[MSG_FLOW_TUNNEL] = "tunnel", [MSG_FLOW_FABRIC] = "fabric",
		[MSG_FLOW_EDGE] = "edge",     [MSG_FLOW_UPLINK] = "uplink"};

	return name_in(names, LENGTH(names), place);
}
