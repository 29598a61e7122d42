/* SPDX-License-Identifier: Apache-2.0 */
/* Who may speak without BPF: those alone whose overlays let everybody in. */
#include "runtime/container_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "ring/identity.h"
#include "tests/support/segment.h"

enum { REPLICA = 7, IFINDEX = 3, GUEST_IFINDEX = 4 };

static const uint64_t guest = MSG_ATTACHMENT_BIT | 5;
static struct ring_writer *scheduler, *dataplane;
static struct container_host host;

static int
begin(void **state)
{
	const struct ring_layout s = {
		.role = ROLE_SCHEDULER,
		.generation = 1,
		.tables = {{MSG_TABLE_IDENTITY, 1, sizeof(struct msg_identity), 8}},
		.tables_count = 1};
	const struct ring_layout d = {
		.role = ROLE_DATAPLANE,
		.generation = 1,
		.tables = {{MSG_TABLE_DATAPATH, 1, sizeof(struct msg_datapath), 1},
			   {MSG_TABLE_ATTACHED, 1, sizeof(struct msg_attached), 8}},
		.tables_count = 2};

	(void)state;
	scheduler = segment_writer_of(&s);
	dataplane = segment_writer_of(&d);
	host.scheduler = segment_reader(scheduler);
	host.dataplane = segment_reader(dataplane);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	ring_reader_free(host.scheduler);
	ring_reader_free(host.dataplane);
	ring_writer_free(scheduler);
	ring_writer_free(dataplane);
	return 0;
}

static void
say_datapath(bool bpf)
{
	struct msg_datapath row = {.bpf = bpf};

	if (!bpf) {
		row.reason.kind = ERR_UNSUPPORTED;
		text_copy(row.reason.what, sizeof(row.reason.what), "dataplane.mode is off");
	}
	assert_int_equal(ring_table_set(dataplane, MSG_TABLE_DATAPATH, 1, &row, NULL), RING_OK);
	ring_table_sync(host.dataplane, MSG_TABLE_DATAPATH, sizeof(row), NULL, NULL);
}

static void
say_attached(uint32_t hook)
{
	const struct msg_attached row = {.replica = REPLICA, .ifindex = IFINDEX, .hook = hook};

	assert_int_equal(ring_table_set(dataplane, MSG_TABLE_ATTACHED, REPLICA, &row, NULL),
			 RING_OK);
	ring_table_sync(host.dataplane, MSG_TABLE_ATTACHED, sizeof(row), NULL, NULL);
}

static void
say_identity(uint32_t flags)
{
	const struct msg_identity row = {.deployment = 1, .service = 2, .flags = flags};

	assert_int_equal(ring_table_set(scheduler, MSG_TABLE_IDENTITY, REPLICA, &row, NULL),
			 RING_OK);
	ring_table_sync(host.scheduler, MSG_TABLE_IDENTITY, sizeof(row), NULL, NULL);
}

static enum container_link_verdict
verdict(struct err *err)
{
	*err = (struct err){0};
	return container_link_verdict(&host, REPLICA, IFINDEX, err);
}

static void
test_without_bpf(void **state)
{
	struct container c = {.host = &host, .replica = REPLICA, .veth = {.ifindex = IFINDEX}};
	struct err err;

	(void)state;
	assert_int_equal(verdict(&err), CONTAINER_LINK_WAITS);
	say_datapath(false);
	assert_true(container_link_unjudged(&host));
	/* Nobody has said what it is. */
	assert_int_equal(verdict(&err), CONTAINER_LINK_WAITS);
	assert_false(container_link_exposed(&c));
	say_identity(IDENTITY_USUAL);
	assert_int_equal(verdict(&err), CONTAINER_LINK_PASSES);
	assert_false(container_link_exposed(&c));
	say_identity(IDENTITY_USUAL | MSG_IDENTITY_GLOBAL_ISOLATED);
	assert_int_equal(verdict(&err), CONTAINER_LINK_REFUSED);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.what, "network.overlays"));
	assert_non_null(strstr(err.why[0], "dataplane.mode is off"));
	assert_non_null(strstr(err.fix, "dataplane.mode"));
	assert_true(container_link_exposed(&c));
	say_identity(IDENTITY_USUAL & ~(uint32_t)MSG_IDENTITY_GLOBAL_ON);
	assert_int_equal(verdict(&err), CONTAINER_LINK_REFUSED);
	/* Those of others have no overlays but the usual ones. */
	assert_int_equal(container_link_verdict(&host, guest, GUEST_IFINDEX, &err),
			 CONTAINER_LINK_PASSES);
}

static void
test_with_bpf(void **state)
{
	struct container c = {.host = &host, .replica = REPLICA, .veth = {.ifindex = IFINDEX}};
	struct err err;

	(void)state;
	say_datapath(true);
	say_identity(IDENTITY_USUAL | MSG_IDENTITY_GLOBAL_ISOLATED);
	assert_false(container_link_unjudged(&host));
	assert_int_equal(verdict(&err), CONTAINER_LINK_WAITS);
	say_attached(MSG_HOOK_TCX);
	assert_int_equal(verdict(&err), CONTAINER_LINK_PASSES);
	assert_false(container_link_exposed(&c));
	/* A successor could not put its program there. */
	say_attached(0);
	assert_int_equal(verdict(&err), CONTAINER_LINK_REFUSED);
	assert_true(container_link_exposed(&c));
	/* What it says is of another device. */
	c.veth.ifindex++;
	assert_false(container_link_exposed(&c));
}

/* Only of who is known to have nothing sealed. */
static void
test_plain(void **state)
{
	const uint32_t open = IDENTITY_USUAL &
			      ~(uint32_t)(MSG_IDENTITY_SERVICE_SEALED | MSG_IDENTITY_GLOBAL_SEALED);
	const struct container_host none = {0};

	(void)state;
	assert_false(container_link_plain(&none, REPLICA));
	assert_false(container_link_plain(&host, REPLICA));
	say_identity(IDENTITY_USUAL);
	assert_false(container_link_plain(&host, REPLICA));
	say_identity(open | MSG_IDENTITY_SERVICE_SEALED);
	assert_false(container_link_plain(&host, REPLICA));
	say_identity(open);
	assert_true(container_link_plain(&host, REPLICA));
	assert_false(container_link_plain(&host, guest));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_without_bpf, begin, end),
		cmocka_unit_test_setup_teardown(test_with_bpf, begin, end),
		cmocka_unit_test_setup_teardown(test_plain, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
