/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MUTANT_H
#define BASE_MUTANT_H

/*
 * Planted faults. MUTANT(n, wrong, right) is `right` in every build of the product. The simulator
 * compiles the cores once more with ZL_MUTANTS, where the fault whose number was chosen is there
 * and the others are not: `tools/sim --mutants` must find each (docs/simulation.md).
 * Both are expressions; only the one that is meant is evaluated.
 */

#ifdef ZL_MUTANTS
extern unsigned mutant_chosen; /* 0: none; the simulator's */
#define MUTANT(n, wrong, right) (mutant_chosen == (n) ? (wrong) : (right))
#else
#define MUTANT(n, wrong, right) (right)
#endif

#endif
