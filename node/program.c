/* SPDX-License-Identifier: Apache-2.0 */
/* Where libraries lie differs between distributions: what is not there is not needed. */
#include "node/program.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>

void
program_reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

void
program_see_libraries(struct sandbox *s)
{
	static const struct {
		const char *path;
		unsigned access;
	} seen[] = {
		{"/usr", SANDBOX_READ | SANDBOX_EXEC},
		{"/lib", SANDBOX_READ | SANDBOX_EXEC},
		{"/lib64", SANDBOX_READ | SANDBOX_EXEC},
		{"/etc/ld.so.cache", SANDBOX_READ},
	};

	for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
		int fd = open(seen[i].path, O_PATH | O_CLOEXEC);

		if (fd < 0)
			continue;
		assert(s->paths_count < SANDBOX_PATHS_MAX);
		s->paths[s->paths_count++] =
			(struct sandbox_path){.fd = fd, .access = seen[i].access};
	}
}
