/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other way round: sections to text, in the order of their tables. Everything that has a value
 * is written, defaults too; what is optional and absent is not. What is written reads back as the
 * same value.
 */
#include "spec/field.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"

static uint64_t
load(const struct field *f, const void *at)
{
	switch (f->size) {
	case 1:
		return *(const uint8_t *)at;
	case 2:
		return *(const uint16_t *)at;
	case 4:
		return *(const uint32_t *)at;
	default:
		return *(const uint64_t *)at;
	}
}

static const char *
load_text(const struct field *f, const void *at)
{
	return f->flags & FIELD_INLINE ? (const char *)at : *(const char *const *)at;
}

static size_t
load_count(const struct field *f, const char *section)
{
	if (f->flags & FIELD_INLINE)
		return *(const uint32_t *)(const void *)(section + f->count_offset);
	return *(const size_t *)(const void *)(section + f->count_offset);
}

static const char *
load_elements(const struct field *f, const char *section)
{
	if (f->flags & FIELD_INLINE)
		return section + f->offset;
	return *(const char *const *)(const void *)(section + f->offset);
}

/* A decimal of `digits` places without zeros at its end. */
static void
put_decimal(struct emit *e, const char *key, uint64_t value, unsigned digits)
{
	char text[40];
	uint64_t unit = 1;
	size_t length;

	for (unsigned i = 0; i < digits; i++)
		unit *= 10;
	snprintf(text, sizeof(text), "%" PRIu64 ".%0*" PRIu64, value / unit, (int)digits,
		 value % unit);
	length = strlen(text);
	while (text[length - 1] == '0')
		text[--length] = '\0';
	if (text[length - 1] == '.')
		text[length - 1] = '\0';
	emit_raw(e, key, text);
}

void
field_put_value(struct emit *e, const struct field *f, const char *key, const void *at)
{
	char text[40];

	switch (f->kind) {
	case FIELD_BOOL:
		emit_raw(e, key, *(const bool *)at ? "true" : "false");
		break;
	case FIELD_NUMBER:
		snprintf(text, sizeof(text), "%" PRIu64, load(f, at));
		emit_raw(e, key, text);
		break;
	case FIELD_INTEGER:
		snprintf(text, sizeof(text), "%" PRId32, *(const int32_t *)at);
		emit_raw(e, key, text);
		break;
	case FIELD_CORES:
		put_decimal(e, key, *(const uint32_t *)at, 3);
		break;
	case FIELD_RATIO:
		put_decimal(e, key, *(const uint32_t *)at, 6);
		break;
	case FIELD_PERCENT:
		snprintf(text, sizeof(text), "%" PRIu32 "%%", *(const uint32_t *)at);
		emit_word(e, key, text);
		break;
	case FIELD_DURATION:
		text_put_duration(*(const uint64_t *)at, text, sizeof(text));
		emit_word(e, key, text);
		break;
	case FIELD_SIZE:
		text_put_size(*(const uint64_t *)at, text, sizeof(text));
		emit_word(e, key, text);
		break;
	case FIELD_CHOICE:
		emit_text(e, key, f->names[*(const int *)at]);
		break;
	case FIELD_TEXT:
		emit_text(e, key, load_text(f, at) == NULL ? "" : load_text(f, at));
		break;
	default:
		break;
	}
}

static bool
is_absent(const struct field *f, const char *section)
{
	const void *at = section + f->offset;

	if (f->has_offset != 0)
		return !*(const bool *)(section + f->has_offset);
	if (!(f->flags & FIELD_OPTIONAL))
		return false;
	switch (f->kind) {
	case FIELD_SECTION:
		return f->table->has_node && *(const struct yaml_node *const *)at == NULL;
	case FIELD_LIST:
	case FIELD_MAP:
		return load_count(f, section) == 0;
	case FIELD_TEXT:
		return load_text(f, at) == NULL || load_text(f, at)[0] == '\0';
	case FIELD_OWN:
		return false;
	default:
		return load(f, at) == 0;
	}
}

static void put_any(struct emit *e, const struct field *f, const char *key, const char *section);

static void
put_elements(struct emit *e, const struct field *f, const char *section)
{
	const char *elements = load_elements(f, section);
	size_t count = load_count(f, section);

	for (size_t i = 0; i < count; i++) {
		const char *element = elements + i * f->stride, *name = NULL;

		if (f->kind == FIELD_MAP && (f->flags & FIELD_INLINE))
			name = element;
		else if (f->kind == FIELD_MAP)
			name = *(const char *const *)(const void *)(element + f->name_offset);
		put_any(e, f->item, name, element);
	}
}

static void
put_any(struct emit *e, const struct field *f, const char *key, const char *section)
{
	switch (f->kind) {
	case FIELD_SECTION:
		emit_map(e, key);
		field_put(e, f->table, section + f->offset);
		emit_end(e);
		break;
	case FIELD_LIST:
		emit_list(e, key);
		put_elements(e, f, section);
		emit_end(e);
		break;
	case FIELD_MAP:
		emit_map(e, key);
		put_elements(e, f, section);
		emit_end(e);
		break;
	case FIELD_OWN:
		f->put(e, key, section);
		break;
	default:
		field_put_value(e, f, key, section + f->offset);
		break;
	}
}

void
field_put(struct emit *e, const struct field_table *t, const void *section)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct field *f = &t->fields[i];

		if ((f->flags & FIELD_ALIAS) || is_absent(f, section))
			continue;
		if (t->shows != NULL && !t->shows(section, f->key))
			continue;
		put_any(e, f, f->key, section);
	}
}
