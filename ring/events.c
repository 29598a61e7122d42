/* SPDX-License-Identifier: Apache-2.0 */
/* The list is compared with docs/events.md and with the scheduler's sources by a lint test. */
#include "ring/events.h"

#include <stddef.h>
#include <string.h>
#include "base/text.h"

enum { GROUPS_MAX = 24, GROUP_BYTES = 24 };

const char *const events_types[] = {
	"deploy.started",
	"deploy.weak_gate",
	"deploy.committed",
	"deploy.turned_back",
	"deploy.paused",
	"deploy.resumed",
	"deploy.aborted",
	"rollback.started",
	"restart.started",
	"placement.lost",
	"placement.moved",
	"placement.waiting",
	"depends.waiting",
	"depends.late",
	"scale.started",
	"scale.up",
	"scale.down",
	"scale.asleep",
	"scale.woken",
	"scale.held",
	"stop.started",
	"start.started",
	"remove.started",
	"operation.done",
	"operation.failed",
	"operation.rolled_back",
	"job.started",
	"job.ended",
	"cron.enabled",
	"cron.disabled",
	"cron.passed",
	"cron.replaced",
	"cron.lost",
	"init.started",
	"init.done",
	"init.warned",
	"replica.created",
	"replica.started",
	"replica.ready",
	"replica.oom",
	"replica.unhealthy",
	"replica.exited",
	"replica.start_failed",
	"replica.backoff",
	"replica.crash_loop",
	"replica.isolated",
	"replica.lease_over",
	"replica.lease_waits",
	"replica.failed",
	"replica.draining",
	"replica.stopping",
	"replica.stopped",
	"replica.removed",
	"node.joined",
	"node.keeper",
	"node.ready",
	"node.suspect",
	"node.dead",
	"node.left",
	"node.removed",
	"node.backup",
	"node.restored",
	"node.recovered",
	"node.twin",
	"node.twin_gone",
	"node.clock",
	"node.clock_right",
	"node.unreached",
	"node.reached",
	"node.rotating",
	"node.rotated",
	"store.anew",
	"store.member",
	"store.member_goes",
	"store.member_gone",
	"store.moved",
	"store.moving",
	NULL,
};

bool
events_known(const char *type)
{
	for (size_t i = 0; events_types[i]; i++) {
		if (strcmp(events_types[i], type) == 0)
			return true;
	}
	return false;
}

bool
events_filter(const char *text, const char *type)
{
	size_t length = strlen(text);

	return strncmp(type, text, length) == 0 && (type[length] == '\0' || type[length] == '.');
}

/* Each group once, and all of them as a list for people. */
static size_t
groups(char names[GROUPS_MAX][GROUP_BYTES], char *list, size_t cap)
{
	size_t count = 0, used = 0;

	for (size_t i = 0; events_types[i] && count < GROUPS_MAX; i++) {
		size_t length = strcspn(events_types[i], ".");

		if (count > 0 && strlen(names[count - 1]) == length &&
		    strncmp(names[count - 1], events_types[i], length) == 0)
			continue;
		text_ncopy(names[count], GROUP_BYTES, events_types[i], length);
		text_format(list + used, cap - used, "%s%s", count ? ", " : "", names[count]);
		used += strlen(list + used);
		count++;
	}
	return count;
}

/* "replica.*, ...": the types of the group that a wrong one names. */
static void
list_group(const char *text, char *list, size_t cap)
{
	char group[GROUP_BYTES];
	size_t used = 0;

	list[0] = '\0';
	text_ncopy(group, sizeof(group), text, strcspn(text, "."));
	for (size_t i = 0; group[0] && events_types[i]; i++) {
		if (!events_filter(group, events_types[i]))
			continue;
		text_format(list + used, cap - used, "%s%s", used ? ", " : "", events_types[i]);
		used += strlen(list + used);
	}
}

int
events_filter_check(const char *text, struct err *err)
{
	char names[GROUPS_MAX][GROUP_BYTES], list[ERR_TEXT_BYTES];
	const char *words[sizeof(events_types) / sizeof(*events_types) + GROUPS_MAX] = {0};
	size_t count = 0;

	for (; events_types[count]; count++) {
		if (events_filter(text, events_types[count]))
			return 0;
		words[count] = events_types[count];
	}
	size_t kept = groups(names, list, sizeof(list));
	for (size_t i = 0; i < kept; i++)
		words[count++] = names[i];
	err_set(err, ERR_USAGE, "there are no events of the type \"%s\"", text);
	err_why(err, "groups of types: %s", list);
	list_group(text, list, sizeof(list));
	if (list[0])
		err_why(err, "types: %s", list);
	const char *near = text_nearest(text, words);
	if (near)
		return err_fix(err, "did you mean \"%s\"?", near);
	return err_fix(err, "a group (replica) or a type of it (replica.ready)");
}
