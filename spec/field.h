/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_FIELD_H
#define SPEC_FIELD_H

/*
 * Sections of a YAML document as tables: one line per key says where its value lives in a C struct,
 * what it may be and what it is when absent. The same table parses, checks, fills defaults and
 * dumps, so the four cannot disagree. Used for the deployment document (texts and lists in an
 * arena) and for the node's configuration (inline arrays, FIELD_INLINE).
 *
 * A value that is wrong is reported and left at zero; parsing goes on, so that all errors of a file
 * come at once. Checks of a whole section (field_table.check) run after its fields, whatever they
 * gave: they must bear zeros.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "spec/diag.h"
#include "spec/emit.h"
#include "spec/yaml.h"

struct field;

struct field_ctx {
	struct arena *arena;
	struct diag_list *diags;
	bool keep;   /* absent keys keep what the struct holds (a second file over a first) */
	bool at_key; /* diagnostics point at the key: set while a name is checked */
};

enum field_kind {
	FIELD_BOOL = 1,
	FIELD_NUMBER,   /* unsigned: min..max, by the member's size */
	FIELD_INTEGER,  /* int32_t: min..max as int64_t */
	FIELD_CORES,    /* uint32_t, thousandths: "0.5" */
	FIELD_RATIO,    /* uint32_t, millionths of 0..1: "0.01" */
	FIELD_PERCENT,  /* uint32_t: "70", "70%" */
	FIELD_DURATION, /* uint64_t ms */
	FIELD_SIZE,     /* uint64_t bytes */
	FIELD_CHOICE,   /* an enum, by `names` */
	FIELD_TEXT,     /* const char *, or char[] with FIELD_INLINE */
	FIELD_SECTION,  /* a struct with a table of its own */
	FIELD_LIST,     /* of `item` */
	FIELD_MAP,      /* name -> `item`, sorted by name */
	FIELD_OWN,      /* read and put by functions */
};

enum {
	FIELD_REQUIRED = 1, /* must be given when its section is */
	FIELD_OPTIONAL = 2, /* zero, NULL, empty: not given, not dumped */
	FIELD_INLINE = 4,   /* char[size], or an array of `cap` elements and a uint32_t count */
	FIELD_ALIAS = 8,    /* another way to say something: no default, not dumped */
};

/* Looks at a text, may replace it by another one (from the arena, or static). False: reported. */
typedef bool (*field_text_fn)(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
/* Reads a value of its own kind into the section (n NULL: the default); false: reported. */
typedef bool (*field_read_fn)(struct field_ctx *ctx, const struct yaml_node *n, void *section);
typedef void (*field_put_fn)(struct emit *e, const char *key, const void *section);

struct field_table {
	const char *what; /* "an endpoint" */
	const struct field *fields;
	size_t count;
	size_t size;   /* of the struct */
	bool has_node; /* its first member is `const struct yaml_node *node` */
	/* Pairs {word, advice} for keys that other systems have; ends with NULL. */
	const char *const (*advice)[2];
	void (*check)(struct field_ctx *ctx, const struct yaml_node *n, void *section);
	/* Whether a key is part of the dump of this section; NULL: all are. */
	bool (*shows)(const void *section, const char *key);
};

struct field {
	const char *key;
	const char *alias; /* NULL: none */
	enum field_kind kind;
	unsigned flags;
	size_t offset;
	size_t size; /* of the member */
	uint64_t min, max;
	uint64_t def;
	const char *def_text;
	const char *const *names; /* FIELD_CHOICE: NULL-terminated, by value */
	const char *code;         /* of what is malformed; NULL: the kind's own */
	field_text_fn text;
	const struct field_table *table;
	/* FIELD_LIST and FIELD_MAP */
	const struct field *item; /* offsets are relative to the element */
	size_t stride;
	size_t cap;
	size_t count_offset;
	field_text_fn name; /* FIELD_MAP: checks a key */
	size_t name_offset; /* const char * of the element; FIELD_INLINE: char[name_size] at 0 */
	size_t name_size;
	size_t has_offset; /* 0: none; a bool that is set when the key is given */
	field_read_fn read;
	field_put_fn put;
};

#define FIELD_AT(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define FIELD_TABLE(list) .fields = (list), .count = sizeof(list) / sizeof((list)[0])

/* A whole section. n NULL: all defaults (or, with ctx->keep, nothing). */
void field_read(struct field_ctx *ctx, const struct field_table *t, const struct yaml_node *n,
		void *section);
/* A value by the only field of a table. */
void field_read_one(struct field_ctx *ctx, const struct field_table *t, const struct yaml_node *n,
		    void *section);
/* A single value; `at` is where it goes. Scalars only. */
bool field_value_read(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n,
		      void *at);
/* The fields of a section into the map that is open. */
void field_put(struct emit *e, const struct field_table *t, const void *section);
void field_put_value(struct emit *e, const struct field *f, const char *key, const void *at);

/* A diagnostic at a node. */
void field_diag(struct field_ctx *ctx, const struct yaml_node *n, const char *code, const char *fix,
		const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* True for a text with something in it; else reports. `wanted`: "a duration". */
bool field_is_text(struct field_ctx *ctx, const struct yaml_node *n, const char *wanted);
void field_no_memory(struct field_ctx *ctx);
/* Reports each of the NULL-terminated keys that is given in the section, with `why` it may not. */
void field_refuse(struct field_ctx *ctx, const struct yaml_node *section, const char *const *keys,
		  const char *why);
/* Reports each that is not given; `why` it is needed. */
void field_require(struct field_ctx *ctx, const struct yaml_node *section, const char *const *keys,
		   const char *why);

#endif
