/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_TREE_H
#define RUNTIME_TREE_H

/* Removing folders with all that is in them, by descriptors, never through a symbolic link. */

/* Removes `name` (a file, or a folder with its content) below dirfd. 0, also when it is not there;
 * -1 with errno (ELOOP: deeper than what is ever made here). */
int tree_remove(int dirfd, const char *name);
/* Removes what is in the folder, not the folder. */
int tree_empty(int dirfd);

#endif
