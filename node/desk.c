/* SPDX-License-Identifier: Apache-2.0 */
/* Files over the leash. Which role may ask for what was decided by the hub's table before. */
#include "node/desk.h"

#include <errno.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "node/registries.h"
#include "node/store_files.h"
#include "node/vault.h"

static void
send_file(struct hub_member *to, enum leash_file what, const char *name, const int *fds,
	  size_t count)
{
	struct leash_message message;

	leash_init(&message, LEASH_FILE);
	message.from_role = ROLE_NODE;
	message.a = what;
	text_copy(message.name, sizeof(message.name), name);
	hub_send(to, &message, fds, count);
}

static void
send_certificate(void *arg, const char *name, int certificate, int key)
{
	int fds[] = {certificate, key};

	send_file(arg, LEASH_FILE_CERTIFICATE, name, fds, key >= 0 ? 2 : 1);
}

static void
send_sealed(void *arg, const char *name, int fd)
{
	send_file(arg, LEASH_FILE_SEALED, name, &fd, 1);
}

void
desk_certificates(struct hub_member *signer, const struct certs *certs)
{
	struct leash_message end;

	if (certs)
		certs_each(certs, send_certificate, signer);
	leash_init(&end, LEASH_FILES_END);
	end.from_role = ROLE_NODE;
	hub_send(signer, &end, NULL, 0);
}

void
desk_signer(int data_fd, struct hub_member *signer, const struct certs *certs)
{
	struct err err = {0};
	defer_close int key = -1;

	if (vault_key(data_fd, &key, &err) == 0)
		send_file(signer, LEASH_FILE_SEALING_KEY, "seal", &key, 1);
	else
		log_err(LOG_ERROR, "keys cannot be sealed", &err);
	vault_each(data_fd, send_sealed, signer);
	desk_certificates(signer, certs);
}

static void
spool(int data_fd, struct hub_member *member, uint64_t id)
{
	struct leash_message answer;
	defer_close int fd = vault_spool(data_fd);

	leash_init(&answer, LEASH_SPOOLED);
	answer.from_role = ROLE_NODE;
	answer.id = id;
	answer.code = fd < 0 ? (uint32_t)errno : 0;
	hub_send(member, &answer, &fd, fd >= 0 ? 1 : 0);
}

static void
registry(const char *folder, struct hub_member *member, const struct leash_message *message)
{
	struct leash_message answer;
	int fds[REGISTRIES_FILES];

	leash_init(&answer, LEASH_REGISTRY_FILES);
	answer.from_role = ROLE_NODE;
	answer.id = message->id;
	size_t count = registries_open(folder, message->name, fds, &answer.a);
	hub_send(member, &answer, fds, count);
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
}

static void
login(const struct desk *desk, struct hub_member *member, const struct leash_message *message)
{
	struct leash_message answer;
	struct err err = {0};
	defer_close int logins = registries_logins(desk->registries);
	defer_close int pipe = -1;

	leash_init(&answer, LEASH_LOGIN_PIPE);
	answer.from_role = ROLE_NODE;
	answer.id = message->id;
	if (logins >= 0)
		pipe = login_program_start(desk->logins, logins, message->name, &err);
	if (err.kind)
		log_err(LOG_WARN, "a registry's login was not asked for", &err);
	hub_send(member, &answer, &pipe, pipe >= 0 ? 1 : 0);
}

static void
store(const struct config_store_etcd *etcd, struct hub_member *member, uint64_t id)
{
	struct leash_message answer;
	int fds[STORE_FILES];

	leash_init(&answer, LEASH_STORE_FILES);
	answer.from_role = ROLE_NODE;
	answer.id = id;
	size_t count = store_files_open(etcd, fds, &answer.a);
	hub_send(member, &answer, fds, count);
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
}

void
desk_asked(const struct desk *desk, struct hub_member *member, const struct leash_message *message,
	   const int *fds)
{
	struct err err = {0};

	if (message->kind == LEASH_SPOOL)
		spool(desk->data_fd, member, message->id);
	else if (message->kind == LEASH_REGISTRY)
		registry(desk->registries, member, message);
	else if (message->kind == LEASH_LOGIN)
		login(desk, member, message);
	else if (message->kind == LEASH_STORE)
		store(desk->store, member, message->id);
	else if (message->kind == LEASH_KEEP &&
		 vault_keep(desk->data_fd, message->name, fds[0], &err) < 0)
		log_err(LOG_ERROR, "a sealed key was not kept", &err);
}
