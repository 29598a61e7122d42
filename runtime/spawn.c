/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a description to a process. The child gets exactly: nothing on 0 and 1, our standard error,
 * the description on 3, then the named descriptors; all else is close-on-exec. Its environment is
 * empty. It needs the runtime's capabilities, which a process of another uid than root hands on
 * only through the ambient set: the role raises that at its start.
 */
#include "runtime/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum { PROGRAM_BYTES_MAX = 64 << 20 };

static int
make_program(void)
{
	int fd = memfd_create("zlayer-monitor", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	/* Before Linux 6.3 every memfd was executable, and the flag unknown. */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("zlayer-monitor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

static int
copy_program(int from, int to, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = sendfile(to, from, NULL, bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		bytes -= (size_t)n;
	}
	return 0;
}

int
spawn_open_file(struct spawn *s, uv_loop_t *loop, const char *path, struct err *err)
{
	struct stat st;
	s->loop = loop;
	s->program = -1;
	defer_close int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || fstat(file, &st) < 0)
		return err_sys(err, errno, "cannot open %s", path);
	defer_close int copy = make_program();
	if (st.st_size <= 0 || st.st_size > PROGRAM_BYTES_MAX || copy < 0 ||
	    copy_program(file, copy, (size_t)st.st_size) < 0)
		return err_sys(err, errno, "cannot take a copy of %s", path);
	if (fchmod(copy, 0755) < 0 ||
	    fcntl(copy, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return err_sys(err, errno, "cannot seal the copy of %s", path);
	/* Beyond all that a child is given: those are put in their places before the execution. */
	s->program = fcntl(copy, F_DUPFD_CLOEXEC, LAUNCH_FDS_MAX);
	if (s->program < 0)
		return err_sys(err, errno, "cannot keep the copy of %s", path);
	return 0;
}

int
spawn_open(struct spawn *s, uv_loop_t *loop, struct err *err)
{
	static const char *const places[] = {"../libexec/zlayer/zlayer-monitor",
					     "runtime/zlayer-monitor", "../runtime/zlayer-monitor",
					     "../../runtime/zlayer-monitor", "zlayer-monitor"};
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0)
		return err_sys(err, errno, "cannot find our own program");
	self[n] = '\0';
	char *slash = strrchr(self, '/');
	if (slash != NULL)
		*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", self, places[i]);
		if (access(path, X_OK) == 0)
			return spawn_open_file(s, loop, path, err);
	}
	s->program = -1;
	err_set(err, ERR_NOT_FOUND, "the program zlayer-monitor is not installed");
	err_why(err, "looked for it from %s", self);
	return err_fix(err, "install the whole of it (meson install), or in a build folder: ninja");
}

void
spawn_close(struct spawn *s)
{
	fd_close(&s->program);
}

void
spawn_fds_init(struct spawn_fds *t)
{
	t->count = LAUNCH_FIRST_FD;
}

int32_t
spawn_fds_add(struct spawn_fds *t, int fd)
{
	if (fd < 0 || t->count >= LAUNCH_FDS_MAX)
		return -1;
	t->fds[t->count] = fd;
	return (int32_t)t->count++;
}

struct child {
	uv_process_t process;
	spawn_end_fn end;
	void *arg;
};

static void
on_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
on_exit(uv_process_t *process, int64_t status, int signal)
{
	struct child *child = process->data;
	if (child->end != NULL)
		child->end(child->arg, status, signal);
	uv_close((uv_handle_t *)process, on_closed);
}

static int
start(struct spawn *s, int description, const struct spawn_fds *fds, struct child *child)
{
	char path[32];
	char name[] = "zlayer-monitor";
	char *argv[] = {name, NULL}, *env[] = {NULL};
	uv_stdio_container_t *stdio = mem_array(MEM_RUNTIME, fds->count, sizeof(*stdio));
	if (stdio == NULL)
		return UV_ENOMEM;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->program);
	for (size_t i = 0; i < fds->count; i++) {
		stdio[i].flags = i < 2 ? UV_IGNORE : UV_INHERIT_FD;
		stdio[i].data.fd = i == 2 ? 2 : i == LAUNCH_FD ? description : fds->fds[i];
	}
	uv_process_options_t options = {
		.file = path,
		.args = argv,
		.env = env,
		.flags = 0,
		.stdio = stdio,
		.stdio_count = (int)fds->count,
		.exit_cb = on_exit,
	};
	int code = uv_spawn(s->loop, &child->process, &options);
	mem_free(stdio);
	return code;
}

int
spawn_start(struct spawn *s, const struct launch *launch, const struct spawn_fds *fds,
	    spawn_end_fn end, void *arg, struct err *err)
{
	struct buf text;
	buf_init(&text, MEM_RUNTIME, LAUNCH_BYTES_MAX);
	launch_encode(launch, &text);
	defer_close int description =
		buf_ok(&text) ? fd_memfd_sealed("launch", text.data, text.length) : -1;
	buf_fini(&text);
	if (description < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory to describe the container's start");
	struct child *child = mem_zalloc(MEM_RUNTIME, sizeof(*child));
	if (child == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory to start a monitor");
	child->end = end;
	child->arg = arg;
	child->process.data = child;
	int code = start(s, description, fds, child);
	if (code < 0) {
		err_sys(err, -code, "cannot start zlayer-monitor");
		child->end = NULL;
		uv_close((uv_handle_t *)&child->process, on_closed);
		return -1;
	}
	return 0;
}
