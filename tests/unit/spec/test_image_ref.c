/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/spec/spec_test.h"

#include "spec/image_ref.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void
test_good(void **state)
{
	static const char *const cases[][2] = {
		{"nginx", "docker.io/library/nginx:latest"},
		{"nginx:1.27", "docker.io/library/nginx:1.27"},
		{"grafana/loki", "docker.io/grafana/loki:latest"},
		{"docker.io/nginx", "docker.io/library/nginx:latest"},
		{"index.docker.io/nginx:a", "docker.io/library/nginx:a"},
		{"localhost/app", "localhost/app:latest"},
		{"localhost:5000/app", "localhost:5000/app:latest"},
		{"registry.test:5000/a/b_c/d--e:T_1.2-x", "registry.test:5000/a/b_c/d--e:T_1.2-x"},
		{"ghcr.io/a/b@sha256:" HEX, "ghcr.io/a/b@sha256:" HEX},
		{"ghcr.io/a/b:1@sha256:" HEX, "ghcr.io/a/b:1@sha256:" HEX},
		{"[::1]:5000/app:1", "[::1]:5000/app:1"},
		{"10.0.0.1/app", "10.0.0.1/app:latest"},
		{"oci:1", "docker.io/library/oci:1"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[IMAGE_REF_TEXT_BYTES];
		struct image_ref ref, again;

		assert_int_equal(image_ref_parse(cases[i][0], &ref), IMAGE_REF_OK);
		image_ref_put(&ref, text, sizeof(text));
		assert_string_equal(text, cases[i][1]);
		assert_int_equal(image_ref_parse(text, &again), IMAGE_REF_OK);
		assert_memory_equal(&ref, &again, sizeof(ref));
	}
}

static void
test_bad(void **state)
{
	static const struct {
		const char *text;
		enum image_ref_status status;
	} cases[] = {
		{"", IMAGE_REF_EMPTY},
		{"docker://nginx", IMAGE_REF_TRANSPORT},
		{"oci:/var/lib/image", IMAGE_REF_TRANSPORT},
		{"oci-archive:./a.tar", IMAGE_REF_TRANSPORT},
		{"Nginx", IMAGE_REF_UPPER_CASE},
		{"a/", IMAGE_REF_BAD_NAME},
		{"/a", IMAGE_REF_BAD_NAME},
		{"a//b", IMAGE_REF_BAD_NAME},
		{"a..b", IMAGE_REF_BAD_NAME},
		{"a___b", IMAGE_REF_BAD_NAME},
		{"a b", IMAGE_REF_BAD_NAME},
		{"-a", IMAGE_REF_BAD_NAME},
		{"a:", IMAGE_REF_BAD_TAG},
		{"a:-b", IMAGE_REF_BAD_TAG},
		{"a:b:c", IMAGE_REF_BAD_NAME},
		{"a@sha256:12", IMAGE_REF_BAD_DIGEST},
		{"a@", IMAGE_REF_BAD_DIGEST},
		{"a@sha256:" HEX "0", IMAGE_REF_BAD_DIGEST},
		{"host:0/a", IMAGE_REF_BAD_REGISTRY},
		{"host:x/a", IMAGE_REF_BAD_REGISTRY},
		{"[::1/a", IMAGE_REF_BAD_REGISTRY},
		{"a.b_c/d", IMAGE_REF_BAD_REGISTRY},
	};
	struct image_ref ref;
	char long_name[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (image_ref_parse(cases[i].text, &ref) != cases[i].status)
			printf("# %s: %d\n", cases[i].text, image_ref_parse(cases[i].text, &ref));
		assert_int_equal(image_ref_parse(cases[i].text, &ref), cases[i].status);
		assert_true(strlen(image_ref_why(cases[i].status)) > 0);
	}
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(image_ref_parse(long_name, &ref), IMAGE_REF_TOO_LONG);
	long_name[300] = '\0';
	assert_int_equal(image_ref_parse(long_name, &ref), IMAGE_REF_TOO_LONG);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
