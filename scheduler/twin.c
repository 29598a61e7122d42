/* SPDX-License-Identifier: Apache-2.0 */
/* Words of nodes that may be one, and the file that says which instance a folder is. */
#include "scheduler/twin.h"

#include <string.h>
#include "base/buf.h"
#include "base/le.h"
#include "base/text.h"

enum { DRAWN = 20 /* bits of a number that say nothing */ };

#define MS_NS INT64_C(1000000)

/* ---- the wire ---- */

void
twin_encode(const struct twin_message *m, uint8_t out[TWIN_BYTES])
{
	memset(out, 0, TWIN_BYTES);
	out[0] = TWIN_VERSION;
	out[1] = (uint8_t)m->kind;
	le_put(out + 2, m->flags, 2);
	le_put(out + 4, m->node, 4);
	le_put(out + 8, m->born, 8);
	le_put(out + 16, m->session, 8);
	memcpy(out + 24, m->address.ip, sizeof(m->address.ip));
	le_put(out + 40, m->address.port, 2);
}

bool
twin_decode(const void *data, size_t bytes, struct twin_message *out)
{
	struct cursor c;

	*out = (struct twin_message){0};
	cursor_init(&c, data, bytes < TWIN_BYTES ? bytes : TWIN_BYTES);
	uint8_t version = cursor_u8(&c), kind = cursor_u8(&c);
	out->flags = cursor_u16(&c);
	out->node = cursor_u32(&c);
	out->born = cursor_u64(&c);
	out->session = cursor_u64(&c);
	const void *ip = cursor_take(&c, sizeof(out->address.ip));
	if (ip)
		memcpy(out->address.ip, ip, sizeof(out->address.ip));
	out->address.port = cursor_u16(&c);
	cursor_take(&c, 6);
	if (!cursor_done(&c) || version == 0 || kind < TWIN_ASK || kind > TWIN_HINT ||
	    out->node == 0 || out->session == 0 ||
	    (kind == TWIN_HINT ? out->address.port == 0 : out->born == 0))
		return false;
	out->kind = (enum twin_kind)kind;
	return true;
}

/* ---- the instance ---- */

size_t
twin_put_instance(const struct twin_instance *i, char out[TWIN_FILE_MAX])
{
	text_format(out, TWIN_FILE_MAX, "1 %s %llu %llu %llu\n", i->boot,
		    (unsigned long long)i->device, (unsigned long long)i->inode,
		    (unsigned long long)i->born);
	return strlen(out);
}

/* The next word, of what is written over; NULL: there is none. */
static char *
word(char **at)
{
	char *begin = *at, *end = begin + strcspn(begin, " \n");

	if (end == begin || !*end)
		return NULL;
	*at = end + 1;
	*end = '\0';
	return begin;
}

bool
twin_take_instance(const char *text, struct twin_instance *out)
{
	char copy[TWIN_FILE_MAX], *at = copy;
	uint64_t version = 0;

	*out = (struct twin_instance){0};
	if (strlen(text) >= sizeof(copy))
		return false;
	text_copy(copy, sizeof(copy), text);
	const char *words[5];
	for (size_t i = 0; i < 5; i++) {
		words[i] = word(&at);
		if (!words[i])
			return false;
	}
	if (*at || strlen(words[1]) >= sizeof(out->boot))
		return false;
	text_copy(out->boot, sizeof(out->boot), words[1]);
	return text_u64(words[0], 1, &version) && version == 1 &&
	       text_u64(words[2], UINT64_MAX, &out->device) &&
	       text_u64(words[3], UINT64_MAX, &out->inode) &&
	       text_u64(words[4], UINT64_MAX, &out->born) && out->born != 0;
}

bool
twin_is_here(const struct twin_instance *a, const struct twin_instance *b)
{
	return text_equal(a->boot, b->boot) && a->device == b->device && a->inode == b->inode;
}

uint64_t
twin_next(uint64_t before, int64_t wall_ns, uint64_t random)
{
	uint64_t clock = wall_ns > 0 ? (uint64_t)(wall_ns / MS_NS) : 0;

	clock = clock << DRAWN | random >> (64 - DRAWN);
	return before >= clock && before != UINT64_MAX ? before + 1 : clock ? clock : 1;
}
