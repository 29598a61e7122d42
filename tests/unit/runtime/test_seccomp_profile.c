/* SPDX-License-Identifier: Apache-2.0 */
/* What the filters answer: their instructions are run here as the kernel would. */
#include "runtime/seccomp_profile.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <cmocka.h>

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#else
#define NATIVE AUDIT_ARCH_AARCH64
#endif

/* Classic BPF, as far as seccomp allows it. */
static uint32_t
run(const struct seccomp_profile *p, const struct seccomp_data *data)
{
	uint32_t a = 0;
	for (size_t at = 0; at < p->count; at++) {
		const struct sock_filter *i = &p->items[at];
		bool yes;
		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(i->k + 4 <= sizeof(*data));
			memcpy(&a, (const char *)data + i->k, 4);
			continue;
		case BPF_RET | BPF_K:
			return i->k;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			continue;
		case BPF_JMP | BPF_JA:
			at += i->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			yes = a == i->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			yes = a > i->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			yes = a >= i->k;
			break;
		default:
			fail_msg("instruction %04x", i->code);
			return 0;
		}
		at += yes ? i->jt : i->jf;
	}
	fail_msg("the filter has no end");
	return 0;
}

static uint32_t
ask(const struct seccomp_profile *p, long number, uint64_t argument)
{
	struct seccomp_data data = {.nr = (int)number, .arch = NATIVE, .args = {argument}};
	return run(p, &data);
}

#define REFUSED(code) (SECCOMP_RET_ERRNO | (code))

static void
test_default(void **state)
{
	struct seccomp_profile p;
	struct err err = {0};
	(void)state;
	assert_int_equal(seccomp_profile_container(0xa80425fb, &p, &err), 0);
	assert_int_equal(ask(&p, SYS_read, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_execve, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_openat2, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_futex, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_keyctl, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_bpf, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_mount, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_unshare, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_setns, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_init_module, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_io_uring_setup, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_clone3, 0), REFUSED(ENOSYS));
	assert_int_equal(ask(&p, 4095, 0), REFUSED(ENOSYS));
	assert_int_equal(ask(&p, SYS_chroot, 0), SECCOMP_RET_ALLOW);
	seccomp_profile_fini(&p);
}

static void
test_arguments(void **state)
{
	struct seccomp_profile p;
	struct err err = {0};
	(void)state;
	assert_int_equal(seccomp_profile_container(0, &p, &err), 0);
	assert_int_equal(ask(&p, SYS_chroot, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_clone, CLONE_VM | CLONE_THREAD), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_clone, CLONE_NEWUSER), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_clone, CLONE_VM | CLONE_NEWNET | CLONE_NEWNS), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_socket, AF_INET), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_socket, 39), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_socket, 44), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_socket, AF_VSOCK), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_socket, AF_ALG), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_personality, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_personality, 0xffffffff), SECCOMP_RET_ALLOW);
	assert_int_not_equal(ask(&p, SYS_personality, 0x0040000), SECCOMP_RET_ALLOW);
	seccomp_profile_fini(&p);
}

static void
test_capabilities_open_calls(void **state)
{
	struct seccomp_profile p;
	struct err err = {0};
	(void)state;
	assert_int_equal(seccomp_profile_container(UINT64_C(1) << CAP_SYS_ADMIN, &p, &err), 0);
	assert_int_equal(ask(&p, SYS_mount, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_clone, CLONE_NEWNS), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_clone3, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_keyctl, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_init_module, 0), REFUSED(EPERM));
	assert_true(seccomp_profile_caps() & (UINT64_C(1) << CAP_SYS_ADMIN));
	seccomp_profile_fini(&p);
}

static void
test_own(void **state)
{
	struct seccomp_profile p;
	struct err err = {0};
	(void)state;
	assert_int_equal(seccomp_profile_own(SECCOMP_PROFILE_MONITOR, &p, &err), 0);
	assert_int_equal(ask(&p, SYS_pidfd_send_signal, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_kill, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_pidfd_open, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_execve, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_socket, 0), REFUSED(EPERM));
	/* Its watchdog, and no other process or thread. */
	assert_int_equal(ask(&p, SYS_clone, CLONE_PIDFD | SIGCHLD), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_clone, SIGCHLD), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_clone, CLONE_PIDFD | CLONE_VM | SIGCHLD), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_clone3, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_prctl, PR_SET_SECCOMP), SECCOMP_RET_ALLOW);
	assert_int_equal(ask(&p, SYS_prctl, PR_SET_PDEATHSIG), REFUSED(EPERM));
	seccomp_profile_fini(&p);
	assert_int_equal(seccomp_profile_own(SECCOMP_PROFILE_LOGS, &p, &err), 0);
	assert_int_equal(ask(&p, SYS_write, 0), REFUSED(EPERM));
	assert_int_equal(ask(&p, SYS_openat, 0), SECCOMP_RET_ALLOW);
	seccomp_profile_fini(&p);
}

static void
test_foreign_abi(void **state)
{
	struct seccomp_profile p;
	struct err err = {0};
	struct seccomp_data data = {.nr = 0, .arch = AUDIT_ARCH_MIPS};
	(void)state;
	assert_int_equal(seccomp_profile_container(0xa80425fb, &p, &err), 0);
	assert_int_not_equal(run(&p, &data), SECCOMP_RET_ALLOW);
#if defined(__x86_64__)
	data = (struct seccomp_data){.nr = 3, .arch = AUDIT_ARCH_I386}; /* read */
	assert_int_equal(run(&p, &data), SECCOMP_RET_ALLOW);
	data.nr = 21; /* mount */
	assert_int_equal(run(&p, &data), REFUSED(EPERM));
	/* socketcall hides the family: no sockets through it, all else on them. */
	data.nr = 102;
	data.args[0] = 1; /* socket */
	assert_int_equal(run(&p, &data), REFUSED(EPERM));
	for (data.args[0] = 2; data.args[0] <= 20; data.args[0]++)
		assert_int_equal(run(&p, &data), SECCOMP_RET_ALLOW);
	data.nr = 359; /* socket */
	for (data.args[0] = 0; data.args[0] < 64; data.args[0]++)
		assert_int_equal(run(&p, &data), data.args[0] == AF_ALG || data.args[0] == AF_VSOCK
							 ? REFUSED(EPERM)
							 : SECCOMP_RET_ALLOW);
	data = (struct seccomp_data){.nr = 0x40000000, .arch = AUDIT_ARCH_X86_64}; /* x32 read */
	assert_int_not_equal(run(&p, &data), SECCOMP_RET_ALLOW);
#endif
	seccomp_profile_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_capabilities_open_calls),
		cmocka_unit_test(test_own),
		cmocka_unit_test(test_foreign_abi),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
