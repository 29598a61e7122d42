/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_WGDEV_EYE_H
#define NODE_WGDEV_EYE_H

/*
 * An eye on the device of sealed traffic: a socket that stands in the fabric, by which whoever does
 * not stand there sees what becomes of it. Administrators delete devices, set them down, and give
 * them another MTU.
 * Threading: any.
 */

#include <stdint.h>

enum wgdev_sight {
	WGDEV_STANDS,
	WGDEV_GONE,    /* or another one has its name */
	WGDEV_ALTERED, /* it is down, or its MTU is another one */
};

enum wgdev_sight wgdev_see(int eye, uint32_t ifindex, uint32_t mtu);

#endif
