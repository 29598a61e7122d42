/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_ATTACHMENT_H
#define RING_MSG_ATTACHMENT_H

/*
 * Containers of others (podman, containerd) on this node's mesh, as the CNI plugin asks for them: a
 * veth into a network namespace that is not ours, with addresses of the node's prefix. Their links
 * stand in the table veth as those of replicas do. The rules are those of ring/msg.h.
 */

#include "ring/msg_base.h"

enum {
	MSG_ATTACHMENTS_MAX = 512, /* addresses are fewer: a /24, shared with replicas */
	MSG_CONTAINER_ID = 128,    /* an id of a container engine, and NUL */
	MSG_LINK = 16,             /* IFNAMSIZ */
};

/* Set in the id of every attachment, and in no replica's: both are keys of the same tables. */
#define MSG_ATTACHMENT_BIT (UINT64_C(1) << 55)

static inline bool
msg_attachment_id(uint64_t id)
{
	return id >> 55 == 1;
}

/* Which one: a container is attached to a network once by each name of an interface in it. */
struct msg_attach_key {
	char network[MSG_NAME];
	char container[MSG_CONTAINER_ID];
	char interface[MSG_LINK];
};

/* Of MSG_OP_ATTACH and MSG_OP_ATTACH_CHECK. */
struct msg_attach {
	struct msg_attach_key key;
	char name[MSG_NAME];  /* a DNS label, lower case; "" it has none */
	char netns[MSG_PATH]; /* absolute, as the machine sees it */
};

struct msg_attachment { /* key: id, of the same numbers as replicas */
	uint64_t id;
	struct msg_attach_key key;
	char name[MSG_NAME];
	char netns[MSG_PATH];
	struct addr addr4;
	struct addr addr6; /* zero: none */
	int64_t created_wall_ns;
};

/* One of another node that has a name, as scheduler knows it from there: for the name servers. Key:
 * its id, the same as in table identity. */
struct msg_guest {
	char network[MSG_NAME];
	char name[MSG_NAME];
	struct addr addr4; /* zero: none */
	struct addr addr6;
	uint32_t node;
	uint32_t pad_;
};

/* The answer of MSG_OP_ATTACH and MSG_OP_ATTACH_CHECK. */
struct msg_attach_answer {
	struct msg_attachment row;
	struct addr gateway4;
	struct addr gateway6;
	struct addr service4; /* the node's name server */
	uint32_t mtu;
	uint8_t mac[6];      /* of the container's end */
	uint8_t host_mac[6]; /* of the fabric's end */
	char link[MSG_LINK]; /* the fabric's end */
};

struct msg_detached {
	uint32_t removed; /* 0: there was none */
	uint32_t pad_;
};

/* Whether texts end and are what may be asked for: names of networks and ids of containers as the
 * CNI specification has them (section 2: a letter or digit, then also `_`, `.` and `-`), a name of
 * an interface that the kernel takes. err says which is not. */
int msg_attach_key_check(const struct msg_attach_key *key, struct err *err) MUST_CHECK;
int msg_attach_check(const struct msg_attach *attach, struct err *err) MUST_CHECK;

#endif
