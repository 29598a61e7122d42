/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target over its corpus without a fuzzer, so that every `meson test` does: each file
 * as it is, each of its prefixes, and a fixed number of mutations from a printed seed
 * (ZLAYER_SEED). Each input stands in a block of exactly its size, so that the address sanitizer
 * sees a read one byte further.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "tests/support/prop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20, PREFIXES_MAX = 512, MUTATIONS = 64, SEED = 1 };

static void
run(const uint8_t *data, size_t size)
{
	uint8_t *exact = mem_dup(MEM_BASE, data, size);

	if (!exact)
		abort();
	LLVMFuzzerTestOneInput(exact, size);
	mem_free(exact);
}

static void
mutate(struct prop *p, uint8_t *data, size_t size)
{
	for (uint64_t edits = 1 + prop_below(p, 4); edits; edits--) {
		uint8_t *at = &data[prop_below(p, size)];

		switch (prop_below(p, 4)) {
		case 0:
			*at ^= (uint8_t)(1u << prop_below(p, 8));
			break;
		case 1:
			*at = (uint8_t)prop_u64(p);
			break;
		case 2:
			*at = data[prop_below(p, size)];
			break;
		default:
			*at = prop_below(p, 2) ? 0xff : 0;
		}
	}
}

static void
run_variants(struct prop *p, const uint8_t *data, size_t size)
{
	uint8_t *copy = mem_alloc(MEM_BASE, size);
	size_t step = size / PREFIXES_MAX + 1;

	if (!copy)
		abort();
	for (size_t n = 0; n < size; n += step)
		run(data, n);
	for (unsigned i = 0; i < MUTATIONS && size > 0; i++) {
		memcpy(copy, data, size);
		mutate(p, copy, size);
		run(copy, size);
	}
	mem_free(copy);
}

static void
replay_file(struct prop *p, const char *path)
{
	uint8_t *data = mem_alloc(MEM_BASE, INPUT_MAX);
	FILE *file = fopen(path, "rb");
	size_t size;

	if (!file || !data) {
		perror(path);
		exit(1);
	}
	size = fread(data, 1, INPUT_MAX, file);
	fclose(file);
	run(data, size);
	run_variants(p, data, size);
	mem_free(data);
}

static unsigned
replay_folder(struct prop *p, const char *folder)
{
	struct dirent **entries;
	unsigned files = 0;
	int n = scandir(folder, &entries, NULL, alphasort);

	if (n < 0) {
		perror(folder);
		exit(1);
	}
	for (int i = 0; i < n; i++) {
		char path[4096];

		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.') {
			replay_file(p, path);
			files++;
		}
		free(entries[i]);
	}
	free(entries);
	return files;
}

int
main(int argc, char **argv)
{
	struct prop p = {.state = SEED};
	unsigned files = 0;

	if (getenv("ZLAYER_SEED"))
		prop_init(&p, 0, NULL);
	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) == 0 && !S_ISDIR(st.st_mode)) {
			replay_file(&p, argv[i]);
			files++;
		} else {
			files += replay_folder(&p, argv[i]);
		}
	}
	printf("%u inputs\n", files);
	return files > 0 ? 0 : 1;
}
