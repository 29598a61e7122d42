/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are: below the folder of runtime.registries, config.json (docker's format) and
 * certs.d/HOST[:PORT]/ca.crt. Without that config.json the one that `docker login` or `podman
 * login` of root writes is taken: $DOCKER_CONFIG/config.json, /root/.docker/config.json,
 * /run/containers/0/auth.json. Links are followed: all of it belongs to root.
 */
#include "node/registries.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/fd.h"
#include "base/text.h"
#include "ring/leash.h"

int
registries_file(const char *path)
{
	struct stat sb;
	defer_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &sb) < 0 || !S_ISREG(sb.st_mode) || sb.st_size <= 0 ||
	    sb.st_size > REGISTRIES_BYTES_MAX)
		return -1;
	return fd_take(&fd);
}

int
registries_logins(const char *folder)
{
	static const char *const usual[] = {"/root/.docker/config.json",
					    "/run/containers/0/auth.json"};
	const char *docker = getenv("DOCKER_CONFIG");
	char path[512];
	int fd = -1;

	if (text_format(path, sizeof(path), "%s/config.json", folder))
		fd = registries_file(path);
	if (fd < 0 && docker && docker[0] == '/' &&
	    text_format(path, sizeof(path), "%s/config.json", docker))
		fd = registries_file(path);
	for (size_t i = 0; fd < 0 && i < sizeof(usual) / sizeof(usual[0]); i++)
		fd = registries_file(usual[i]);
	return fd;
}

/* It becomes the name of a folder. */
bool
registries_is_host(const char *host)
{
	return host[0] != '\0' && host[0] != '.' &&
	       strspn(host,
		      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") ==
		       strlen(host);
}

static int
open_authority(const char *folder, const char *host)
{
	char path[512];

	if (!registries_is_host(host) ||
	    !text_format(path, sizeof(path), "%s/certs.d/%s/ca.crt", folder, host))
		return -1;
	return registries_file(path);
}

static void
add(int fd, enum leash_registry which, int *fds, size_t *count, uint64_t *which_out)
{
	if (fd < 0)
		return;
	fds[(*count)++] = fd;
	*which_out |= which;
}

size_t
registries_open(const char *folder, const char *host, int fds[REGISTRIES_FILES],
		uint64_t *which_out)
{
	size_t count = 0;

	*which_out = 0;
	add(registries_logins(folder), LEASH_REGISTRY_LOGINS, fds, &count, which_out);
	add(open_authority(folder, host), LEASH_REGISTRY_CA, fds, &count, which_out);
	add(registries_file("/etc/resolv.conf"), LEASH_REGISTRY_RESOLV, fds, &count, which_out);
	add(registries_file("/etc/hosts"), LEASH_REGISTRY_HOSTS, fds, &count, which_out);
	return count;
}
