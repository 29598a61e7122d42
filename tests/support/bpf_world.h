/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_BPF_WORLD_H
#define TESTS_SUPPORT_BPF_WORLD_H

/*
 * Where programs of the data path are tested: a mount and a network namespace of the test's own,
 * with a BPF file system as working folder; packets run through BPF_PROG_TEST_RUN. Needs root and
 * libbpf loaded (veth_open does). Include cmocka.h before.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>
#include "dataplane/libbpf.h"
#include "tests/support/packet.h"

/* For a group's set-up: up, and then what `links` (commands of a shell) makes. 0, or not. */
static inline int
bpf_world_enter(const char *links)
{
	char folder[] = "/tmp/zlayer-bpf-XXXXXX";

	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || !mkdtemp(folder) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("bpf", folder, "bpf", 0, NULL) < 0 || chdir(folder) < 0 ||
	    system("ip link set lo up") != 0 ||
	    /* Links without addresses of their own: the kernel says nothing on them by itself, and
	     * what the programs count is the tests' alone. */
	    system("echo 1 > /proc/sys/net/ipv6/conf/default/addr_gen_mode") != 0)
		return -1;
	return system(links);
}

/* What stands for overlay's device: up, with an MTU of 1,500. Its descriptor; -1. */
static inline int
bpf_world_tun(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	char command[256];

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	snprintf(command, sizeof(command),
		 "ip link set %s mtu 1500 && echo 1 > /proc/sys/net/ipv6/conf/%s/addr_gen_mode && "
		 "ip link set %s up",
		 name, name, name);
	if (fd >= 0 && (ioctl(fd, TUNSETIFF, &request) < 0 || system(command) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A group's teardown. */
static inline int
bpf_world_leave(void **state)
{
	char folder[64];

	(void)state;
	if (!getcwd(folder, sizeof(folder)) || chdir("/") < 0 || umount2(folder, MNT_DETACH) < 0)
		return -1;
	return rmdir(folder);
}

/* For main: whether the tests can run here; says so when not. ZLAYER_TEST_FILTER: only those whose
 * names match it (* and ?). */
static inline bool
bpf_world_allowed(void)
{
	cmocka_set_test_filter(getenv("ZLAYER_TEST_FILTER"));
	if (getuid() != 0)
		printf("1..0 # SKIP needs root for namespaces and BPF\n");
	return getuid() == 0;
}

/* The verdict, or -errno of a packet that the kernel refuses. context: NULL for XDP. */
static inline int
bpf_world_run(int program, const struct packet *in, const struct __sk_buff *context,
	      struct packet *out)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->bytes, .data_size_in = in->length,
		    .data_out = out->bytes, .data_size_out = sizeof(out->bytes), .ctx_in = context,
		    .ctx_size_in = context ? sizeof(*context) : 0);
	int rc = libbpf.bpf_prog_test_run_opts(program, &opts);

	if (rc < 0)
		return rc;
	out->length = opts.data_size_out;
	out->l4 = in->l4;
	return (int)opts.retval;
}

/* What the verifier had to look at is a promise too: kernels refuse what takes too long. */
static inline void
bpf_world_check_budget(int program, unsigned instructions_max)
{
	struct bpf_prog_info info = {0};
	uint32_t bytes = sizeof(info);

	assert_int_equal(libbpf.bpf_obj_get_info_by_fd(program, &info, &bytes), 0);
	print_message("# %s: verified instructions %u\n", info.name, info.verified_insns);
	assert_in_range(info.verified_insns, 1, instructions_max);
}

#endif
